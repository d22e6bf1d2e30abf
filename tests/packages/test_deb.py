"""The Debian package on real hosts with running guests: whatever dpkg does with it, no guest notices."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

import lvg
import roots
from debs import Debs
from guests import Guest, define, mark, running, saved, serial, start, wait_alive
from lvg import bundle, units
from lvg.layout import PACKAGED_PROGRAM
from machine import Machine

VERSION = lvg.__version__
GUESTS = ("one", "two")
LIBRARY = "usr/lib/python3/dist-packages/lvg"
SHIPPED = """
etc/needrestart/conf.d/lvg.conf
usr/bin/lvg
usr/bin/lvg-install
usr/bin/stopvm
usr/lib/systemd/system/graceful-restore.service
usr/lib/systemd/system/graceful-shutdown.service
usr/share/bash-completion/completions/lvg
usr/share/bash-completion/completions/lvg-install
usr/share/bash-completion/completions/stopvm
usr/share/doc/lvg/ARCHITECTURE.md.gz
usr/share/doc/lvg/README.Debian
usr/share/doc/lvg/README.md.gz
usr/share/doc/lvg/changelog.Debian.gz
usr/share/doc/lvg/changelog.gz
usr/share/doc/lvg/copyright
usr/share/doc/lvg/examples/log-stop
usr/share/doc/lvg/examples/office.toml
usr/share/fish/vendor_completions.d/lvg-install.fish
usr/share/fish/vendor_completions.d/lvg.fish
usr/share/fish/vendor_completions.d/stopvm.fish
usr/share/lvg/before-removal
usr/share/lvg/profiles/graceful-240s.toml
usr/share/lvg/profiles/graceful.toml
usr/share/lvg/profiles/suspend.toml
usr/share/lvg/profiles/ups.toml
usr/share/man/man5/lvg-profile.5.gz
usr/share/man/man8/lvg-install.8.gz
usr/share/man/man8/lvg.8.gz
usr/share/man/man8/stopvm.8.gz
usr/share/zsh/vendor-completions/_lvg
usr/share/zsh/vendor-completions/_lvg-install
usr/share/zsh/vendor-completions/_stopvm
"""
STAYS_UNTIL_PURGE = {"etc/needrestart/conf.d/lvg.conf"}
CONFFILE = "etc/default/libvirt-guests"
POLICY = {"etc/lvg/policy.json"}
GLUE = {
    "etc/systemd/system/graceful-shutdown.service.d/50-lvg.conf",
    "etc/systemd/system/libvirt-guests.service.d/50-lvg.conf",
    "etc/systemd/system/multi-user.target.wants/graceful-restore.service",
    "etc/systemd/system/multi-user.target.wants/graceful-shutdown.service",
    "etc/systemd/system/virt-guest-shutdown.target.d/50-lvg.conf",
}
OVERLAY = {"etc/lvg/libvirt-guests", "etc/systemd/system/libvirt-guests.service.d/50-lvg-overlay.conf"}


class Story:
    """A host with two running guests; every step on it is checked for what it must not do."""

    def __init__(self, machine: Machine, debs: Debs) -> None:
        self.machine = machine
        for name in ("old", "new"):
            shutil.copy(getattr(debs, name), machine.root / f"srv/{name}.deb")
        for excluding in (machine.root / "etc/dpkg/dpkg.cfg.d").iterdir():
            excluding.unlink()  # this package's documentation is to be installed
        machine.boot()
        define(machine, *(Guest(name, shutdown=2) for name in GUESTS))
        self.ids = start(machine, *GUESTS)
        self._net = self._invocation(units.GUESTS)
        self._ours = ""
        self._verified = self.foreign_changes()
        self._before = self._everything()

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess:
        """Run a step on the host, then see that no guest and no unit was touched."""
        done = self.machine.run(f"export DEBIAN_FRONTEND=noninteractive; {command}", check=check)
        self.assert_untouched(command)
        return done

    def assert_untouched(self, step: str) -> None:
        assert running(self.machine) == set(GUESTS), step
        marks = {name: mark(self.machine, name) for name in GUESTS}
        assert {name: wait_alive(self.machine, name, marks[name]) for name in GUESTS} == self.ids, step
        assert all(serial(self.machine, name).presses == 0 for name in GUESTS), step
        assert self._invocation(units.GUESTS) == self._net, f"libvirt-guests was started anew by: {step}"
        now = self._invocation(units.SHUTDOWN)
        assert not self._ours or now == self._ours, f"our unit was stopped or started anew by: {step}"
        self._ours = now

    def _invocation(self, unit: str) -> str:
        return self.machine.run(f"systemctl show -P InvocationID {unit}").stdout.strip()

    def foreign_changes(self) -> list[str]:
        """What dpkg finds changed in all packages; the documentation is left out of these trees."""
        lines = self.machine.run("dpkg -V", check=False).stdout.splitlines()
        return [line for line in lines if not line.startswith("missing") or "lvg" in line]

    def assert_verified(self, *but: str) -> None:
        """Every package's files are as shipped, but for conffiles that the admin asked to edit."""
        changed = [line for line in self.foreign_changes() if line not in self._verified]
        assert [line.split()[-1] for line in changed] == [f"/{path}" for path in but], changed

    def files(self) -> set[str]:
        """Paths that have come since the guests run, without lvg's Python package and its state."""
        came = {path for path in self._everything() - self._before if not path.startswith((LIBRARY, "var/lib/lvg"))}
        return {path for path in came if not (self.machine.upper / path).is_dir()}

    def leftovers(self) -> set[str]:
        return self._everything() ^ self._before

    def _everything(self) -> set[str]:
        found = set()
        for folder in ("etc", "usr", "var"):
            for path in (self.machine.upper / folder).rglob("*"):
                name = str(path.relative_to(self.machine.upper))
                noise = "/__pycache__/" in name and not name.startswith(LIBRARY)
                if not noise and not name.startswith(NOISE) and (not path.is_dir() or "lvg" in path.name):
                    found.add(name)
        return found

    def record(self) -> bytes:
        return (self.machine.root / "var/lib/lvg/applied.json").read_bytes()

    def active(self) -> bool:
        return self.machine.run(f"systemctl is-active {units.SHUTDOWN}", check=False).stdout.strip() == "active"


