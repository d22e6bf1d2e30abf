"""Values are checked before they are written, translated for OpenRC, and judged when found."""

import pytest

from lvg.errors import UsageError
from lvg.settings import OPENRC_KEYS, SETTINGS, check, problems, to_dialect


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("ON_BOOT", "ignore", "ignore"),
        ("ON_SHUTDOWN", "shutdown", "shutdown"),
        ("SHUTDOWN_TIMEOUT", 240, "240"),
        ("SHUTDOWN_TIMEOUT", "240", "240"),
        ("SHUTDOWN_TIMEOUT", 0, "0"),
        ("PARALLEL_SHUTDOWN", 100, "100"),
        ("START_DELAY", 5, "5"),
        ("BYPASS_CACHE", True, "1"),
        ("SYNC_TIME", 0, "0"),
        ("PERSISTENT_ONLY", True, "true"),
        ("PERSISTENT_ONLY", "default", "default"),
        ("URIS", "default", "default"),
        ("URIS", "  default   lxc:///system ", "default lxc:///system"),
        ("URIS", "qemu+ssh://root@host-1.example:2222/system", "qemu+ssh://root@host-1.example:2222/system"),
    ],
)
def test_a_good_value_becomes_text(key: str, value: object, text: str) -> None:
    assert check(key, value) == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[
            ("SHUTDOWN_TIMEOUT", bad)
            for bad in (-1, "-1", "08", "090", "2s", "5min", "1.5", 1.5, "", "+3", " 3", "3\n", "٣")
        ],
        *[("SHUTDOWN_TIMEOUT", bad) for bad in (True, 10**12, None, ["1"])],
        *[("ON_SHUTDOWN", bad) for bad in ("Shutdown", "none", "destroy", "shutdown\r", "", True, 1)],
        *[("ON_BOOT", bad) for bad in ("restore", "yes", True)],
        *[("BYPASS_CACHE", bad) for bad in ("yes", 2, "00", "")],
        *[
            ("URIS", bad)
            for bad in ("", "  ", "qemu:///system;reboot", "$HOME", "qemu:///$(id)", "a b", "qemu:///*", "`id`")
        ],
        *[
            ("URIS", bad)
            for bad in ("qemu:///sys?em", "qemu:///~", "qemu:///a\nb", "qemu:///'x", 'qemu:///"x', "qemu:///x\\")
        ],
    ],
)
def test_a_bad_value_is_a_usage_error_that_names_key_and_rule(key: str, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        check(key, value)
    assert key in caught.value.what
    assert key in caught.value.todo
    assert "\n" not in caught.value.what + caught.value.todo


def test_errors_offer_the_nearest_known_word() -> None:
    with pytest.raises(UsageError, match='Did you mean "shutdown"'):
        check("ON_SHUTDOWN", "Shutdwn")
    with pytest.raises(UsageError, match='Did you mean "SHUTDOWN_TIMEOUT"'):
        check("SHUTDOWN_TIMEOUTS", 1)
    with pytest.raises(UsageError, match='OpenRC\'s name for "ON_SHUTDOWN"'):
        check("LIBVIRT_SHUTDOWN", "shutdown")


def test_every_builtin_default_is_a_good_value() -> None:
    assert {key: check(key, setting.builtin) for key, setting in SETTINGS.items()} == {
        key: setting.builtin for key, setting in SETTINGS.items()
    }
    assert {setting.openrc for setting in SETTINGS.values()} - {""} <= set(OPENRC_KEYS)


GRACEFUL = {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown", "PARALLEL_SHUTDOWN": "100", "SHUTDOWN_TIMEOUT": "240"}


def test_the_upstream_dialect_is_left_as_it_is() -> None:
    assert to_dialect(GRACEFUL, "upstream").values == GRACEFUL
    assert to_dialect(GRACEFUL, "upstream").notes == ()


def test_a_profile_is_translated_for_openrc_with_its_warnings() -> None:
    done = to_dialect(GRACEFUL, "openrc")
    assert done.values == {"LIBVIRT_START": "no", "LIBVIRT_SHUTDOWN": "shutdown", "LIBVIRT_MAXWAIT": "240"}
    assert any("destroys" in note and "240 s" in note for note in done.notes)
    assert any("PARALLEL_SHUTDOWN" in note for note in done.notes)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"ON_BOOT": "start", "ON_SHUTDOWN": "suspend"}, {"LIBVIRT_START": "yes", "LIBVIRT_SHUTDOWN": "managedsave"}),
        ({"URIS": "default lxc:///system"}, {"LIBVIRT_URIS": "qemu:///system lxc:///system"}),
        ({"START_DELAY": "0", "BYPASS_CACHE": "0", "SYNC_TIME": "0", "PERSISTENT_ONLY": "default"}, {}),
    ],
)
def test_openrc_names(values: dict[str, str], expected: dict[str, str]) -> None:
    assert to_dialect(values, "openrc").values == expected


def test_suspending_on_openrc_destroys_nothing_so_nothing_is_said() -> None:
    assert to_dialect({"ON_BOOT": "start", "ON_SHUTDOWN": "suspend"}, "openrc").notes == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SHUTDOWN_TIMEOUT", "0"),
        ("PARALLEL_SHUTDOWN", "1"),
        ("START_DELAY", "5"),
        ("BYPASS_CACHE", "1"),
        ("PERSISTENT_ONLY", "true"),
    ],
)
def test_what_openrc_cannot_do_is_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=key):
        to_dialect({key: value}, "openrc")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("ON_SHUTDOWN", "Shutdown", "means suspend"),
        ("ON_SHUTDOWN", "shutdown\r", "means suspend"),
        ("ON_SHUTDOWN", "none", "means suspend"),
        ("ON_BOOT", "restore", "means ignore"),
        ("SHUTDOWN_TIMEOUT", "-1", "touches no guest"),
        ("SHUTDOWN_TIMEOUT", "5min", "for ever"),
        ("SHUTDOWN_TIMEOUT", "", "for ever"),
        ("SHUTDOWN_TIMEOUT", "090", "octal"),
        ("BYPASS_CACHE", "no", "means 1"),
        ("PARALLEL_SHUTDOWN", "many", "one after another"),
        ("URIS", "", "no guest is handled"),
        ("LIBVIRT_SHUTDOWN", "shutdown", "is ignored"),
    ],
)
def test_a_wrong_value_in_a_file_is_explained(key: str, value: str, says: str) -> None:
    (line,) = problems("upstream", {key: value})
    assert key in line
    assert says in line
    assert "\r" not in line


def test_good_values_and_foreign_keys_are_no_problem() -> None:
    assert problems("upstream", {**GRACEFUL, "LIBVIRT_DEFAULT_URI": "anything"}) == []
    assert problems("openrc", {"LIBVIRT_SHUTDOWN": "destroy", "LIBVIRT_MAXWAIT": "500", "LIBVIRT_START": "no"}) == []


def test_openrc_values_are_judged_by_openrc() -> None:
    wrong = {"LIBVIRT_SHUTDOWN": "suspend", "LIBVIRT_MAXWAIT": "0", "ON_SHUTDOWN": "shutdown"}
    first, second, third = problems("openrc", wrong)
    assert "managedsave is used" in first
    assert "above 0" in second
    assert "is ignored" in third
