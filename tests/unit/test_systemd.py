"""Units: their text, their links, and what systemd says about them."""

import pytest

from lvg import systemd
from lvg.errors import LvgError

# Recorded on Debian 12 (systemd 252) with one drop-in, one masked socket and one unit that is not there.
SHOWN = """\
Id=libvirt-guests.service
LoadState=loaded
ActiveState=active
FragmentPath=/lib/systemd/system/libvirt-guests.service
DropInPaths=/etc/systemd/system/libvirt-guests.service.d/10-x.conf /etc/systemd/system/service.d/20-y.conf
UnitFileState=enabled
UnitFilePreset=enabled
ActiveEnterTimestamp=Mon 2026-11-23 03:26:19 UTC

Id=virtlogd-admin.socket
LoadState=masked
ActiveState=active
FragmentPath=/etc/systemd/system/virtlogd-admin.socket
DropInPaths=
UnitFileState=masked
UnitFilePreset=enabled
ActiveEnterTimestamp=Mon 2026-11-23 03:26:19 UTC

Id=pacemaker.service
LoadState=not-found
ActiveState=inactive
FragmentPath=
DropInPaths=
UnitFileState=
UnitFilePreset=
ActiveEnterTimestamp=
"""
NAMES = ("libvirt-guests.service", "virtlogd-admin.socket", "pacemaker.service")
UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"


def one(root, name="x.service"):
    return systemd.units(root, [name])[name]


def test_show_is_read_unit_by_unit():
    shown = systemd.parse_show(SHOWN, NAMES)
    assert shown["libvirt-guests.service"]["ActiveEnterTimestamp"] == "Mon 2026-11-23 03:26:19 UTC"
    assert shown["libvirt-guests.service"]["DropInPaths"].count("/") == 10
    assert shown["virtlogd-admin.socket"]["LoadState"] == "masked"
    assert shown["pacemaker.service"]["UnitFileState"] == ""


def test_an_alias_is_found_by_its_place_not_by_its_id():
    shown = systemd.parse_show(SHOWN, ("libvirt-guests.service", "my-alias.socket", "pacemaker.service"))
    assert shown["my-alias.socket"]["Id"] == "virtlogd-admin.socket"


def test_a_short_answer_is_an_error():
    with pytest.raises(LvgError, match="3 of 4"):
        systemd.parse_show(SHOWN, (*NAMES, "another.service"))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[Service]\nEnvironmentFile=-/a\nEnvironmentFile=/b\n", ["-/a", "/b"]),
        ("[Service]\nEnvironmentFile=-/a\n\n[Service]\nEnvironmentFile=\nEnvironmentFile=/c\n", ["/c"]),
        ("[Service]\nEnvironmentFile=/a\nEnvironmentFile=\n", []),
        ("[Unit]\nEnvironmentFile=/a\n[Service]\nExecStart=/b\n", []),
        ("[Service]\n  EnvironmentFile = /a  \n", ["/a"]),
        ("[Service]\n#EnvironmentFile=/a\n;EnvironmentFile=/b\n", []),
        ("[Service]\nEnvironmentFile=/a \\\n# a comment between\n  /b\n", ["/a  /b"]),
        ("[Service]\nEnvironmentFile=/a\\", ["/a"]),
        ("[Service]\r\nEnvironmentFile=/a\r\n", ["/a"]),
        ("EnvironmentFile=/a\n", []),
        ("", []),
    ],
)
def test_directives(text, values):
    assert systemd.directives(text, "Service", "EnvironmentFile") == values


def test_install_links_are_those_of_systemctl_enable():
    text = (
        "[Install]\nWantedBy=multi-user.target graphical.target\nRequiredBy=a.service\n"
        "UpheldBy=b.service\nAlias=other.service\nAlso=third.socket\n"
    )
    folder = "/etc/systemd/system"
    assert systemd.install_links("x.service", text, "/usr/lib/x.service") == tuple(
        (f"{folder}/{link}", "/usr/lib/x.service")
        for link in (
            "multi-user.target.wants/x.service",
            "graphical.target.wants/x.service",
            "a.service.requires/x.service",
            "b.service.upholds/x.service",
            "other.service",
        )
    )
    assert systemd.also(text) == ("third.socket",)


def test_a_unit_without_install_section_has_no_links():
    assert systemd.install_links("x.service", "[Service]\nExecStart=/bin/true\n", "/x") == ()


LINK = "-> /usr/lib/systemd/system/x.service"
VENDOR = {"usr/lib/systemd/system/x.service": UNIT}


