"""Guests that something else holds, or that would not end when they shut down: each still ends in a defined way."""

from __future__ import annotations

import re

import pytest

from guests import Guest, check_disks, define, mark, serial, start, wait_alive
from install import install_own, last_stop, lvg_install
from machine import Machine

# Whoever reads the dump waits for stopvm, so that it is still at work when the guests are stopped.
UNTIL_STOPVM = 'until pgrep -f "[s]topvm stop"; do sleep 0.2; done; sleep 15'
SLOWLY = f"exec 3</srv/dump.fifo; {UNTIL_STOPVM}; cat <&3 >/dev/null"
# The snapshot has begun with its first byte, and cannot end before stopvm works. libvirt opens the file a second time
# when all is in it, to note that it is whole.
SLOW_SNAPSHOT = (
    f"exec 3</srv/memory.fifo; head -c 1 <&3 >/srv/began; {UNTIL_STOPVM}; cat <&3 >/dev/null; exec 3<&-; "
    "cat /srv/memory.fifo >/dev/null"
)
MEMORY = "file=/srv/memory.fifo,snapshot=external"
SLEEPS = "<pm><suspend-to-mem enabled='yes'/></pm>"
NOT_STOPPED = "systemd-run --quiet --property=DefaultDependencies=no"
PULL = """\
<domainbackup mode='pull'><server transport='unix' socket='/var/lib/libvirt/qemu/{name}.nbd'/></domainbackup>
"""
RULES = "".join(
    f'[[guest]]\nmatch = "{name}"\ntimeout = 20\non_timeout = ["save", "destroy"]\n' for name in ("deaf", "big")
)
SAVES = "/var/lib/libvirt/qemu/save"


def _define_with(machine: Machine, guest: Guest, element: str, instead: str) -> None:
    define(machine, guest)
    path = machine.root / f"srv/{guest.name}.xml"
    path.write_text(path.read_text().replace(instead, element))
    machine.run(f"virsh -q undefine {guest.name} && virsh -q define /srv/{guest.name}.xml")


def _fallen_asleep(machine: Machine, name: str) -> bool:
    """Ask a guest to sleep. Its answer says little: it comes late, or only when the guest is awake again."""
    machine.run(["virsh", "dompmsuspend", name, "mem"], check=False)
    return machine.run(["virsh", "domstate", name]).stdout.strip() == "pmsuspended"


def _copy_slowly(machine: Machine, name: str) -> None:
    """A block job that takes minutes, as a copy to a slow disk does."""
    target = f"/var/lib/libvirt/images/{name}.copy"
    machine.run(f"virsh -q blockcopy {name} vda {target} --transient-job --bandwidth 1")
    assert "Bandwidth limit" in machine.run(f"virsh blockjob {name} vda").stdout


def _dump_slowly(machine: Machine, name: str) -> None:
    machine.run(f"mkfifo /srv/dump.fifo && {NOT_STOPPED} sh -c '{SLOWLY}'")
    machine.run(f"{NOT_STOPPED} virsh dump --memory-only {name} /srv/dump.fifo")
    job = ["virsh", "domjobinfo", name]
    machine.wait_for(lambda: "Dump" in machine.run(job, check=False).stdout, "the dump to begin")


def _snapshot_slowly(machine: Machine, name: str) -> None:
    machine.run(f"mkfifo /srv/memory.fifo && {NOT_STOPPED} sh -c '{SLOW_SNAPSHOT}'")
    machine.run(f"{NOT_STOPPED} virsh snapshot-create-as {name} one --live --memspec {MEMORY} --reuse-external")
    began = machine.root / "srv/began"  # not asked of libvirt, which may be silent as long as nobody reads
    machine.wait_for(lambda: began.exists() and began.stat().st_size, "the snapshot to begin")


@pytest.mark.fault("a guest is asleep, another one is in the middle of a snapshot")
def test_guests_asleep_or_in_the_middle_of_a_snapshot(host: Machine) -> None:
    sleepy = Guest("sleepy", agent=True, disk=True)
    _define_with(host, sleepy, f"{SLEEPS}<on_poweroff>", instead="<on_poweroff>")
    define(host, Guest("shot"))
    ids = start(host, "sleepy", "shot")
    lvg_install(host, "--profile", "graceful", "--set", "resend=5")
    host.wait_for(lambda: _fallen_asleep(host, "sleepy"), "it to fall asleep")
    refused = host.run("virsh set-lifecycle-action shot poweroff preserve --live", check=False)
    assert "doesn't support the 'preserve' action" in refused.stderr, "so no guest of QEMU's can have it"
    _snapshot_slowly(host, "shot")

    host.poweroff()
    guests = {guest["name"]: guest for guest in last_stop(host)["guests"]}
    assert guests["sleepy"]["state"] == "pmsuspended"
    for name, boot_id in ids.items():
        assert (guests[name]["verdict"], serial(host, name).ended) == ("clean", [boot_id])
    check_disks(host, "sleepy")


@pytest.mark.fault("a backup, a copy or a dump holds guests; another one has no room to be saved")
def test_guests_that_are_held_or_would_start_again(host: Machine) -> None:
    plain = ("backup", "copied", "dumped")
    define(host, *(Guest(name, disk=True) for name in plain), Guest("deaf", deaf=True, disk=True))
    define(host, Guest("big", deaf=True, memory=400, disk=True))
    _define_with(host, Guest("again"), "<on_poweroff>restart<", instead="<on_poweroff>destroy<")
    ids = start(host, *plain, "deaf", "again", "big")
    install_own(host, RULES)
    host.run(f"mount -t tmpfs -o size=170m,mode=755 lvg-test {SAVES}")
    for name in ("copied", "deaf"):
        _copy_slowly(host, name)
    (host.root / "srv/backup.xml").write_text(PULL.format(name="backup"))
    host.run("virsh -q backup-begin backup /srv/backup.xml")
    assert "Backup" in host.run("virsh domjobinfo backup").stdout
    _dump_slowly(host, "dumped")

    host.poweroff()
    record = last_stop(host)
    guests = {guest["name"]: guest for guest in record["guests"]}
    for name in (*plain, "again"):
        assert serial(host, name).ended == [ids[name]], host.journal("-u", "graceful-shutdown")
        assert guests[name]["verdict"] == "clean"
    check_disks(host, *plain, forced=["deaf", "big"])
    assert "a dump of it is at work" in guests["dumped"]["detail"]
    assert guests["deaf"]["verdict"] == "saved"
    assert "the block job of vda" in guests["deaf"]["detail"]
    assert guests["big"]["verdict"] == "destroyed"
    assert re.search(r"save has \d+ MiB free, and it needs up to \d+ MiB", guests["big"]["detail"])
    assert record["exit_code"] == 1

    since = mark(host, "again")
    host.boot()
    assert wait_alive(host, "again", since) != ids["again"]
    assert "<on_poweroff>restart<" in host.run("virsh dumpxml --inactive again").stdout, "changed for that run only"
