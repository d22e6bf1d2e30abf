"""Detection: evidence first, table second, and an answer for every root."""

import pytest

from lvg.detect import detect, inits, require_installed, require_supported
from lvg.detect.evidence import sourced
from lvg.detect.libvirtversion import version_of
from lvg.errors import NotInstalledError, UnsupportedDistroError, UsageError

DEFAULT, SYSCONFIG, CONF_D = (f"/etc/{name}/libvirt-guests" for name in ("default", "sysconfig", "conf.d"))
SCRIPT = "usr/lib/libvirt/libvirt-guests.sh"
UNIT = "usr/lib/systemd/system/libvirt-guests.service"
SYSTEMD, OPENRC = "usr/lib/systemd/systemd", "sbin/openrc"
OPENRC_SCRIPT = '#!/sbin/openrc-run\n[ -z "${LIBVIRT_URIS}" ] && LIBVIRT_URIS="qemu:///system"\nLIBVIRT_SHUTDOWN=x\n'


def script(folder, more=""):
    return f'#!/bin/sh\nsysconfdir="/etc"\nON_SHUTDOWN="suspend"\nURIS=default\n{more}\n. "{folder}"/libvirt-guests\n'


def unit(environment_file, program="/" + SCRIPT):
    return (
        f"[Service]\nEnvironmentFile=-{environment_file}\nExecStart={program} start\nExecStop={program} stop\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def os_release(id_, more=""):
    return {"etc/os-release": f"ID={id_}\n{more}"}


DEBIAN = {**os_release("debian"), SYSTEMD: "", UNIT: unit(DEFAULT), SCRIPT: script("$sysconfdir/default")}


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        # Debian 12, Debian 13, Gentoo, a build in /usr/local, and other ways to say it.
        ('sysconfdir="/etc"\ntest -f x &&\n    . "$sysconfdir"/default/libvirt-guests\n', [DEFAULT]),
        ('initconfdir="/etc/default"\ntest -f x &&\n    . "$initconfdir"/libvirt-guests\n', [DEFAULT]),
        ('sysconfdir=/etc\n. "$sysconfdir"/libvirt/libvirt-guests.conf\n', ["/etc/libvirt/libvirt-guests.conf"]),
        ("a='/usr/local/etc'\nif true; then . ${a}/libvirt-guests; fi\n", ["/usr/local/etc/libvirt-guests"]),
        ("source /etc/x/guests.conf\n", ["/etc/x/guests.conf"]),
        ('. "/usr/bin"/gettext.sh\n. /lib/lsb/init-functions\n. /etc/rc.d/init.d/functions\n', []),
        (". $nobody_knows/libvirt-guests\n", []),
        ("# . /etc/default/libvirt-guests\necho . /etc/default/libvirt-guests\n", []),
        (". /etc/\x1b[31m/libvirt-guests\n", []),
    ],
)
def test_what_a_script_sources(text, paths):
    assert list(sourced(text)) == paths


def test_a_plain_debian_host(tree):
    files = {
        **DEBIAN,
        "etc/default/libvirt-guests": "#URIS=default\n",
        "etc/systemd/system/multi-user.target.wants/libvirt-guests.service": f"-> /{UNIT}",
        "usr/lib/x86_64-linux-gnu/libvirt.so.0": "-> libvirt.so.0.9000.0",
    }
    host = detect(tree(files))
    assert (host.supported, host.advice, host.init) == (True, "", "systemd")
    assert (host.config_file, host.config_exists, host.dialect) == (DEFAULT, True, "upstream")
    assert host.disagreements == ()
    assert [fact.source for fact in host.evidence] == [f"/{SCRIPT}", f"/{UNIT}", "distro table"]
    service = host.service
    assert (service.installed, service.unit, service.script) == (True, f"/{UNIT}", f"/{SCRIPT}")
    assert (service.enabled, service.preset, service.active, service.version) == ("enabled", "enabled", "", "9.0.0")
    assert service.keys == {"URIS", "ON_SHUTDOWN"}
    require_supported(host)
    require_installed(host)


def test_the_script_beats_the_unit_and_the_table(tree):
    host = detect(tree({**DEBIAN, SCRIPT: script("/opt/etc"), UNIT: unit("/etc/other/libvirt-guests")}))
    assert host.config_file == "/opt/etc/libvirt-guests"
    assert len(host.disagreements) == 2
    assert "/etc/other/libvirt-guests" in host.disagreements[0]
    assert f"/{UNIT}" in host.disagreements[0]
    assert "distro table" in host.disagreements[1]