# What a host writes all the time.
NOISE = (
    "etc/.pwd.lock",
    "etc/libvirt/",
    "var/cache/",
    "var/lib/dpkg/",
    "var/lib/libvirt/",
    "var/lib/systemd/",
    "var/log/",
)


@pytest.fixture
def story(release: str, debs: Debs) -> Iterator[Story]:
    with Machine([roots.guest_layer(), roots.host_root(release)]) as machine:
        yield Story(machine, debs)


def test_by_hand_through_a_life_of_the_package(story: Story) -> None:
    shipped = set(SHIPPED.split())

    story.run("dpkg -i /srv/old.deb")
    assert story.files() == shipped
    assert not (story.machine.root / "var/lib/lvg").exists()
    assert not story.active()
    story.assert_verified()

    story.run("lvg-install --profile graceful")
    assert story.files() == shipped | POLICY | GLUE | {CONFFILE}
    assert story.active()
    story.assert_verified(CONFFILE)
    edited, record = (story.machine.root / CONFFILE).read_bytes(), story.record()

    for step in ("upgrade", "reinstallation"):
        said = story.run("dpkg -i /srv/new.deb").stderr
        assert "lvg:" not in said, f"{step}: all is well, and nothing needs to be said"
        _assert_new(story)
        assert story.record() == record, "what an admin applied is the admin's"
        assert story.files() == shipped | POLICY | GLUE | {CONFFILE}
        story.run("lvg status")
        story.assert_verified(CONFFILE)

    story.run("dpkg -r lvg")
    assert story.files() == STAYS_UNTIL_PURGE | POLICY | {CONFFILE}
    assert (story.machine.root / CONFFILE).read_bytes() == edited
    _stop_is_allowed_again(story)

    said = story.run("dpkg -i /srv/new.deb").stderr
    assert "Apply it again: lvg-install --profile graceful\n" in said
    story.run("lvg-install --profile graceful --quiet; lvg status")
    assert story.files() == shipped | POLICY | GLUE | {CONFFILE}

    story.run("lvg remove")
    story.assert_verified()
    story.run("dpkg -P lvg")
    assert {path for path in story.leftovers() if path != CONFFILE} == set()
    story.assert_verified()


def _assert_new(story: Story) -> None:
    root, machine = story.machine.root, story.machine
    assert (root / PACKAGED_PROGRAM.strip("/")).read_bytes() == bundle.program()
    for unit, text in ((units.SHUTDOWN, units.graceful_shutdown), (units.RESTORE, units.graceful_restore)):
        assert (root / "usr/lib/systemd/system" / unit).read_text() == text(PACKAGED_PROGRAM)
        assert machine.run(f"systemctl show -P NeedDaemonReload {unit}").stdout == "no\n"
    for program in ("lvg", "lvg-install", "stopvm"):
        assert machine.run([program, "--version"]).stdout.split()[-1] == VERSION


