"""Who lost power outside of any stop: by the guests' logs, and never by mistake."""

import io
import json
import os

import pytest

from lvg.stopvm import journal, lastboot, powercut
from lvg.stopvm.history import Entry, History, Record
from lvg.stopvm.policy import Policy
from lvg.stopvm.report import Report

UUID = "11111111-2222-3333-4444-555555555555"


def start(when):
    return f"{when}.000+0000: starting up libvirt version: 9.0.0, qemu version: 7.2\nLC_ALL=C \\\n/usr/bin/qemu\n"


def end(reason, when="2026-01-01 09:00:00"):
    return f"2026-01-01T08:00:00.1Z qemu: terminating on signal 15\n{when}.000+0000: shutting down, reason={reason}\n"


def signal(sender):
    """What QEMU writes when a signal ends it."""
    return f"2026-01-01T08:59:59.9Z qemu-system-x86_64: terminating on signal 15 from pid 1 ({sender})\n"


SYSTEMD, LIBVIRTD = signal("/usr/lib/systemd/systemd"), signal("/usr/sbin/libvirtd")
A, B, C = "2026-01-01 01:00:00", "2026-01-01 02:00:00", "2026-01-01 03:00:00"


@pytest.mark.parametrize(
    ("log", "active", "cut"),
    [
        ("", False, ""),
        (start(A), False, A),
        (start(A), True, ""),  # it runs
        (start(A) + end("shutdown"), False, ""),
        (start(A) + end("crashed"), False, ""),
        (start(A) + end("saved") + start(B), False, B),
        (start(A) + start(B), True, A),  # started again by the host's boot
        (start(A) + start(B), False, B),
        (start(A) + start(B) + end("shutdown"), False, A),
        (end("shutdown") + start(B), False, B),  # the start was rotated away
        (start("1970-01-01 00:00:01") + end("failed"), False, ""),
        (start(A) + SYSTEMD, False, A),
        (start(A) + SYSTEMD + end("shutdown"), False, ""),
        (start(A) + "\0" * 5 + start(B) + end("shutdown"), False, A),  # what a power cut leaves of a line
        (start(A) + "2026-01-01T08:59:59Z qemu: terminating on signal 15 from pid 1 (/sb\n" + start(B), False, B),
    ],
)
def test_a_start_without_an_end(log, active, cut):
    found = powercut.cut_short(powercut.past(powercut.runs(log.encode()), active))
    assert found.removesuffix(".000+0000") == cut


@pytest.mark.parametrize(
    ("log", "at", "how"),
    [
        (start(A) + end("shutdown"), B, "clean"),
        (start(A) + end("saved"), B, "saved"),
        (start(A) + end("destroyed"), B, "destroyed"),
        (start(A) + end("migrated"), B, "moved"),
        (start(A) + end("crashed"), B, "lost"),
        (start(A) + end("shutdown") + start(B), C, "cut"),
        (start(B), B, "cut"),  # in the same second
        (start(C) + end("shutdown"), B, ""),  # a later run tells nothing
        (start(A) + LIBVIRTD + end("shutdown"), B, "clean"),
        (start(A) + signal("/usr/sbin/virtqemud") + end("shutdown"), B, "clean"),
        (start(A) + LIBVIRTD + SYSTEMD + end("shutdown"), B, "clean"),  # it was off by then
        (start(A) + LIBVIRTD + end("destroyed"), B, "destroyed"),
        (start(A) + SYSTEMD + end("shutdown"), B, "lost"),
        (start(A) + signal("<unknown process>") + end("shutdown"), B, "clean"),
        (start(A) + signal("init") + end("shutdown"), B, "lost"),
        (start(A) + signal("libvirtd") + end("shutdown"), B, "clean"),
        (start(A) + SYSTEMD.split(" ", 1)[1] + end("shutdown"), B, "lost"),  # log_timestamp=0
        (start(A) + end("shutdown", "2026-01-01 01:30:00"), B, ""),  # the clock was set back: nobody knows
        (start(A) + SYSTEMD + end("shutdown") + start(B) + end("shutdown"), C, "clean"),
        ("", B, ""),
    ],
)
def test_how_the_run_ended_in_which_it_was(log, at, how):
    assert powercut.ended(powercut.runs(log.encode()), at) == how


