"""Who else acts on the guests."""

import pytest

from lvg import neighbours
from lvg.files import Root
from lvg.systemd import Unit


def put(tmp_path, name, text=""):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def wants(tmp_path, unit, target="multi-user.target"):
    path = tmp_path / f"etc/systemd/system/{target}.wants/{unit}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(f"/usr/lib/systemd/system/{unit}")


def test_nobody_else(tmp_path):
    wants(tmp_path, "libvirtd.service")
    assert neighbours.other_owners(Root(tmp_path)) == ()


@pytest.mark.parametrize(("unit", "owner"), sorted(neighbours.OWNER_UNITS.items()))
def test_an_enabled_unit_is_an_owner(tmp_path, unit, owner):
    wants(tmp_path, unit)
    assert neighbours.other_owners(Root(tmp_path)) == (owner,)


def test_two_units_of_one_owner_are_one(tmp_path):
    wants(tmp_path, "nova-compute.service")
    wants(tmp_path, "openstack-nova-compute.service")
    wants(tmp_path, "kubelet.service")
    assert neighbours.other_owners(Root(tmp_path)) == ("kubelet", "nova-compute")


def test_an_installed_but_disabled_unit_is_no_owner(tmp_path):
    put(tmp_path, "usr/lib/systemd/system/pacemaker.service", "[Install]\nWantedBy=multi-user.target\n")
    assert neighbours.other_owners(Root(tmp_path)) == ()
    assert neighbours.installed_owners(Root(tmp_path)) == ("pacemaker.service",)


def test_a_masked_unit_is_no_owner(tmp_path):
    wants(tmp_path, "pacemaker.service")
    (tmp_path / "etc/systemd/system/pacemaker.service").symlink_to("/dev/null")
    assert neighbours.other_owners(Root(tmp_path)) == ()


@pytest.mark.parametrize(
    "link", ["etc/runlevels/default/pacemaker", "etc/rc3.d/S20pacemaker", "etc/rc.d/rc5.d/S99pacemaker"]
)
def test_an_enabled_init_script_is_an_owner(tmp_path, link):
    put(tmp_path, link)
    assert neighbours.other_owners(Root(tmp_path)) == ("pacemaker",)


def test_a_stopped_init_script_is_no_owner(tmp_path):
    put(tmp_path, "etc/rc3.d/K20pacemaker")
    assert neighbours.other_owners(Root(tmp_path)) == ()


def test_owners_among_units_that_systemd_showed():
    found = {
        "pacemaker.service": Unit("pacemaker.service", "loaded", "disabled", active="active"),
        "vdsmd.service": Unit("vdsmd.service", "loaded", "enabled", active="inactive"),
        "kubelet.service": Unit("kubelet.service", "loaded", "disabled", active="inactive"),
        "libvirt-guests.service": Unit("libvirt-guests.service", "loaded", "enabled", active="active"),
    }
    assert neighbours.owners_among(found) == ("pacemaker", "vdsmd")


def test_auto_shutdown_takes_the_last_assignment_that_is_no_comment(tmp_path):
    put(
        tmp_path,
        "etc/libvirt/qemu.conf",
        '#auto_shutdown_try_shutdown = "all"\n'
        'auto_shutdown_try_save = "none"\n'
        '  auto_shutdown_try_save="persistent"   # since the move\n'
        'auto_shutdown_poweroff = "all"\n'
        'auto_shutdown_poweroff = "none"\n'
        "auto_shutdown_wait = 60\n",
    )
    assert neighbours.auto_shutdown(Root(tmp_path)) == {"auto_shutdown_try_save": "persistent"}


def test_auto_shutdown_without_a_file(tmp_path):
    assert neighbours.auto_shutdown(Root(tmp_path)) == {}


def test_stale_list(tmp_path):
    assert neighbours.stale_list(Root(tmp_path)) == ()
    put(tmp_path, "var/lib/libvirt/libvirt-guests", "default 1b4e28ba-2fa1-11d2-883f-0016d3cca427\n\n")
    assert neighbours.stale_list(Root(tmp_path)) == ("default 1b4e28ba-2fa1-11d2-883f-0016d3cca427",)