def test_the_unit_counts_where_the_script_cannot_tell(tree):
    host = detect(tree({**os_release("foo"), SYSTEMD: "", UNIT: unit("/etc/libvirt/libvirt-guests.conf")}))
    assert (host.config_file, host.supported) == ("/etc/libvirt/libvirt-guests.conf", True)


@pytest.mark.parametrize(
    ("drop_in", "expected"),
    [
        ("EnvironmentFile=\nEnvironmentFile=-/etc/mine/libvirt-guests\n", "/etc/mine/libvirt-guests"),
        ("EnvironmentFile=-/etc/mine/libvirt-guests\n", "/etc/mine/libvirt-guests"),
        ("EnvironmentFile=/etc/proxy.env\n", DEFAULT),
        ("EnvironmentFile=\n", SYSCONFIG),
    ],
)
def test_drop_ins_count(tree, drop_in, expected):
    path = "etc/systemd/system/libvirt-guests.service.d/10-mine.conf"
    host = detect(tree({**os_release("fedora"), SYSTEMD: "", UNIT: unit(DEFAULT), path: f"[Service]\n{drop_in}"}))
    assert host.config_file == expected
    if "mine" in expected:
        assert host.evidence[0].source == f"/{path}"


def test_an_admins_own_exec_stop_is_not_the_script(tree):
    drop_in = "etc/systemd/system/libvirt-guests.service.d/a.conf"
    files = {**DEBIAN, drop_in: "[Service]\nExecStop=/usr/local/bin/mine\n", "usr/local/bin/mine": ". /etc/mine.conf\n"}
    host = detect(tree(files))
    assert (host.service.script, host.config_file) == (f"/{SCRIPT}", DEFAULT)


def test_config_file_beats_all_and_the_others_are_reported(tree):
    host = detect(tree(DEBIAN), config_file="/srv/guests")
    assert (host.config_file, host.config_exists, host.supported) == ("/srv/guests", False, True)
    assert len(host.disagreements) == 3


def test_config_file_makes_an_unknown_distro_usable(tree):
    host = detect(tree(os_release("foo")), config_file=SYSCONFIG)
    assert (host.supported, host.config_file, host.dialect) == (True, SYSCONFIG, "upstream")


def test_config_file_must_be_absolute(tree):
    with pytest.raises(UsageError, match="absolute"):
        detect(tree(DEBIAN), config_file="etc/default/libvirt-guests")


def test_the_one_file_that_exists_is_the_last_resort(tree):
    host = detect(tree({**os_release("foo"), "etc/sysconfig/libvirt-guests": ""}))
    assert (host.config_file, host.supported) == (SYSCONFIG, True)


def test_two_files_tell_nothing(tree):
    host = detect(tree({**os_release("foo"), "etc/sysconfig/libvirt-guests": "", "etc/default/libvirt-guests": ""}))
    assert (host.config_file, host.supported) == ("", False)


def test_a_file_that_nothing_reads_is_mentioned(tree):
    host = detect(tree({**DEBIAN, "etc/sysconfig/libvirt-guests": ""}))
    assert [(fact.source, fact.path) for fact in host.evidence][-1] == (SYSCONFIG, "")
    assert host.disagreements == ()


def test_gentoo_with_both_services_installed_follows_its_init(tree):
    files = {
        **os_release("gentoo"),
        "etc/init.d/libvirt-guests": OPENRC_SCRIPT,
        "etc/runlevels/default/libvirt-guests": "-> /etc/init.d/libvirt-guests",
        UNIT: unit("/etc/libvirt/libvirt-guests.conf"),
        SCRIPT: '#!/bin/sh\nsysconfdir="/etc"\nON_BOOT=start\n. "$sysconfdir"/libvirt/libvirt-guests.conf\n',
        OPENRC: "",
    }
    openrc = detect(tree(files))
    assert (openrc.init, openrc.config_file, openrc.dialect) == ("openrc", CONF_D, "openrc")
    assert (openrc.service.enabled, openrc.service.unit) == ("enabled", "/etc/init.d/libvirt-guests")
    assert openrc.service.keys == {"LIBVIRT_URIS", "LIBVIRT_SHUTDOWN"}
    assert openrc.disagreements == ()
    systemd = detect(tree({"sbin/init": "-> ../usr/lib/systemd/systemd"}))
    assert (systemd.init, systemd.config_file) == ("systemd", "/etc/libvirt/libvirt-guests.conf")
    assert systemd.dialect == "upstream"


def test_alpine_before_the_service_is_installed(tree):
    host = detect(tree({**os_release("alpine"), OPENRC: ""}))
    assert (host.config_file, host.dialect, host.supported) == (CONF_D, "openrc", True)
    assert "apk add libvirt-daemon" in host.advice


