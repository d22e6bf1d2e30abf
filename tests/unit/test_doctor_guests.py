"""The checks of each guest: each fires, and is silent on a healthy host; each remedy can be pasted."""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import replace

import pytest

from doctorhost import facts, guest, ids, step, timeline, with_policy
from lvg.doctor import Finding, HostFacts, eachguest, guestline
from lvg.guests.definition import HOST_DEVICE, HOST_NETWORK
from lvg.stopvm.policy import GuestPolicy, Rule, compile_policy
from lvg.trend import Warned

F, W = "failure", "warning"
EXEC = frozenset(("guest-exec", "guest-exec-status"))


def look(check: str, found: HostFacts) -> list[Finding]:
    (row,) = (each for each in eachguest.CHECKS if each.id == check)
    return list(row.look(found))


def severities(check: str, found: HostFacts) -> list[tuple[str, str, str]]:
    (row,) = (each for each in eachguest.CHECKS if each.id == check)
    return ids(row.look, found)


def remedy(check: str, found: HostFacts) -> str:
    (finding,) = look(check, found)
    return finding.remedy


def under(found: HostFacts, **policy: object) -> HostFacts:
    """The same host with a policy for all guests."""
    return with_policy(found, base=GuestPolicy(**policy))  # type: ignore[arg-type]  # a test's own words


def ruled(found: HostFacts, *rules: tuple[str, dict[str, object]]) -> HostFacts:
    return with_policy(found, rules=tuple(Rule(match, tuple(values.items())) for match, values in rules))


def healthy() -> HostFacts:
    """Guests of every kind that end cleanly."""
    guests = (
        guest("plain", agent="none"),
        guest("channel", agent="off"),
        guest("busy", agent="unasked"),
        guest("acpi-less", acpi=False),
        guest("gpu", hostdev=True, cannot_save=(HOST_DEVICE,)),
        guest("going", state="shutdown"),
        guest("starting", state="paused", why="starting up"),
        guest("hooked", agent_refuses=frozenset(("guest-file-open",))),
    )
    found = facts(*guests, timeline=timeline(*(step(each.name, usual=100.0) for each in guests)))
    needs = {"needs": ("plain", "ch*")}
    hook = {"before_stop": (("sync",),)}
    return ruled(found, ("hooked", hook), ("gpu", needs), ("other-host*", {"needs": ("nobody",)}))


@pytest.mark.parametrize("check", [check.id for check in eachguest.CHECKS])
def test_healthy_guests_are_silent(check):
    assert look(check, healthy()) == []
    assert look(check, facts()) == []


@pytest.mark.parametrize(
    ("changes", "policy", "verb", "says"),
    [
        ({"state": "paused", "why": "user"}, {}, "virsh resume vm", "(user) and cannot shut down: it is only saved"),
        ({"state": "paused", "cannot_save": (HOST_DEVICE,)}, {}, "virsh resume vm", "nothing ends it cleanly"),
        ({"state": "paused"}, {"action": "none"}, "virsh resume vm", "nothing ends it cleanly"),
        ({"state": "paused", "cannot_save": (HOST_DEVICE,)}, {"action": "save"}, "virsh resume vm", "nothing ends it"),
        ({"state": "paused", "why": "io-error"}, {}, "virsh domblkerror vm", "(io-error)"),
        ({"state": "crashed"}, {}, "virsh destroy vm && virsh start vm", "it has crashed"),
        ({"state": "pmsuspended"}, {}, "virsh dompmwakeup vm", "it sleeps"),
    ],
)  # fmt: skip
def test_a_guest_that_cannot_react(changes, policy, verb, says):
    found = under(facts(guest("vm", **changes)), **policy)
    assert severities("E1", found) == [("E1", F, "vm")]
    assert remedy("E1", found).startswith(verb)
    assert says in look("E1", found)[0].message


def test_a_paused_guest_that_is_saved_anyway_is_fine():
    assert look("E1", under(facts(guest("vm", state="paused")), action="save")) == []


@pytest.mark.parametrize("word", ["restart", "preserve", "rename-restart"])
def test_a_guest_that_does_not_end_when_it_shuts_down(word):
    found = facts(guest("vm", on_poweroff=word), guest("passing", on_poweroff=word, persistent=False))
    assert severities("E2", found) == [("E2", F, "vm"), ("E2", F, "passing")]
    mended, passing = (finding.remedy for finding in look("E2", found))
    assert mended == "virsh set-lifecycle-action vm poweroff destroy --live --config"
    assert passing == "virsh set-lifecycle-action passing poweroff destroy --live"


