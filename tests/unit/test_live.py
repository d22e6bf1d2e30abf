"""lvg at work on a host that runs: what it asks systemd and OpenRC for, and what it never asks."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from lvg import bundle, openrc
from lvg.commands import plan
from lvg.errors import LvgError
from lvg.files import Root
from lvg.systemd import show

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changing a host that runs is for root")

GUESTS, OURS = "libvirt-guests.service", "graceful-shutdown.service"
APPLY = ("--profile", "graceful")
LIST = "/var/lib/libvirt/libvirt-guests"


@dataclass
class Systemd:
    """A systemctl that knows the units of a tree."""

    root: Root
    active: set[str] = field(default_factory=set)
    fails: dict[str, str] = field(default_factory=dict)  # what it says to a verb that fails, or to the start of a unit
    asked: list[tuple[str, ...]] = field(default_factory=list)
    more: dict[str, str] = field(default_factory=dict)  # further properties of every unit

    def run(self, *words: str, seconds: float = 0) -> "subprocess.CompletedProcess[str]":
        del seconds
        verb, names = words[0], words[words.index("--") + 1 :] if "--" in words else ()
        assert verb in ("show", "daemon-reload", "start"), "it never stops or restarts anything"
        if verb != "show":
            self.asked.append((verb, *names))
        for word in (verb, *(names if verb == "start" else ())):
            if word in self.fails:
                return subprocess.CompletedProcess(words, 1, "", self.fails[word])
        if verb == "start":
            self.active |= set(names)
        return subprocess.CompletedProcess(words, 0, "\n".join(map(self._shown, names)), "")

    def _shown(self, name: str) -> str:
        unit = show._from_files(self.root, name)
        known = {
            "Id": name,
            "LoadState": unit.load,
            "UnitFileState": "" if unit.enabled == "not-found" else unit.enabled,
            "ActiveState": "active" if name in self.active else "inactive",
            "FragmentPath": unit.fragment,
            "DropInPaths": " ".join(unit.drop_ins),
            **self.more,
        }
        return "".join(f"{key}={value}\n" for key, value in known.items())

    @property
    def acts(self) -> list[str]:
        return [" ".join(words) for words in self.asked]


@pytest.fixture
def systemd(debian: Any, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """Let the fake host be the one that runs."""
    (debian.root / "run/systemd/system").mkdir(parents=True)
    found = Systemd(Root(debian.root))
    monkeypatch.setattr(Root, "live", True)
    monkeypatch.setattr(show, "_run", found.run)
    return found


def test_units_are_read_anew_and_started_and_a_second_run_does_nothing(debian: Any, systemd: Systemd) -> None:
    done = debian.install(*APPLY)
    assert (done.code, systemd.acts) == (0, ["daemon-reload", f"start {GUESTS}", f"start {OURS}"])
    status = debian.run("lvg", "status")
    assert (status.code, "active" in status.out) == (0, True)
    systemd.asked.clear()
    assert debian.install(*APPLY).code == 0
    assert systemd.acts == []


def test_undoing_stops_nothing(debian: Any, systemd: Systemd) -> None:
    before = debian.tree()
    debian.install(*APPLY)
    systemd.asked.clear()
    done = debian.run("lvg", "remove")
    assert (done.code, systemd.acts) == (0, ["daemon-reload"])
    assert systemd.active == {GUESTS, OURS}
    assert debian.tree() == before


def test_no_start_starts_nothing(debian: Any, systemd: Systemd) -> None:
    assert debian.install(*APPLY, "--no-start").code == 0
    assert systemd.acts == ["daemon-reload"]


def test_a_unit_that_does_not_start_puts_everything_back(debian: Any, systemd: Systemd) -> None:
    before = debian.tree()
    systemd.fails[OURS] = "Job failed.\nSee the journal."
    done = debian.install(*APPLY)
    assert done.code == 1
    assert "systemctl start: Job failed. See the journal.; everything was put back" in done.err
    assert f"{GUESTS} stays started" in done.err
    assert debian.tree() == before
    assert systemd.acts == ["daemon-reload", f"start {GUESTS}", f"start {OURS}", "daemon-reload"]


def test_what_cannot_be_put_back_is_said_and_the_next_run_does_it(debian: Any, systemd: Systemd) -> None:
    before = debian.tree()
    systemd.fails["daemon-reload"] = "no such bus"
    done = debian.install(*APPLY)
    assert (done.code, "NOT put back: systemctl daemon-reload: no such bus" in done.err) == (1, True)
    again = debian.install(*APPLY)
    assert (again.code, "an unfinished run cannot be undone: systemctl daemon-reload" in again.err) == (1, True)
    systemd.fails.clear()
    again = debian.install(*APPLY)
    assert (again.code, "what it had changed was put back" in again.err) == (0, True)
    debian.run("lvg", "remove")
    assert debian.tree() == before


def test_the_check_afterwards_finds_a_unit_that_has_not_come_up(debian: Any, systemd: Systemd) -> None:
    before = debian.tree()
    systemd.more["ActiveState"] = "failed"
    done = debian.install(*APPLY)
    assert (done.code, "the check after the change failed" in done.err) == (1, True)
    assert debian.tree() == before


def test_an_old_list_goes_before_libvirt_guests_starts_guests_by_it(debian: Any, systemd: Systemd) -> None:
    old = debian.put(LIST, "qemu:///system 11111111-2222-3333-4444-555555555555\n")
    text = old.read_bytes()
    done = debian.install("--profile", "suspend")
    assert done.code == 0
    assert not old.exists()
    assert "an old list of libvirt-guests goes into the checkpoint" in done.err
    running = debian.run("lvg", "remove")
    assert (running.code, f"{LIST} stays away" in running.out + running.err) == (0, True)
    assert not old.exists()
    old.write_bytes(text)  # the same once more, but libvirt-guests has been stopped meanwhile
    systemd.active.clear()
    debian.install("--profile", "suspend")
    systemd.active.clear()
    assert debian.run("lvg", "remove").code == 0
    assert old.read_bytes() == text


def test_a_failed_run_keeps_the_old_list_from_a_libvirt_guests_that_runs(debian: Any, systemd: Systemd) -> None:
    old = debian.put(LIST, "qemu:///system 11111111-2222-3333-4444-555555555555\n")
    systemd.fails[OURS] = "no"
    assert debian.install("--profile", "suspend").code == 1
    assert GUESTS in systemd.active
    assert not old.exists()


def test_systemd_does_not_answer(debian: Any, systemd: Systemd) -> None:
    before = debian.tree()
    systemd.fails["show"] = "Failed to connect to bus"
    done = debian.install(*APPLY)
    assert (done.code, "systemctl show: Failed to connect to bus" in done.err) == (1, True)
    assert debian.tree() == before


def test_another_owner_that_is_only_active_counts(debian: Any, systemd: Systemd) -> None:
    debian.put("/usr/lib/systemd/system/pacemaker.service", "[Service]\nExecStart=/bin/true\n")
    systemd.active.add("pacemaker.service")
    done = debian.install(*APPLY)
    assert (done.code, "pacemaker" in done.err) == (4, True)


def test_without_libvirt_guests_there_is_nothing_to_set_up(debian: Any, systemd: Systemd) -> None:
    (debian.root / "usr/lib/systemd/system/libvirt-guests.service").unlink()
    shutil.rmtree(debian.root / "usr/lib/libvirt")
    assert debian.install(*APPLY).code == 8


def test_no_stopvm_without_a_python_that_has_libvirt(
    debian: Any, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = debian.tree()
    monkeypatch.setattr(bundle, "_asks", lambda interpreter: False)
    done = debian.install(*APPLY)
    assert (done.code, "cannot import libvirt" in done.err) == (1, True)
    assert debian.tree() == before


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (FileNotFoundError(), "systemctl is not installed"),
        (subprocess.TimeoutExpired("systemctl", 90), "systemctl start did not answer in 90 s"),
    ],
)
def test_a_systemctl_that_is_away_or_hangs(monkeypatch: pytest.MonkeyPatch, raised: Exception, words: str) -> None:
    def run(*_words: Any, **_options: Any) -> None:
        raise raised

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(LvgError, match=words):
        show.start("x.service")


@pytest.mark.parametrize(
    ("shown", "limit", "words"),
    [
        ({"ActiveState": "active"}, None, []),
        ({"ActiveState": "active", "JobTimeoutAction": "reboot-force", "JobTimeoutUSec": "30min"}, 1800.0, []),
        ({"ActiveState": "failed"}, None, [f"{OURS} is failed, so this plan is not what a shutdown does"]),
    ],
)
def test_the_plan_knows_what_systemd_allows(
    debian: Any, systemd: Systemd, shown: dict[str, str], limit: float | None, words: list[str]
) -> None:
    systemd.more = shown
    found, said = plan._systemd(Root(debian.root))
    assert (found, [text.partition(":")[0] for text in said]) == (limit, words)


def test_a_plan_without_an_answer_of_systemd_takes_its_usual_limit(debian: Any, systemd: Systemd) -> None:
    systemd.fails["show"] = "no bus"
    assert plan._systemd(Root(debian.root)) == (1800, ["systemctl show: no bus: its limit is taken to be 1800 s"])


@pytest.fixture
def alpine(fake_host: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host that runs OpenRC; its services write down how they were called."""
    host = fake_host("ID=alpine\nVERSION_ID=3.22.1\n", "/etc/conf.d/libvirt-guests", None)
    shutil.rmtree(host.root / "usr/lib/systemd")
    (host.root / "run/openrc/started").mkdir(parents=True)
    host.put("/sbin/openrc", "", 0o755)
    host.put("/etc/init.d/libvirt-guests", "#!/sbin/openrc-run\nstop() { :; }\n", 0o755)
    monkeypatch.setattr(Root, "live", True)
    return host