@pytest.mark.parametrize("id_", ["gentoo", "alpine", "artix", "debian"])
def test_openrcs_own_script_leaves_no_doubt(tree, id_):
    files = {**os_release(id_), OPENRC: "", "etc/init.d/libvirt-guests": OPENRC_SCRIPT, "etc/conf.d/libvirt-guests": ""}
    host = detect(tree(files))
    assert (host.config_file, host.dialect, host.disagreements) == (CONF_D, "openrc", ())


def test_a_sysv_script_that_only_calls_the_real_one(tree):
    files = {
        **os_release("devuan", "ID_LIKE=debian\n"),
        "sbin/init": "ELF",
        "etc/init.d/libvirt-guests": f'#! /bin/sh\nexec /{SCRIPT} "$@"\n',
        "etc/rc2.d/S05libvirt-guests": "-> ../init.d/libvirt-guests",
        SCRIPT: script("$initconfdir", 'initconfdir="/etc/default"'),
    }
    host = detect(tree(files))
    assert (host.init, host.config_file, host.dialect) == ("sysv", DEFAULT, "upstream")
    assert (host.service.script, host.service.enabled) == (f"/{SCRIPT}", "enabled")
    assert "ON_SHUTDOWN" in host.service.keys


def test_a_masked_service_is_installed_and_still_gives_evidence(tree):
    host = detect(tree({**DEBIAN, "etc/systemd/system/libvirt-guests.service": "-> /dev/null"}))
    assert (host.service.installed, host.service.enabled) == (True, "masked")
    assert (host.service.unit, host.config_file) == (f"/{UNIT}", DEFAULT)


@pytest.mark.parametrize("init", ["runit", "dinit", "s6-linux-init"])
def test_artix_without_openrc_has_no_service(tree, init):
    files = {"sbin/init": f"-> /usr/bin/{init}", **({"etc/runit/1": ""} if init == "runit" else {})}
    host = detect(tree({**os_release("artix"), **files}))
    assert not host.supported
    assert "libvirt-openrc" in host.advice


@pytest.mark.parametrize(
    ("id_", "marker", "word"),
    [
        ("debian", "usr/bin/pvesh", "qm set"),
        ("debian", "etc/pve/x", "qm set"),
        ("foo", "etc/NIXOS", "nixos-rebuild"),
        ("centos", "etc/xensource-inventory", "xe host-shutdown"),
    ],
)
def test_who_stops_its_own_guests_is_refused_although_libvirt_guests_is_there(tree, id_, marker, word):
    root = tree({**DEBIAN, **os_release(id_), marker: ""})
    host = detect(root)
    assert not host.supported
    assert word in host.advice
    with pytest.raises(UnsupportedDistroError) as error:
        require_supported(host)
    assert error.value.code == 7
    assert word in error.value.todo
    assert not detect(root, distro="debian").supported, "a name is no evidence against a product"


def test_truenas_needs_both_marks(tree):
    assert detect(tree({**DEBIAN, "etc/version": "25.04"})).supported
    host = detect(tree({"usr/bin/midclt": ""}))
    assert (host.supported, host.product) == (False, "TrueNAS")


@pytest.mark.parametrize("id_", ["nixos", "guix", "xcp-ng", "truenas"])
def test_declared_hosts_and_appliances_are_refused_by_id(tree, id_):
    host = detect(tree({**DEBIAN, **os_release(id_)}))
    assert not host.supported


def test_void_is_supported_once_somebody_installed_a_service(tree):
    assert not detect(tree(os_release("void"))).supported
    assert detect(tree({SYSTEMD: "", UNIT: unit(SYSCONFIG)})).supported


def test_an_unknown_distro_is_named_with_both_ways_out(tree):
    host = detect(tree(os_release("foo", 'ID_LIKE="bar baz"\n')))
    assert (host.supported, host.config_file, host.service.installed) == (False, "", False)
    with pytest.raises(UnsupportedDistroError, match=r'"foo" \(ID_LIKE bar baz\)') as error:
        require_supported(host)
    assert "--distro" in error.value.todo
    assert "--config-file" in error.value.todo


def test_an_empty_root_is_answered(tree):
    host = detect(tree({}))
    assert (host.supported, host.distro.family, host.init) == (False, "unknown", "other")
    with pytest.raises(UnsupportedDistroError, match="os-release"):
        require_supported(host)


def test_distro_replaces_os_release(tree):
    host = detect(tree({**os_release("foo"), SYSTEMD: ""}), distro="opensuse-leap")
    assert (host.distro.family, host.config_file, host.supported) == ("suse", SYSCONFIG, True)