@pytest.mark.parametrize(
    ("changes", "bad"),
    [
        ({"agent": "none"}, True), ({"agent": "off"}, True), ({"agent": "silent"}, True),
        ({"agent_refuses": frozenset(("guest-shutdown",))}, True), ({"agent": "ok"}, False),
        ({"agent": "unasked"}, False),
    ],
)  # fmt: skip
def test_a_guest_that_nobody_can_ask(changes, bad):
    assert severities("E3", facts(guest("vm", acpi=False, **changes))) == [("E3", W, "vm")] * bad
    assert look("E3", facts(guest("vm", acpi=True, **changes))) == []


def test_an_agent_that_does_not_answer():
    assert severities("E4", facts(guest("vm"), guest("deaf", agent="silent"))) == [("E4", W, "deaf")]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"agent": "none"}, "no channel"), ({"agent": "off"}, "no agent runs"),
        ({"agent": "silent"}, "does not answer"),
        ({"agent_refuses": EXEC}, "its agent refuses guest-exec and guest-exec-status"),
    ],
)  # fmt: skip
def test_commands_that_cannot_run_in_their_guest(changes, says):
    found = facts(guest("vm", **changes), guest("other", **changes))
    hooked = ruled(found, ("vm", {"before_stop": (("systemctl", "stop", "db"),)}))
    assert severities("E5", hooked) == [("E5", F, "vm")]
    assert says in look("E5", hooked)[0].message
    left = ruled(found, ("vm", {"before_stop": (("systemctl", "stop", "db"),), "action": "none"}))
    assert look("E5", left) == [], "then libvirt-guests stops it, without them"


@pytest.mark.parametrize(
    ("policy", "bad"),
    [
        ({"action": "save"}, True), ({"on_timeout": ("save",)}, True),
        ({}, False), ({"on_timeout": ("save", "destroy")}, False), ({"on_timeout": ()}, False),
        ({"on_timeout": ("save",), "action": "none"}, False),
    ],
)  # fmt: skip
def test_guests_that_are_to_be_saved_and_cannot_be(policy, bad):
    reasons = {"gpu": (HOST_DEVICE,), "nic": (HOST_NETWORK,), "share": ("it has a 9p file system",), "fine": ()}
    found = under(facts(*(guest(name, cannot_save=why) for name, why in reasons.items())), **policy)
    assert severities("E6", found) == [("E6", F, "gpu"), ("E6", F, "nic")] * bad
    assert severities("E7", found) == [("E7", F, "share")] * bad


def test_a_transient_guest():
    found = facts(guest("vm"), guest("passing", uuid="4a-1", persistent=False))
    assert severities("E8", found) == [("E8", W, "passing")]
    assert remedy("E8", found) == "virsh dumpxml passing --inactive >/root/4a-1.xml && virsh define /root/4a-1.xml"
    assert severities("E8", under(found, persistent_only="true")) == [("E8", F, "passing")]


def test_a_job_at_work():
    found = facts(guest("vm"), guest("held", job="snapshot"), guest("copied", block_jobs=("vda", "vdb")))
    assert severities("E10", found) == [("E10", W, "held"), ("E10", W, "copied"), ("E10", W, "copied")]


@pytest.mark.parametrize(
    ("changes", "bad"),
    [
        ({"usual": 193.0}, True), ({"usual": 192.0}, False), ({"usual": None}, False),
        ({"usual": 300.0, "methods": ()}, False),
    ],
)  # fmt: skip
def test_a_guest_that_needs_nearly_all_of_its_time(changes, bad):
    found = facts(guest("vm"), timeline=timeline(step("vm", **changes)))
    assert severities("E11", found) == [("E11", W, "vm")] * bad
    if bad:
        assert "timeout = 390" in remedy("E11", found), "twice that, in half minutes"


def test_saved_states_that_lie_about():
    found = facts(guest("vm", managed_save=True))
    found = replace(found, answers=(replace(found.answers[0], uri="qemu:///session", saved=("off",)),))
    assert severities("E14", found) == [("E14", W, "off"), ("E14", W, "vm")]
    assert look("E14", found)[0].remedy == "virsh -c qemu:///session start off"


