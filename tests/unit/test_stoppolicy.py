"""The [stopvm] table: what is taken, what is refused and with which words."""

import pytest

from lvg import stoppolicy
from lvg.errors import UsageError

GOOD = [
    ("action", "save", "save"),
    ("timeout", 1, 1),
    ("timeout", 86400, 86400),
    ("resend", 0, 0),
    ("parallel", 0, 0),
    ("methods", ["acpi"], ("acpi",)),
    ("methods", ["acpi", "agent"], ("acpi", "agent")),
    ("on_timeout", ["save", "destroy", "leave"], ("save", "destroy", "leave")),
    ("wait_for", "", ""),
    ("protect", False, False),
    ("before_stop", [], ()),
    ("before_stop_host", [["/bin/logger", "bye"], ["sync"]], (("/bin/logger", "bye"), ("sync",))),
]

BAD = [
    ("action", "shut", "shutdown"),
    ("action", True, "one of"),
    ("action", "", "one of"),
    ("timeout", True, "whole number of seconds from 1"),
    ("timeout", 0, "from 1"),
    ("timeout", -1, "from 1"),
    ("timeout", 86401, "86400"),
    ("timeout", "240", "whole number"),
    ("timeout", 1.5, "whole number"),
    ("timeout", 10**10, "whole number"),
    ("parallel", -1, "whole number from 0"),
    ("parallel", False, "whole number"),
    ("protect", 1, "true or false"),
    ("protect", "true", "true or false"),
    ("methods", [], '"agent", "acpi"'),
    ("methods", "acpi", "a list"),
    ("methods", ["acpi", "acpi"], "each word once"),
    ("methods", ["apci"], 'Did you mean "acpi"?'),
    ("methods", [True], "a list"),
    ("on_timeout", [], "one or more"),
    ("on_timeout", ["leave", "save"], 'nothing after "leave"'),
    ("on_timeout", ["kill"], "a list of"),
    ("on_timeout", ["destory"], 'Did you mean "destroy"?'),
    ("boot", "start", "ignore"),
    ("wait_for", "agnet", 'Did you mean "agent"?'),
    ("before_stop", ["systemctl", "stop"], "a list of words"),
    ("before_stop", "sync", "a list of commands"),
    ("before_stop", [[]], "a list of words"),
    ("before_stop", [[""]], "a list of words"),
    ("before_stop", [["sync", 1]], "a list of words"),
    ("before_stop", [["a\0b"]], "a list of words"),
    ("hook_timeout", 0, "from 1"),
    ("on_hook_failure", "stop", "skip"),
]


@pytest.mark.parametrize(("key", "value", "checked"), GOOD)
def test_good_value(key: str, value: object, checked: object) -> None:
    found = stoppolicy.check(key, value)
    assert found == checked
    assert type(found) is type(checked)


@pytest.mark.parametrize(("key", "value", "words"), BAD)
def test_bad_value_names_key_value_and_what_is_allowed(key: str, value: object, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        stoppolicy.check(key, value)
    assert caught.value.what.startswith(f"{key} = ")
    assert words in caught.value.what
    assert "\n" not in caught.value.what + caught.value.todo
    assert f"For example {key} = " in caught.value.todo


@pytest.mark.parametrize("value", ["nas", [""], ["a", "a"], [1]])
def test_bad_needs(value: object) -> None:
    with pytest.raises(UsageError, match=r"^needs = .*expected"):
        stoppolicy.check("needs", value, guest=True)


@pytest.mark.parametrize(
    ("key", "guest", "allowed"),
    [
        ("timeout", False, True), ("timeout", True, True),
        ("action", True, True), ("boot", False, True), ("boot", True, False),
        ("wait_for", True, True), ("start_delay", True, True),
        ("budget", False, True), ("budget", True, False),
        ("parallel", False, True), ("parallel", True, False),
        ("protect", False, True), ("protect", True, False),
        ("needs", False, False), ("needs", True, True),
        ("before_stop", False, True), ("before_stop", True, True),
    ],
)  # fmt: skip
def test_where_a_key_belongs(key: str, *, guest: bool, allowed: bool) -> None:
    assert (key in stoppolicy.keys_for(guest=guest)) is allowed
    if not allowed:
        with pytest.raises(UsageError) as caught:
            stoppolicy.check(key, stoppolicy.STOP_KEYS[key].default, guest=guest)
        assert f'"{key}" does not belong in' in caught.value.what
        assert "Move it to" in caught.value.todo


def test_every_default_passes_its_own_check() -> None:
    for key, value in stoppolicy.defaults().items():
        guest = stoppolicy.STOP_KEYS[key].scope == "guest"
        assert stoppolicy.check(key, value, guest=guest) == value


def test_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(UsageError) as caught:
        stoppolicy.check("action", "x" * 5000)
    assert len(caught.value.what) < 250
