"""What a stop says first, at a deadline and last."""

import pytest

from lvg.stopvm.decide import Facts
from lvg.stopvm.history import Entry
from lvg.stopvm.policy import GuestPolicy
from lvg.stopvm.summary import closing_line, opening_lines


def entries(*verdicts):
    return [
        Entry("u", str(n), f"g{n}", verdict=what.strip("!"), wanted="!" not in what) for n, what in enumerate(verdicts)
    ]


@pytest.mark.parametrize(
    ("verdicts", "out_of_reach", "line"),
    [
        ([], False, "no guest ran"),
        (["clean", "clean"], False, "all guests are down"),
        (["clean", "saved!"], False, "all guests are down, 1 of them saved"),
        (["saved", "saved!", "destroyed!"], False, "all guests are down, 2 of them saved, 1 of them destroyed"),
        (["left", "left"], False, "2 guests are left to libvirt-guests, as the policy says"),
        (["clean", "left"], False, "1 guest is down; 1 guest is left to libvirt-guests, as the policy says"),
        (["left!"], False, "1 guest could not be stopped and is left to libvirt-guests: g0"),
        (["clean", "lost!"], False, "1 guest is down; 1 guest is lost: g1"),
        (["clean"], True, "1 guest is down; libvirt was out of reach"),
        ([], True, "libvirt was out of reach"),
    ],
)
def test_the_last_line_counts_the_verdicts(verdicts, out_of_reach, line):
    assert closing_line(entries(*verdicts), out_of_reach) == line


def test_the_first_line_names_who_is_asked():
    ask, none, save = GuestPolicy(), GuestPolicy(action="none"), GuestPolicy(action="save")
    guests = [(Facts("1", "nas"), ask), (Facts("2", "web"), ask), (Facts("3", "x"), none), (Facts("4", "db"), save)]
    assert opening_lines(guests, 1200) == ["asking 2 guests: nas, web (up to 240 s each)", "saving 1 guest: db"]
    assert opening_lines(guests[2:3], 1200) == []
    crashed = "1 guest has crashed: db: what on_timeout says happens at once"
    assert opening_lines([(Facts("4", "db", state="crashed"), ask)], 1200) == [crashed]


def test_no_more_than_twenty_names():
    (line,) = opening_lines([(Facts(str(n), f"g{n}"), GuestPolicy()) for n in range(25)], 1200)
    assert line.endswith("g18, g19 and 5 more (up to 240 s each)")


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        ({"on_timeout": ["save", "leave"]}, "saving it"),
        ({"on_timeout": ["destroy"]}, "destroying it"),
        ({"on_timeout": ["leave"]}, "leaving it to libvirt-guests"),
    ],
)
def test_a_deadline_is_said(play, act, rules, what):
    said = play({"g": act(presses=0)}, {"timeout": 0.6, **rules}).said.splitlines()
    assert said[0] == "<6>asking 1 guest: g (up to 1 s each)"
    assert f"<4>g: did not end in 1 s: {what}" in said


def test_a_deadline_skips_what_cannot_be_done(play, act):
    acts = {"g": act(presses=0, facts={"hostdev": True})}
    assert "s: destroying it" in play(acts, {"on_timeout": ["save", "destroy"]}).said


def test_a_guest_that_obeys_has_no_deadline(play, act):
    assert "did not end" not in play({"g": act()}).said