@pytest.mark.parametrize(
    ("files", "load", "enabled"),
    [
        ({}, "not-found", "not-found"),
        (VENDOR, "loaded", "disabled"),
        ({"lib/systemd/system/x.service": UNIT}, "loaded", "disabled"),
        ({**VENDOR, "etc/systemd/system/multi-user.target.wants/x.service": LINK}, "loaded", "enabled"),
        ({**VENDOR, "etc/systemd/system/a.service.requires/x.service": LINK}, "loaded", "enabled"),
        ({**VENDOR, "run/systemd/system/a.target.wants/x.service": LINK}, "loaded", "enabled-runtime"),
        ({**VENDOR, "usr/lib/systemd/system/a.target.wants/x.service": LINK}, "loaded", "disabled"),
        ({**VENDOR, "etc/systemd/system/multi-user.target.wants/y.service": "-> /y"}, "loaded", "disabled"),
        ({**VENDOR, "etc/systemd/system/x.service": "-> /dev/null"}, "masked", "masked"),
        ({**VENDOR, "etc/systemd/system/x.service": ""}, "masked", "masked"),
        ({**VENDOR, "run/systemd/system/x.service": "-> /dev/null"}, "masked", "masked-runtime"),
        ({"usr/lib/systemd/system/x.service": "[Service]\n"}, "loaded", "static"),
        ({"usr/lib/systemd/system/x.service": "[Install]\nAlso=y.socket\n"}, "loaded", "indirect"),
        ({"opt/x.service": UNIT, "etc/systemd/system/x.service": "-> /opt/x.service"}, "loaded", "linked"),
        ({**VENDOR, "etc/systemd/system/y.service": LINK}, "loaded", "disabled"),
    ],
)
def test_states_from_files_alone(tree, files, load, enabled):
    unit = one(tree(files))
    assert (unit.load, unit.enabled) == (load, enabled)
    assert (unit.active, unit.since) == ("", "")


def test_an_alias_link_enables_its_unit(tree):
    text = "[Install]\nAlias=y.service\n"
    root = tree({"usr/lib/systemd/system/x.service": text, "etc/systemd/system/y.service": LINK})
    assert one(root).enabled == "enabled"
    assert one(root, "y.service").enabled in ("enabled", "alias")


def test_etc_beats_the_vendor_and_the_vendor_is_still_known(tree):
    root = tree({**VENDOR, "etc/systemd/system/x.service": "[Unit]\nDescription=mine\n"})
    assert one(root).fragment == "/etc/systemd/system/x.service"
    assert systemd.vendor_unit(root, "x.service") == "/usr/lib/systemd/system/x.service"
    assert systemd.vendor_unit(root, "y.service") == ""


def test_an_instance_comes_from_its_template(tree):
    root = tree({"usr/lib/systemd/system/devstack@.service": UNIT})
    assert one(root, "devstack@n-cpu.service").fragment == "/usr/lib/systemd/system/devstack@.service"


def test_drop_ins_apply_in_the_order_of_their_names(tree):
    root = tree(
        {
            "usr/lib/systemd/system/a-b.service": "[Service]\nX=unit\n",
            "usr/lib/systemd/system/a-b.service.d/20-vendor.conf": "[Service]\nX=vendor\n",
            "usr/lib/systemd/system/a-b.service.d/30-both.conf": "[Service]\nX=overridden\n",
            "etc/systemd/system/a-b.service.d/30-both.conf": "[Service]\nX=etc\n",
            "etc/systemd/system/a-.service.d/10-prefix.conf": "[Service]\nX=prefix\n",
            "etc/systemd/system/service.d/40-type.conf": "[Service]\nX=type\n",
            "usr/lib/systemd/system/a-b.service.d/50-masked.conf": "[Service]\nX=masked\n",
            "etc/systemd/system/a-b.service.d/50-masked.conf": "-> /dev/null",
            "etc/systemd/system/a-b.service.d/60-dangling.conf": "-> /nowhere",
            "etc/systemd/system/a-b.service.d/notes.txt": "[Service]\nX=notes\n",
        }
    )
    unit = one(root, "a-b.service")
    assert systemd.directives(unit.text, "Service", "X") == ["unit", "prefix", "vendor", "etc", "type"]
    assert [path.rpartition("/")[2] for path in unit.drop_ins] == [
        "10-prefix.conf",
        "20-vendor.conf",
        "30-both.conf",
        "40-type.conf",
    ]


def test_a_backslash_at_the_end_of_a_unit_does_not_swallow_its_drop_in(tree):
    root = tree(
        {
            "usr/lib/systemd/system/x.service": "[Service]\nA=b \\\n",
            "etc/systemd/system/x.service.d/a.conf": "[Install]\nC=d\n",
        }
    )
    assert systemd.directives(one(root).text, "Install", "C") == ["d"]


PRESETS = {
    "usr/lib/systemd/system-preset/90-default.preset": "# all\nenable libvirt*.socket\ndisable *\n",
    "usr/lib/systemd/system-preset/50-vendor.preset": "enable y.service\n",
}


@pytest.mark.parametrize(
    ("more", "name", "expected"),
    [
        ({}, "x.service", "disabled"),
        ({}, "y.service", "enabled"),
        ({}, "libvirtd.socket", "enabled"),
        ({"etc/systemd/system-preset/10-mine.preset": "enable x.service\n"}, "x.service", "enabled"),
        ({"etc/systemd/system-preset/50-vendor.preset": "; nothing\n\n"}, "y.service", "disabled"),
        ({"etc/systemd/system-preset/10-mine.preset": "ignore x.*\n"}, "x.service", "ignored"),
    ],
)
def test_presets_first_file_by_name_first_rule_wins(tree, more, name, expected):
    root = tree({**PRESETS, **more, f"usr/lib/systemd/system/{name}": UNIT})
    assert one(root, name).preset == expected


def test_without_presets_everything_is_enabled(tree):
    assert one(tree(VENDOR)).preset == "enabled"


def test_a_tree_is_never_running(tree):
    assert not systemd.running(tree({"run/systemd/system/x": ""}))


def test_reading_leaves_no_trace(tree, tmp_path):
    root = tree(VENDOR)
    before = sorted(tmp_path.rglob("*"))
    systemd.units(root, ["x.service", "y.service"])
    assert sorted(tmp_path.rglob("*")) == before
