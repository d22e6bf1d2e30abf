"""What follows from a profile: the policy for stopvm, the time it may take, and what it gives up under --keep."""

import json
from pathlib import Path

import pytest

from lvg import profiles
from lvg.files import Root
from lvg.profiles import Profile


def load(folder: Path, text: str = "", *sets: str) -> Profile:
    (folder / "mine.toml").write_text(text)
    return profiles.load(str(folder / "mine.toml"), Root(folder), sets)


def test_policy_is_complete_and_plain(tmp_path: Path) -> None:
    profile = load(
        tmp_path,
        """
        extends = "graceful"
        [[guest]]
        match = "db*"
        timeout = 600
        needs = ["nas"]
        before_stop = [["systemctl", "stop", "postgresql"]]
        """,
    )
    policy = profiles.compile_policy(profile, profile.settings)
    about = str(policy.pop("about"))
    assert "stopvm stop --now" in about
    assert "Undo" in about
    assert policy == {
        "schema": 1, "profile": "mine", "uris": ["default"], "action": "shutdown", "timeout": 240, "budget": 1200,
        "methods": ["agent", "acpi"], "resend": 20, "on_timeout": ["save", "leave"], "parallel": 0, "boot": "restore",
        "start_delay": 0, "wait_for": "", "protect": True, "needs": [], "before_stop": [], "before_stop_host": [],
        "hook_timeout": 60, "on_hook_failure": "continue", "bypass_cache": False, "sync_time": False,
        "persistent_only": "default",
        "net": {"on_boot": "ignore", "on_shutdown": "shutdown", "shutdown_timeout": 240, "parallel": 100},
        "guests": [{"match": "db*", "timeout": 600, "needs": ["nas"],
                    "before_stop": [["systemctl", "stop", "postgresql"]]}],
    }  # fmt: skip
    assert json.loads(json.dumps(policy)) == policy


@pytest.mark.parametrize(
    ("seen", "key", "value"),
    [
        ({"URIS": "default lxc:///system"}, "uris", ["default", "lxc:///system"]),
        ({"URIS": ""}, "uris", []),
        ({}, "uris", ["default"]),
        ({"BYPASS_CACHE": "1"}, "bypass_cache", True),
        ({"BYPASS_CACHE": "no"}, "bypass_cache", True),
        ({"BYPASS_CACHE": "0"}, "bypass_cache", False),
        ({"SYNC_TIME": ""}, "sync_time", True),
        ({"PERSISTENT_ONLY": "true"}, "persistent_only", "true"),
        ({"START_DELAY": "7"}, "start_delay", 7),
        ({"START_DELAY": "soon"}, "start_delay", 0),
    ],
)
def test_settings_in_force_are_obeyed_as_libvirt_guests_reads_them(
    tmp_path: Path, seen: dict[str, str], key: str, value: object
) -> None:
    assert profiles.compile_policy(load(tmp_path), seen)[key] == value


@pytest.mark.parametrize(
    ("seen", "key", "value"),
    [
        ({"ON_SHUTDOWN": "shutdown"}, "on_shutdown", "shutdown"),
        ({"ON_SHUTDOWN": "Shutdown"}, "on_shutdown", "suspend"),
        ({"ON_SHUTDOWN": ""}, "on_shutdown", "suspend"),
        ({"ON_BOOT": "start"}, "on_boot", "start"),
        ({"ON_BOOT": "yes"}, "on_boot", "ignore"),
        ({"SHUTDOWN_TIMEOUT": "2s"}, "shutdown_timeout", 0),
        ({"SHUTDOWN_TIMEOUT": "90"}, "shutdown_timeout", 90),
        ({}, "shutdown_timeout", 300),
        ({"PARALLEL_SHUTDOWN": "many"}, "parallel", 0),
    ],
)
def test_the_net_is_what_libvirt_guests_will_do(tmp_path: Path, seen: dict[str, str], key: str, value: object) -> None:
    net = profiles.compile_policy(load(tmp_path), seen)["net"]
    assert isinstance(net, dict)
    assert net[key] == value


def test_profiles_own_start_delay_beats_the_files(tmp_path: Path) -> None:
    for profile in (load(tmp_path, "[stopvm]\nstart_delay = 0"), load(tmp_path, "", "start_delay=0")):
        assert profiles.compile_policy(profile, {"START_DELAY": "7"})["start_delay"] == 0


@pytest.mark.parametrize(
    ("sets", "left", "seconds"),
    [
        (["PARALLEL_SHUTDOWN=100"], 0, 5 + 1000),
        (["PARALLEL_SHUTDOWN=100"], 1, 5 + 1000 + 60),
        (["PARALLEL_SHUTDOWN=100"], 9, 5 + 1000 + 60),
        (["PARALLEL_SHUTDOWN=100", "URIS=default lxc:///system"], 9, 5 + 1000 + 2 * 60),
        (["PARALLEL_SHUTDOWN=1"], 9, 5 + 1000 + 9 * 60),
        ([], 3, 5 + 1000 + 3 * 60),
        (["ON_SHUTDOWN=suspend"], 3, 5 + 1000),
        (["action=none"], 3, 5 + 3 * 60),
        (["SHUTDOWN_TIMEOUT=0"], 1, 5 + 1000 + 1800),
    ],
)
def test_worst_case(tmp_path: Path, sets: list[str], left: int, seconds: int) -> None:
    base = ["ON_SHUTDOWN=shutdown", "SHUTDOWN_TIMEOUT=60", "budget=1000"]
    assert profiles.worst_case_seconds(load(tmp_path, "", *base, *sets), left) == seconds