def _stop_is_allowed_again(story: Story) -> None:
    """Nothing of ours is left in what systemd has read."""
    for unit in (units.GUESTS, units.TARGET, units.SHUTDOWN):
        assert story.machine.run(f"systemctl show -P RefuseManualStop {unit}").stdout == "no\n"


def test_preseeded_from_a_failure_to_the_power_off(story: Story) -> None:
    machine, root = story.machine, story.machine.root
    shipped = set(SHIPPED.split())
    preseed = "echo 'lvg lvg/profile select graceful' | debconf-set-selections"

    # sh cannot read the settings: the profile cannot be applied, and the package is installed all the same.
    stock = (root / CONFFILE).read_bytes()
    (root / CONFFILE).write_bytes(stock + b"if\n")
    said = story.run(f"{preseed}; dpkg -i /srv/old.deb").stderr
    assert "the profile graceful was not applied" in said
    assert machine.run("dpkg-query -W -f '${db:Status-Status}' lvg").stdout == "installed"
    assert story.files() - {CONFFILE} == shipped
    (root / CONFFILE).write_bytes(stock)

    # A host where nothing may be started by packages: applied, but not started.
    (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    story.run("dpkg-reconfigure lvg")
    applied = shipped | POLICY | GLUE | OVERLAY
    assert story.files() - {CONFFILE, "usr/sbin/policy-rc.d"} == applied
    assert not story.active()
    (root / "usr/sbin/policy-rc.d").unlink()

    story.run("dpkg -P lvg")
    assert {path for path in story.leftovers() if path != CONFFILE} == set()
    assert machine.run("echo GET lvg/profile | debconf-communicate lvg", check=False).stdout.startswith("10 "), (
        "forgotten"
    )

    story.run(f"{preseed}; dpkg -i /srv/old.deb")
    assert story.active()
    assert story.files() - {CONFFILE} == applied
    assert (root / CONFFILE).read_bytes() == stock
    story.assert_verified()

    story.run("dpkg -i /srv/new.deb; dpkg -i /srv/new.deb; lvg status")
    _assert_new(story)
    assert f'"version": "{VERSION}"'.encode() in story.record(), "it was applied by the package, and is so again"

    story.run("dpkg -r lvg")
    assert story.files() - {CONFFILE} == STAYS_UNTIL_PURGE | POLICY | {"etc/lvg/libvirt-guests"}
    story.run("dpkg -i /srv/new.deb; lvg status")
    assert story.files() - {CONFFILE} == applied
    story.assert_verified()

    machine.poweroff()
    journal = machine.journal("-u", units.SHUTDOWN)
    for name in GUESTS:
        assert serial(machine, name).presses == 1
        assert serial(machine, name).ended == [story.ids[name]]
        assert re.search(rf"\b{name}\b.*\bclean\b", journal), journal
    marks = {name: mark(machine, name) for name in GUESTS}
    machine.boot()
    back = {name: wait_alive(machine, name, marks[name]) for name in GUESTS}
    assert not {*back.values()} & {*story.ids.values()}
    assert saved(machine) == set()
    machine.run("lvg status")


def test_an_old_list_of_libvirt_guests_starts_no_guest(release: str, debs: Debs) -> None:
    """Where libvirt-guests is off, our unit would pull it in, and it would boot what ran long ago."""
    with Machine([roots.guest_layer(), roots.host_root(release)]) as machine:
        shutil.copy(debs.new, machine.root / "srv/new.deb")
        (machine.root / "etc/systemd/system/multi-user.target.wants/libvirt-guests.service").unlink()
        machine.boot()
        define(machine, Guest("old"))
        uuid = machine.run("virsh -q domuuid old").stdout.strip()
        (machine.root / "var/lib/libvirt/libvirt-guests").write_text(f"default {uuid}\n")
        preseed = "echo 'lvg lvg/profile select suspend' | debconf-set-selections"
        said = machine.run(f"export DEBIAN_FRONTEND=noninteractive; {preseed}; dpkg -i /srv/new.deb").stderr
        assert "nothing was started" in said
        for unit in (units.GUESTS, units.SHUTDOWN):
            assert machine.run(f"systemctl is-active {unit}", check=False).stdout.strip() == "inactive"
        assert running(machine) == set()
        machine.run("lvg status")
        machine.run(f"systemctl start {units.SHUTDOWN}")
        assert running(machine) == {"old"}, "so it was worth it"