def test_an_emulator_that_is_gone():
    found = facts(guest("vm", emulator="/usr/bin/kvm"), guest("old", emulator="/opt/kvm", emulator_is_gone=True))
    assert severities("E15", found) == [("E15", W, "old")]


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ([("vm", {"needs": ("nsa", "v*")})], ['"nsa" in needs of "vm"']),
        ([("v?", {"needs": ("db*",)})], ['"db*" in needs of "v?"']),
        ([("mv", {"needs": ("nsa",)})], ['"mv" in a [[guest]] rule']),
        ([("elsewhere*", {"needs": ("nsa",)}), ("off", {}), ("vm", {"needs": ("off",)})], []),
    ],
)
def test_names_that_are_no_guests(rules, named):
    found = facts(guest("vm"))
    found = ruled(replace(found, answers=(replace(found.answers[0], defined=("off", "vm")),)), *rules)
    assert severities("E16", found) == [("E16", W, "")] * len(named)
    assert [finding.message for finding in look("E16", found)] == [f"{each} is no guest of this host" for each in named]


def test_nobody_is_missed_where_libvirt_did_not_answer():
    found = ruled(facts(), ("mv", {}))
    assert len(look("E16", found)) == 1
    assert look("E16", replace(found, answers=(replace(found.answers[0], error="gone"),))) == []
    assert look("E16", replace(found, answers=())) == []


def test_circles():
    found = facts(timeline=timeline(step("vm"), wrong=("needs: a and b need each other",)))
    assert severities("E16", found) == [("E16", W, "")]
    assert look("E16", found)[0].message == "needs: a and b need each other"


@pytest.mark.parametrize("name", ["a b", "$(reboot)", "it's", "7", "-c", "new\nline", 'quoted"`id`', "\x1b[31m"])
def test_a_remedy_names_its_guest_and_runs_nothing_else(name):
    vm = guest(name, uuid="7d9b1c2e-0000-4000-8000-000000000001", state="paused", why="io-error", on_poweroff="restart")
    vm = replace(
        vm, persistent=False, job="dump", cannot_save=(HOST_DEVICE,), acpi=False, agent="none", managed_save=True
    )
    found = under(facts(vm, timeline=timeline(step(name, usual=239.0))), action="save", before_stop=(("sync",),))
    remedies = [(check.id, each.remedy) for check in eachguest.CHECKS for each in check.look(found)]
    assert {"E1", "E2", "E3", "E5", "E6", "E8", "E10", "E11", "E14"} == {check for check, _ in remedies}
    for _, text in remedies:
        assert "\n" not in text
        command, *_ = text.split("  # ")
        parts = shlex.split(command.replace(" && ", " "), comments=True)
        assert parts[0] in ("virsh", "lvg-install")
        if parts[0] == "virsh":
            assert name in parts or vm.uuid in parts
            assert (name in parts) != (name in ("7", "-c", "new\nline", "\x1b[31m"))


@pytest.mark.parametrize(
    "name",
    ['a"b', "back\\slash\\", "new\nline", "web[1]", "a*?", "übung", "😀 \x7f\x9b\u202e", "\ud800", 'x"]\n[stopvm]'],
)
def test_the_rule_that_a_remedy_offers_is_toml_and_about_that_guest_alone(name):
    found = facts(guest(name), guest("web1"), timeline=timeline(step(name, usual=239.0)))
    for text in (remedy("E11", found), Warned(name, "is slow", 50.0, 60, 480).remedy):
        assert text.isascii()
        assert text.isprintable()
        offered = text.partition("[[guest]], ")[2].partition(" in ")[0]
        rule = tomllib.loads(f"rule = {{ {offered} }}")["rule"]
        timeouts = {each: compile_policy({"guests": [rule]}).for_guest(each).timeout for each in (name, "web1", "axx")}
        assert timeouts == {name: 480, "web1": 240, "axx": 240}


@pytest.mark.parametrize(
    ("about", "what", "line"),
    [
        ({}, {}, "db1: agent ok, 240 s, ends by T+240 s"),
        ({"agent": "silent"}, {"after": ("web1",), "timeout": 600, "deadline": 859.6},
         "db1: agent silent, 600 s, after web1, ends by T+860 s"),
        ({"agent": "none"}, {"after": ("a", "b", "c")}, "db1: no agent, 240 s, after a, b and c, ends by T+240 s"),
        ({"agent": "off"}, {"after": tuple("abcde")},
         "db1: agent not running, 240 s, after a, b, c and 2 more, ends by T+240 s"),
        ({"state": "paused", "why": "user", "agent": "unasked"}, {"methods": (), "what": "saved, paused"},
         "db1: paused (user), agent not asked, saved, paused, ends by T+240 s"),
    ],
)  # fmt: skip
def test_a_guest_in_one_line(about, what, line):
    assert guestline.line(guest("db1", **about), step("db1", **what)) == line