def test_worst_case_counts_what_is_in_force_not_what_was_wished(tmp_path: Path) -> None:
    graceful = profiles.load("graceful", Root(tmp_path))
    kept = {**graceful.settings, "PARALLEL_SHUTDOWN": "0"}
    assert profiles.worst_case_seconds(graceful, 5, kept) == 5 + 1200 + 5 * 240


def test_explain_shows_every_value_with_its_origin(tmp_path: Path) -> None:
    text = 'extends = "graceful"\n[stopvm]\nresend = 9\n[[guest]]\nmatch = "db*"\ntimeout = 600\nneeds = ["nas"]\n'
    rows = profiles.explain(load(tmp_path, text, "SHUTDOWN_TIMEOUT=60"))
    found = {(row.section, row.key): (row.value, row.origin) for row in rows}
    mine = str(tmp_path / "mine.toml")
    assert found["libvirt-guests", "SHUTDOWN_TIMEOUT"] == ("60", "--set")
    assert found["libvirt-guests", "ON_BOOT"] == ('"ignore"', "graceful.toml")
    assert found["stopvm", "resend"] == ("9", mine)
    assert found["stopvm", "on_timeout"] == ('["save", "leave"]', "graceful.toml")
    assert found["stopvm", "wait_for"] == ('""', "default")
    assert found["guest db*", "timeout"] == ("600", mine)
    assert found["guest db*", "needs"] == ('["nas"]', mine)
    assert len(found) == len(rows)


GRACEFUL, RECIPE, SUSPEND = "graceful", "graceful-240s", "suspend"


@pytest.mark.parametrize(
    ("name", "kept", "action", "boot", "notes"),
    [
        (GRACEFUL, {}, "shutdown", "restore", 0),
        (GRACEFUL, {"SHUTDOWN_TIMEOUT": "10", "URIS": "default"}, "shutdown", "restore", 0),
        (GRACEFUL, {"ON_SHUTDOWN": "shutdown"}, "shutdown", "restore", 0),
        (GRACEFUL, {"ON_SHUTDOWN": "suspend"}, "none", "ignore", 1),
        (GRACEFUL, {"ON_SHUTDOWN": "Shutdown"}, "none", "ignore", 1),
        (GRACEFUL, {"ON_BOOT": "start"}, "none", "ignore", 1),
        (GRACEFUL, {"ON_BOOT": "ignore"}, "shutdown", "restore", 0),
        (GRACEFUL, {"ON_BOOT": "ignore", "ON_SHUTDOWN": "suspend"}, "none", "ignore", 1),
        (GRACEFUL, {"ON_BOOT": "start", "ON_SHUTDOWN": "suspend"}, "none", "ignore", 2),
        (RECIPE, {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown"}, "shutdown", "ignore", 0),
        (RECIPE, {"ON_BOOT": "start"}, "none", "ignore", 1),
        (RECIPE, {"ON_SHUTDOWN": "suspend"}, "none", "ignore", 1),
        (SUSPEND, {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown"}, "none", "ignore", 0),
        (SUSPEND, {"ON_BOOT": "start", "ON_SHUTDOWN": "suspend"}, "none", "ignore", 0),
    ],
)
def test_stop_policy_yields_to_what_the_admin_keeps(
    tmp_path: Path, name: str, kept: dict[str, str], action: str, boot: str, notes: int
) -> None:
    before = profiles.load(name, Root(tmp_path))
    after, said = profiles.yield_to(before, kept)
    assert (after.stop["action"], after.stop["boot"], len(said)) == (action, boot, notes)
    assert (after == before) is (not notes)
    for key in ("action", "boot"):
        assert (after.origin[key] == "--keep") is (after.stop[key] != before.stop[key] or (notes > 0 and key == "boot"))
    for note in said:
        assert any(note.startswith(f"{key}={value} is kept") for key, value in kept.items())


@pytest.mark.parametrize("text", ["", "[libvirt-guests]\nON_BOOT = 'start'\n"])
def test_a_kept_ignore_forbids_the_start_only(tmp_path: Path, text: str) -> None:
    after, notes = profiles.yield_to(load(tmp_path, f"{text}[stopvm]\nboot = 'restore'"), {"ON_BOOT": "ignore"})
    assert (after.stop["action"], after.stop["boot"]) == ("shutdown", "ignore")
    assert notes == ('ON_BOOT=ignore is kept, so boot = "ignore": no guest is started at boot.',)


@pytest.mark.parametrize(("kept", "words"), [({}, "nothing starts them"), ({"ON_BOOT": "start"}, "starts them again")])
def test_note_says_whether_guests_come_back(tmp_path: Path, kept: dict[str, str], words: str) -> None:
    graceful = profiles.load("graceful", Root(tmp_path))
    assert words in profiles.yield_to(graceful, {"ON_SHUTDOWN": "suspend", **kept})[1][0]


def test_save_yields_to_a_kept_shutdown(tmp_path: Path) -> None:
    after, notes = profiles.yield_to(load(tmp_path, "", "action=save"), {"ON_SHUTDOWN": "shutdown"})
    assert (after.stop["action"], len(notes)) == ("none", 1)


def test_rules_yield_too(tmp_path: Path) -> None:
    rules = "[[guest]]\nmatch='a'\naction='shutdown'\ntimeout=9\n[[guest]]\nmatch='b'\naction='save'\n"
    after, notes = profiles.yield_to(load(tmp_path, rules), {"ON_SHUTDOWN": "suspend"})
    policy = profiles.compile_policy(after, {})
    assert policy["guests"] == [{"match": "a", "timeout": 9}]
    assert (policy["action"], policy["boot"], len(notes)) == ("none", "ignore", 1)
    assert "guest a: action" not in after.origin
    assert profiles.explain(after)