class Host:
    """A host that is a folder, boot after boot."""

    def __init__(self, root, monkeypatch):
        self.root, self.state, self.monkeypatch = root, root / "state", monkeypatch
        self.boots = 0
        for folder in (powercut.LOGS, powercut.DEFINITIONS, "run/libvirt/qemu"):
            (root / folder).mkdir(parents=True)
        monkeypatch.setattr(lastboot, "_SETTLES", 0)
        self.journal_began("")
        self.went_down()

    def journal_began(self, when):
        self.monkeypatch.setattr(journal, "last_boot_began", lambda: when)

    def went_down(self, began="", boot="boot 1"):
        """What the journal says of the boot before: when its shutdown began; none, by default."""
        shutdown = journal.Shutdown(boot, began) if began else None
        self.monkeypatch.setattr(journal, "shutdown_of", lambda asked: shutdown if asked in ("", boot) else None)

    def log(self, name, text, suffix=""):
        (self.root / powercut.LOGS / f"{name}.log{suffix}").write_text(text)
        (self.root / powercut.DEFINITIONS / f"{name}.xml").write_text(f"<domain><uuid>{UUID}</uuid></domain>")

    def runs(self, *names):
        for path in (self.root / "run/libvirt/qemu").iterdir():
            path.unlink()
        for name in names:
            (self.root / f"run/libvirt/qemu/{name}.pid").write_text("1")

    def stop(self, kind="shutdown", started="2026-01-02T00:00:00Z", boot_id="", **guests):
        store = History(self.state)
        entries = [Entry("qemu:///system", UUID, name, verdict=verdict) for name, verdict in guests.items()]
        store.write(store.new(), Record(kind=kind, started=started, boot_id=boot_id, guests=entries).as_json())

    def boot(self, again=False):
        """Return the names that are said to have lost power."""
        self.boots += not again
        self.monkeypatch.setattr("lvg.stopvm.history.boot_id", lambda: f"boot {self.boots}")
        said = io.StringIO()
        rules, policy = Policy(uris=("qemu:///system",)), self.root / "policy.json"
        lastboot.look(rules, policy, self.state, Report(said, True), self.root)
        lines = [line for line in said.getvalue().splitlines() if "stopvm left no record" not in line]
        assert all(line.startswith("<3>") and " lost power: " in line for line in lines), lines
        return [line[3:].split()[0] for line in lines]

    def newest(self):
        found = History(self.state).latest()
        return found[1] if found else None


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_those_that_ran_lost_power_once(host):
    assert host.boot() == []
    host.log("a", start(A))
    host.log("b", start(A) + end("shutdown"))
    host.log("c", start(A) + start(B))
    host.runs("c")
    assert host.boot() == ["a", "c"]
    cut = host.newest()
    assert (cut.kind, cut.boot_id, cut.restored) == ("cut", "boot 1", "")
    assert [(entry.name, entry.uuid, entry.persistent, entry.verdict) for entry in cut.pending()] == [
        ("a", UUID, True, "lost"),
        ("c", UUID, True, "lost"),
    ]
    host.log("c", start(A) + start(B) + end("shutdown"))
    host.runs()
    assert host.boot(again=True) == []
    assert host.boot() == []
    assert host.boot() == []


def test_a_transient_guest_is_known_by_its_missing_definition(host):
    host.boot()
    host.log("a", start(A))
    (host.root / powercut.DEFINITIONS / "a.xml").unlink()
    assert host.boot() == ["a"]
    assert not host.newest().guests[0].persistent


def test_what_was_to_be_brought_back_is_carried_and_no_guest_stands_there_twice(host):
    host.stop(kind="now", a="clean", b="clean")
    host.boot()
    host.log("a", start("2026-01-03 00:00:00"))
    store = History(host.state)
    path, record = store.latest()
    record.guests[1].uuid = "another"
    store.write(path, record.as_json())
    assert host.boot() == ["a"]
    assert [entry.name for entry in host.newest().guests] == ["a"]
    assert [entry.name for entry in host.newest().carried] == ["b"]


def test_after_a_shutdown_nobody_lost_power(host):
    host.boot()
    host.log("a", start(A))
    host.stop(a="clean")  # its QEMU was ended with libvirtd dead: there is no end in the log
    assert host.boot() == []
    assert host.boot() == [], "nor at any later boot"


def test_a_guest_that_was_stopped_by_hand_did_not_lose_power_unless_it_ran_again(host):
    host.boot()
    host.log("a", start("2026-01-01 23:00:00"))
    host.log("b", start("2026-01-02 01:00:00"))
    host.log("c", start("2026-01-01 23:00:00"))
    host.stop(kind="now", a="clean", b="clean", c="left")
    assert host.boot() == ["b", "c"]