def test_openrc_services_are_started_too(alpine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def start(service: str) -> None:
        asked.append(service)
        (alpine.root / "run/openrc/started" / service).touch()

    monkeypatch.setattr(openrc, "start", start)
    done = alpine.install(*APPLY)
    assert (done.code, sorted(asked)) == (0, ["graceful-shutdown", "libvirt-guests"]), done.err
    assert alpine.run("lvg", "status").code == 0
    asked.clear()
    assert alpine.install(*APPLY).code == 0
    assert asked == []


@pytest.mark.parametrize(
    ("code", "said", "words"), [(0, "", ""), (1, " * no\n * way\n", "no \\* way"), (3, "", "exit 3")]
)
def test_a_service_of_openrc_says_why_it_does_not_start(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str, words: str
) -> None:
    def run(command: list[str], **_options: Any) -> "subprocess.CompletedProcess[str]":
        assert command == ["/etc/init.d/x", "--nodeps", "--nocolor", "start"]
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(subprocess, "run", run)
    if not words:
        openrc.start("x")
        return
    with pytest.raises(LvgError, match=f"x cannot be started: .*{words}"):
        openrc.start("x")


def test_an_init_script_that_is_gone_is_no_traceback() -> None:
    with pytest.raises(LvgError, match="no-such-service cannot be started"):
        openrc.start("no-such-service")
