"""What `lvg plan` foretells is what a stop does: the real Stop, on a clock that runs as fast as it can."""

import asyncio
import io
from dataclasses import dataclass, field
from pathlib import Path

import clock
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lvg import timeline
from lvg.guests import Guest
from lvg.stopvm import timing
from lvg.stopvm.history import History, Record
from lvg.stopvm.keeper import Keeper
from lvg.stopvm.notify import Notifier
from lvg.stopvm.policy import Policy, compile_policy
from lvg.stopvm.report import Report
from lvg.stopvm.session import LibvirtError
from lvg.stopvm.stop import Stop
from lvg.timeline.latest import Limits

HERE = Limits(delay=0, opening=0)  # no logind, and a libvirt that answers at once
SLACK = 5.0  # seconds: a stop gives libvirt's last words a moment after each request that fails


class _Noting(Keeper):
    """Notes when each verdict came; writes nothing, since a disk has another clock."""

    def __init__(self, report: Report) -> None:
        super().__init__(History(Path("/nonexistent")), Record(), report)
        self.begun = asyncio.get_running_loop().time()
        self.ended: dict[str, float] = {}

    async def save(self) -> None:
        return

    def verdict(self, facts, verdict, detail):
        self.ended[facts.name] = asyncio.get_running_loop().time() - self.begun
        super().verdict(facts, verdict, detail)


@dataclass(frozen=True)
class How:
    """A guest of the test: what it is, and how slow everything with it is. None = it does not do that at all."""

    ends: float | None = None  # seconds from the first request until it has shut itself down
    stays: bool = False  # its process stays then, until it gets a signal
    memory: float = 0.0
    agent: bool = False
    agent_hangs: bool = False
    state: str = "running"
    persistent: bool = True
    on_poweroff: str = "destroy"
    job: str = ""
    kill: float = 0.0  # seconds that each signal takes to work
    deaf_to_term: bool = False

    def guest(self, name: str) -> Guest:
        return Guest(
            f"uuid-{name}",
            name,
            "fake:///",
            self.state,
            persistent=self.persistent,
            memory=self.memory,
            agent="ok" if self.agent else "none",
            on_poweroff=self.on_poweroff,
            job=self.job,
        )


@dataclass
class Played:
    line: timeline.Timeline
    ended: dict[str, float] = field(default_factory=dict)


@pytest.fixture
def foretold(fake, act):
    """Return a function that plans a stop, does it with the real Stop, and returns both."""

    class Slow(fake):
        """Everything takes its time; one disk for all saves."""

        def __init__(self, hows):
            facts = {
                name: {key: getattr(how, key) for key in ("memory", "state", "persistent", "on_poweroff")}
                for name, how in hows.items()
            }
            agents = {name: "obeys" if how.agent else "" for name, how in hows.items()}
            acts = {name: act(agent=agents[name], jobs=[how.job], facts=facts[name]) for name, how in hows.items()}
            super().__init__(acts)
            self.hows, self.disk, self.asked_once = hows, asyncio.Lock(), set()

        async def ask(self, guest, way):
            how = self.hows[guest.name]
            self._request(guest, way)
            if way == "agent" and how.agent_hangs:
                await asyncio.Event().wait()
            if how.ends is not None and guest.name not in self.asked_once:
                asyncio.get_running_loop().call_later(how.ends, self.obey, guest.name)
            self.asked_once.add(guest.name)

        def obey(self, name):
            if name in self.up and self.hows[name].stays:
                self.tell(name, "finished")
            elif name in self.up:
                self.end(name, "clean")

        async def save(self, guest, bypass_cache, seconds):
            self._request(guest, "save")
            async with self.disk:
                await asyncio.sleep(timing.save_seconds(guest.memory))
            self.end(guest.name, "saved")

        async def destroy(self, guest, graceful):
            how = self.hows[guest.name]
            self._request(guest, "destroy")
            await asyncio.sleep(how.kill)
            if graceful and how.deaf_to_term:
                raise LibvirtError("Device or resource busy")
            self.end(guest.name, "destroyed")

    def foretold(rules: Policy, hows: dict[str, How], usual: dict[str, float] | None = None) -> Played:
        line = timeline.of(rules, [how.guest(name) for name, how in hows.items()], usual or {}, 1800, HERE)

        async def run() -> dict[str, float]:
            report = Report(io.StringIO())
            keeper = _Noting(report)
            await Stop(rules, [Slow(hows)], keeper, report, Notifier(), host_goes_down=True).run()
            return keeper.ended

        return Played(line, clock.run(run()))

    return foretold


def assert_holds(played: Played) -> None:
    given_up = played.line.within + HERE.least_save + HERE.extended  # then systemd ends a real one
    late = {
        step.name: (played.ended[step.name], step.deadline)
        for step in played.line.steps
        if not step.waits_for_net and min(played.ended[step.name], given_up) > step.deadline + SLACK
    }
    assert not late


def rules(**values) -> Policy:
    found = compile_policy(values)
    assert not found.complaints
    return found