def test_a_wrong_clock_at_boot_makes_no_difference(host):
    host.boot()
    host.log("a", start("1970-01-01 00:00:07"))
    host.log("b", start("2099-01-01 00:00:07"))
    assert host.boot() == ["a", "b"]
    assert host.boot() == []


@pytest.mark.parametrize(("began", "lost"), [("", []), ("2026-01-01 01:30:00", ["b"])])
def test_the_first_boot_believes_only_the_journal(host, began, lost):
    host.log("a", start(A))
    host.log("b", start(B))
    host.journal_began(began)
    assert host.boot() == lost
    assert host.boot() == []


def test_after_a_new_installation_the_old_note_is_not_believed(host):
    host.boot()
    host.log("a", start(A))  # while lvg was not installed
    host.log("b", start(B))
    (host.root / "policy.json").touch()
    os.utime(host.state / "boot.json", (1, 1))
    host.journal_began("2026-01-01 01:30:00")
    assert host.boot() == ["b"]
    assert host.boot() == []


def test_the_first_boot_after_a_shutdown_by_an_older_version(host):
    host.log("a", start(A))
    host.stop(started="2026-01-01T01:30:00Z", a="clean")
    host.journal_began("2026-01-01 00:00:00")
    assert host.boot() == []


def test_a_start_and_an_end_in_different_files(host):
    host.boot()
    host.log("a", start(A), ".1")
    host.log("a", end("shutdown"), ".0")
    host.log("a", "")
    host.log("b", start(A), ".0")
    host.log("b", "some warning\n")
    assert host.boot() == ["b"]


@pytest.mark.parametrize(
    ("before", "lost"),
    [(start(A) + end("shutdown"), []), (start(A), ["a"])],
)
def test_a_guest_that_is_being_started_lost_no_power_by_that(host, monkeypatch, before, lost):
    host.boot()
    host.log("a", before + start(B))
    monkeypatch.setattr("lvg.stopvm.lastboot.time.sleep", lambda _: host.runs("a"))
    assert host.boot() == lost


def test_nor_does_one_that_is_started_a_moment_later(host, monkeypatch):
    host.boot()
    host.log("a", start(A) + end("shutdown"))
    host.log("b", start(A))
    monkeypatch.setattr(
        "lvg.stopvm.lastboot.time.sleep", lambda _: host.log("a", start(A) + end("shutdown") + start(B))
    )
    assert host.boot() == ["b"]


T = "2026-01-02 00:00:00.500000"


def ran(when=B, reason="shutdown"):
    """A guest that ran when the host went down at T, and ended after it."""
    return start(when) + end(reason, "2026-01-02 00:00:01")


def test_a_shutdown_without_a_record_is_put_on_record_with_those_that_ran(host):
    host.log("old", start(A))
    host.boot()
    for name in ("a", "b", "c", "deaf"):
        host.log(name, ran())
    host.log("before", start(A) + end("shutdown", "2026-01-02 00:00:00"))
    host.log("after", start("2026-01-02 00:00:02") + end("shutdown", "2026-01-02 00:00:03"))
    host.log("c", ran() + start("2026-01-03 00:00:00"))  # by itself, at this boot, and the log is ahead of its pid file
    host.log("d", ran() + start("2026-01-03 00:00:00"))
    host.log("deaf", start(B) + SYSTEMD + end("shutdown", "2026-01-02 00:00:01"))
    host.log("gone", start(B))
    host.runs("d")
    host.went_down(T)
    assert host.boot() == []
    record = host.newest()
    assert (record.kind, record.boot_id, record.started, record.ended) == (
        "shutdown", "boot 1", "2026-01-02T00:00:00Z", ""
    )  # fmt: skip
    assert [(guest.name, guest.verdict) for guest in record.pending()] == [
        (name, "") for name in ("a", "b", "c", "d", "deaf", "gone")
    ]
    ended = {
        guest.name: lastboot.how_ended(Entry("qemu:///system", "", guest.name), record.started, host.root)
        for guest in record.guests
    }
    assert ended == {"a": "clean", "b": "clean", "c": "clean", "d": "clean", "deaf": "lost", "gone": "cut"}
    host.went_down()
    assert host.boot() == [], "once"


