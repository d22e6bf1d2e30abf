"""The connection to libvirt goes while guests are on their way down, and comes back: nothing that failed is lost."""

import pytest


@pytest.fixture
def comes_back(monkeypatch, fake):
    """libvirt is there again when the connection is opened for the second time."""
    first = fake.open

    async def open_again(self, events):
        if self.opened:
            self.unreachable = ""
        await first(self, events)

    monkeypatch.setattr(fake, "open", open_again)


@pytest.mark.parametrize(
    ("facts", "rules", "asked"),
    [
        ({}, {}, ["acpi", "acpi"]),
        ({}, {"resend": 0}, ["acpi", "acpi"]),
        ({"state": "paused", "persistent": False}, {}, ["resume", "resume", "acpi"]),
        ({"state": "pmsuspended"}, {}, ["wake", "wake", "acpi"]),
        ({"on_poweroff": "restart"}, {}, ["ends at poweroff", "ends at poweroff", "acpi"]),
        ({}, {"action": "save"}, ["save", "save"]),
    ],
)
def test_what_failed_with_the_connection_is_asked_again(play, act, comes_back, facts, rules, asked):
    played = play({"g": act(facts=facts)}, {"timeout": 10, "budget": 20, **rules}, breaks_at=1)
    assert played.asked("g") == asked
    assert played.verdicts["g"] == ("saved" if "action" in rules else "clean")
    assert played.code == 0


def test_a_guest_that_obeyed_before_is_not_asked_again(play, act, comes_back):
    played = play({"first": act(), "second": act()}, {"timeout": 10, "budget": 20, "resend": 0}, breaks_at=2)
    assert (played.asked("first"), played.asked("second")) == (["acpi"], ["acpi", "acpi"])
    assert played.code == 0


def test_no_guest_waits_for_a_connection_beyond_its_own_time(play, act):
    played = play({"g": act(presses=0)}, {"timeout": 1, "budget": 20, "on_timeout": ["destroy"]}, breaks_at=1)
    assert played.verdicts == {"g": "left"}
    assert played.record["guests"][0]["seconds"] < 10