def test_a_deaf_guest_is_saved_by_its_deadline_and_not_much_earlier(foretold):
    played = foretold(rules(timeout=100), {"db": How(memory=1000)})
    assert_holds(played)
    assert played.ended["db"] == pytest.approx(100 + 25, abs=SLACK)
    assert played.line.steps[0].deadline == pytest.approx(100 + 60, abs=SLACK)  # its process might have stayed


def test_saves_share_the_disk(foretold):
    played = foretold(rules(timeout=100), {f"g{number}": How(memory=4000) for number in range(6)})
    assert_holds(played)
    last = max(played.ended.values())
    assert last == pytest.approx(played.line.stopped, abs=SLACK)
    assert last == pytest.approx(100 + 6 * 85, abs=SLACK)


def test_a_wave_begins_when_the_one_before_it_has_ended(foretold):
    policy = rules(timeout=100, on_timeout=["leave"], guests=[{"match": "web*", "needs": ["db"]}])
    played = foretold(policy, {"web1": How(ends=10), "web2": How(), "db": How(ends=50)})
    assert_holds(played)
    assert played.ended["web2"] == pytest.approx(100, abs=SLACK)
    assert played.ended["db"] == pytest.approx(150, abs=SLACK)
    db = next(step for step in played.line.steps if step.name == "db")
    assert (db.wave, db.after) == (1, ("web1", "web2"))


def test_one_whose_process_stays_is_put_away_in_time(foretold):
    slow = How(ends=99, stays=True, kill=40, deaf_to_term=True)
    played = foretold(rules(timeout=100, on_timeout=["destroy"]), {"g": slow})
    assert_holds(played)
    assert played.ended["g"] > 100 + 15 + 40 + 40


def test_commands_that_hang_are_in_the_plan(foretold):
    policy = rules(timeout=100, on_timeout=["leave"], before_stop=[["hang", "0"], ["hang", "1"]])
    played = foretold(policy, {"g": How(agent=True)})
    assert_holds(played)
    assert played.ended["g"] == pytest.approx(2 * 60 + 100, abs=SLACK)


def test_guests_that_are_saved_first_share_the_disk(foretold):
    played = foretold(rules(action="save", on_timeout=["leave"]), {name: How(memory=20000) for name in "ab"})
    assert_holds(played)
    assert max(played.ended.values()) == pytest.approx(2 * 405, abs=SLACK)
    assert [step.ends for step in played.line.steps] == pytest.approx([2 * 405] * 2, abs=SLACK)


def test_so_many_at_once(foretold):
    policy = rules(timeout=100, parallel=2, on_timeout=["leave"])
    played = foretold(policy, {f"g{number}": How() for number in range(6)})
    assert_holds(played)
    assert max(played.ended.values()) == pytest.approx(300, abs=SLACK)


def test_what_is_expected_comes_true_when_guests_are_as_usual(foretold):
    policy = rules(guests=[{"match": "web*", "needs": ["db"]}])
    usual = {"web1": 10.0, "web2": 30.0, "db": 20.0, "other": 45.0}
    played = foretold(policy, {name: How(ends=seconds) for name, seconds in usual.items()}, usual)
    assert {step.name: step.ends for step in played.line.steps} == pytest.approx(played.ended, abs=1.0)
    assert played.line.expected == pytest.approx(max(played.ended.values()), abs=1.0)


HOWS = st.builds(
    How,
    ends=st.none() | st.floats(0, 700),
    stays=st.booleans(),
    memory=st.sampled_from([0.0, 500.0, 4000.0, 64000.0]),
    agent=st.booleans(),
    agent_hangs=st.booleans(),
    state=st.sampled_from(["running"] * 4 + ["paused", "pmsuspended", "crashed", "shutdown"]),
    persistent=st.sampled_from([True, True, True, False]),
    on_poweroff=st.sampled_from(["destroy", "destroy", "restart"]),
    job=st.sampled_from(["", "", "", "snapshot", "migration", "backup"]),
    kill=st.floats(0, 44),
    deaf_to_term=st.booleans(),
)
RULE = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from(["shutdown", "shutdown", "save", "none"]),
        "timeout": st.sampled_from([1, 30, 240, 3000]),
        "resend": st.sampled_from([0, 20]),
        "methods": st.sampled_from([["agent"], ["acpi"], ["agent", "acpi"]]),
        "on_timeout": st.sampled_from([["save", "leave"], ["save", "destroy"], ["destroy"], ["leave"]]),
        "needs": st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=2, unique=True),
        "before_stop": st.sampled_from([[], [["true", "0"]], [["hang", "0"], ["hang", "0"]]]),
        "on_hook_failure": st.sampled_from(["continue", "save", "skip"]),
    },
)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from("abcde"), st.tuples(HOWS, RULE), min_size=1),
    RULE,
    st.sampled_from([100, 400, 1200, 5000]),
    st.sampled_from([0, 0, 1, 2, 3]),
)
def test_no_guest_ends_later_than_its_deadline(foretold, guests, base, budget, parallel):
    own = [{"match": name, **rule} for name, (_, rule) in guests.items()]
    policy = rules(**{**base, "needs": []}, budget=budget, parallel=parallel, guests=own)
    assert_holds(foretold(policy, {name: how for name, (how, _) in guests.items()}))
