"""The doctor's checks of who else stops guests: each fires on its trouble, and is silent without it."""

import pytest

from doctorhost import facts, ids, with_file, with_unit
from lvg.doctor.table import CHECKS

LOOK = {check.id: check.look for check in CHECKS}
GUESTS, STOPVM = "libvirt-guests.service", "graceful-shutdown.service"
DROP_IN = f"/etc/systemd/system/{GUESTS}.d/90-mine.conf"


@pytest.mark.parametrize(
    ("path", "text", "fires"),
    [
        ("/etc/systemd/system/kill-vms.service", "[Service]\nExecStop=/usr/bin/virsh destroy db1\n", True),
        ("/etc/libvirt/hooks/qemu", "#!/bin/sh\nvirsh -c qemu:///system managedsave $1\n", True),
        ("/usr/lib/systemd/system-shutdown/vms", "#!/bin/sh\nfor g in a b; do virsh shutdown $g; done\n", True),
        ("/etc/systemd/system/list.service", "[Service]\nExecStart=virsh list\n# virsh destroy db1\n", False),
        ("/etc/systemd/system/libvirt-guests.service", "ExecStop=/usr/bin/virsh shutdown a\n", False),
        ("/etc/systemd/system/x.service", "# Installed by lvg-install\nExecStop=virsh shutdown a\n", False),
        ("/srv/elsewhere", "virsh destroy db1\n", False),
    ],
)
def test_a_script_that_stops_guests_too(path, text, fires):
    assert ids(LOOK["A8"], with_file(facts(), path, text)) == [("A8", "warning", "")] * fires


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("[Service]\nTimeoutStopSec=30\n", True),
        ("[Service]\nExecStop=\n[Service]\nExecStop=/root/mine\n", True),
        ("# Installed by lvg-install\n[Service]\nTimeoutStopSec=30\n", False),
        ("[Unit]\nAfter=nfs-client.target\n[Service]\nNice=5\n", False),
    ],
)
def test_a_drop_in_that_changes_how_guests_are_stopped(text, fires):
    seen = with_file(with_unit(facts(), GUESTS, DropInPaths=DROP_IN), DROP_IN, text)

    assert ids(LOOK["A10"], seen) == [("A10", "warning", "")] * fires


def test_an_unprotected_unit_where_protection_was_asked_for():
    assert ids(LOOK["A11"], with_unit(facts(), STOPVM, RefuseManualStop="no")) == [("A11", "warning", "")]
    assert ids(LOOK["A11"], with_unit(facts(), STOPVM, RefuseManualStop="yes")) == []


def test_a_unit_that_systemd_has_not_read_since_it_changed():
    seen = with_unit(facts(), GUESTS, NeedDaemonReload="yes")

    assert [finding.remedy for finding in LOOK["A15"](seen)] == ["systemctl daemon-reload"]
    assert ids(LOOK["A15"], with_unit(facts(), GUESTS, NeedDaemonReload="no")) == []