@pytest.mark.parametrize(
    ("log", "back"),
    [
        (ran(A), True),
        (ran(A, "saved"), True),
        (ran(A, "failed"), False),  # it came in from another host, where it runs on
        (ran(A) + start("2026-01-02 09:00:00") + end("shutdown", "2026-01-02 10:00:00"), False),  # and it was shut down
        (ran(A) + start("2026-01-02 09:00:00"), True),
        (start(A) + start(B) + end("shutdown", "2026-01-01 03:00:00"), False),
        (start(A) + start("2026-01-03 00:00:00") + end("shutdown", "2026-01-01 03:00:00"), False),
        ("", False),
    ],
)
def test_who_ran_when_the_host_went_down(log, back):
    assert powercut.ran_at(powercut.runs(log.encode()), T) == back


def test_what_was_cut_off_before_the_last_boot_began_stays_off(host):
    host.log("old", start(A))
    host.log("new", start(C))
    host.journal_began(B)
    host.went_down(T)
    assert host.boot() == []
    assert [guest.name for guest in host.newest().guests] == ["new"]


def test_a_guest_that_is_just_being_started_is_not_noted_as_cut(host, monkeypatch):
    host.boot()
    host.stop()
    host.log("a", ran() + start(C))
    monkeypatch.setattr("lvg.stopvm.lastboot.time.sleep", lambda _: host.runs("a"))
    host.boot()
    assert json.loads((host.state / "boot.json").read_text())["cuts"] == {}


def test_a_shutdown_without_a_record_carries_who_was_stopped_by_hand_before(host):
    host.boot()
    host.stop(kind="now", x="clean", a="clean")
    store = History(host.state)
    path, record = store.latest()
    record.guests[0].uuid = "another"
    store.write(path, record.as_json())
    host.log("a", ran("2026-01-01 23:00:00"))
    host.went_down(T)
    assert host.boot() == []
    assert ([each.name for each in host.newest().guests], [each.name for each in host.newest().carried]) == (
        ["a"],
        ["x"],
    )


@pytest.mark.parametrize("known_boot", [True, False])
def test_a_shutdown_on_record_needs_no_other_one(host, known_boot):
    if known_boot:
        host.boot()
    host.boots = 1
    host.stop(a="clean", boot_id="boot 1")
    host.log("a", ran())
    host.log("b", ran())
    host.went_down(T)
    assert host.boot() == []
    assert [guest.name for guest in host.newest().guests] == ["a"]


def test_the_first_shutdown_after_the_installation_may_be_without_a_record(host):
    host.stop(a="clean", boot_id="long ago")
    host.log("a", ran())
    host.went_down(T)
    assert host.boot() == []
    assert [guest.name for guest in host.newest().pending()] == ["a"]
    assert host.newest().boot_id == "boot 1"


@pytest.mark.parametrize("boot_id", ["", "boot 2"])
def test_records_whose_boots_cannot_be_told_apart_say_nothing(host, boot_id):
    host.boots = 1
    host.stop(a="clean", boot_id=boot_id)
    host.log("b", ran())
    host.went_down(T)
    assert host.boot() == []
    assert [guest.name for guest in host.newest().guests] == ["a"]


@pytest.mark.parametrize("what", ["{", '{"schema": 2}', '{"schema": 1, "boot_id": "x"}', "[]"])
def test_a_broken_note_says_nothing(host, what):
    host.boot()
    (host.state / "boot.json").write_text(what)
    host.log("a", start(A))
    assert host.boot() == []


def test_a_history_that_was_cleared_or_broken_says_nothing(host):
    host.stop()
    host.boot()
    host.log("a", start(A))
    (path,) = (host.state / "history").iterdir()
    path.unlink()
    assert host.boot() == []
    host.log("a", start(B))
    History(host.state).new().write_text("{")
    assert host.boot() == []


def test_other_drivers_and_a_host_without_logs_say_nothing(host):
    rules, policy = Policy(uris=("lxc:///system", "qemu+ssh://h/system")), host.root / "none"
    lastboot.look(rules, policy, host.state, Report(io.StringIO()), host.root)
    assert not host.state.exists()
    (host.root / powercut.LOGS).rmdir()
    assert host.boot() == []
    assert not host.state.exists()


def test_the_note_is_for_root_alone(host):
    host.log("a", start(A))
    host.boot()
    note = host.state / "boot.json"
    assert note.stat().st_mode & 0o777 == 0o600
    assert json.loads(note.read_text())["cuts"] == {"a": f"{A}.000+0000"}