def test_distro_does_not_beat_evidence(tree):
    host = detect(tree(DEBIAN), distro="fedora")
    assert host.config_file == DEFAULT
    assert SYSCONFIG in host.disagreements[0]


def test_an_unknown_distro_option_is_a_usage_error(tree):
    with pytest.raises(UsageError, match='Did you mean "fedora"'):
        detect(tree(DEBIAN), distro="fedroa")


def test_a_missing_service_names_the_package(tree):
    with pytest.raises(NotInstalledError) as error:
        require_installed(detect(tree({**os_release("arch"), SYSTEMD: ""})))
    assert error.value.code == 8
    assert "pacman -S libvirt gettext" in error.value.todo


def test_watched_units_come_along(tree):
    host = detect(tree({**DEBIAN, "usr/lib/systemd/system/pacemaker.service": unit("/x")}), watch=["pacemaker.service"])
    assert sorted(host.units) == ["libvirt-guests.service", "pacemaker.service"]
    assert host.units["pacemaker.service"].enabled == "disabled"


@pytest.mark.parametrize(
    ("files", "init"),
    [
        ({}, "other"),
        ({SYSTEMD: ""}, "systemd"),
        ({"lib/systemd/systemd": ""}, "systemd"),
        ({OPENRC: ""}, "openrc"),
        ({"etc/runit/1": ""}, "runit"),
        ({"etc/dinit.d/boot": ""}, "other"),
        ({"etc/inittab": ""}, "sysv"),
        ({UNIT: unit(DEFAULT)}, "systemd"),
        ({"etc/init.d/libvirt-guests": OPENRC_SCRIPT}, "openrc"),
        ({"etc/init.d/libvirt-guests": "#!/bin/sh\n"}, "sysv"),
        ({"sbin/init": "-> /lib/systemd/systemd", SYSTEMD: "", OPENRC: ""}, "systemd"),
        ({"sbin/init": "-> openrc-init", SYSTEMD: "", OPENRC: ""}, "openrc"),
        ({"sbin/init": "-> /bin/busybox", OPENRC: ""}, "openrc"),
        ({"sbin/init": "ELF", OPENRC: "", "etc/inittab": ""}, "openrc"),
        ({"sbin/init": "ELF", SYSTEMD: ""}, "sysv"),
        ({"sbin/init": "-> runit-init", SYSTEMD: ""}, "runit"),
    ],
)
def test_the_init_of_a_tree_is_what_is_installed(tree, files, init):
    assert inits.init_of(tree(files), "other") == init


@pytest.mark.parametrize(
    ("files", "init"),
    [
        ({"run/systemd/system/x": "", "run/openrc/x": ""}, "systemd"),
        ({"run/openrc/softlevel": "", SYSTEMD: ""}, "openrc"),
        ({"proc/1/comm": "runit\n", SYSTEMD: ""}, "runit"),
        ({"proc/1/comm": "tini\n", SYSTEMD: ""}, ""),
        ({}, ""),
    ],
)
def test_a_running_host_says_its_init(tree, files, init):
    assert inits.running_init(tree(files)) == init


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("libvirt.so.0.9000.0", "9.0.0"),
        ("libvirt.so.0.11003.0", "11.3.0"),
        ("libvirt.so.0.12008.2", "12.8.2"),
        ("libvirt.so.0.10.2", "0.10.2"),
        ("libvirt.so.0", ""),
        ("", ""),
    ],
)
def test_version_from_the_library_name(name, version):
    assert version_of(name) == version


@pytest.mark.parametrize("folder", ["usr/lib64", "usr/lib", "usr/lib/aarch64-linux-gnu"])
def test_version_without_the_link(tree, folder):
    assert detect(tree({**DEBIAN, f"{folder}/libvirt.so.0.10000.1": ""})).service.version == "10.0.1"


def test_reading_leaves_no_trace(tree, tmp_path):
    hostile = '#!/bin/sh\ntouch /tmp/x\nsysconfdir=$(touch y)\n. "$sysconfdir"/default/libvirt-guests\n'
    root = tree({**DEBIAN, SCRIPT: hostile})
    before = sorted(tmp_path.rglob("*"))
    assert detect(root).config_file == DEFAULT
    assert sorted(tmp_path.rglob("*")) == before


def test_a_script_outside_the_root_is_not_read(tree, tmp_path):
    (tmp_path.parent / "outside.sh").write_text(script("/etc/evil"))
    files = {name: text for name, text in DEBIAN.items() if name != SCRIPT}
    host = detect(tree({**files, SCRIPT: "-> ../../../../outside.sh"}))
    assert (host.config_file, host.service.script) == (DEFAULT, "")
