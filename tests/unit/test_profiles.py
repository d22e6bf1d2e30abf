"""Profiles as a person writes them: what merges how, and what every mistake is answered with."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvg import profiles
from lvg.errors import UsageError
from lvg.files import Root
from lvg.profiles import Profile
from lvg.profiles.layers import set_layer, value_of


def write(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def wrong(folder: Path, text: str) -> UsageError:
    """Return what loading this text is refused with; its file is always named."""
    path = write(folder, "mine", text)
    with pytest.raises(UsageError) as caught:
        profiles.load(path, Root(folder))
    error = caught.value
    assert path in error.what
    assert error.todo
    assert "\n" not in error.what + error.todo
    return error


def load(folder: Path, text: str, *sets: str) -> Profile:
    return profiles.load(write(folder, "mine", text), Root(folder), sets)


def test_empty_profile_is_all_defaults(tmp_path: Path) -> None:
    profile = load(tmp_path, "")
    assert (profile.name, profile.summary, profile.settings, profile.guests) == ("mine", "", {}, ())
    assert (profile.stop["action"], profile.stop["timeout"], profile.stop["boot"]) == ("shutdown", 240, "ignore")
    assert set(profile.origin.values()) == {"default"}


def test_extends_merges_key_by_key_and_later_wins(tmp_path: Path) -> None:
    write(
        tmp_path,
        "base",
        """
        summary = "base"
        [libvirt-guests]
        ON_BOOT = "start"
        SHUTDOWN_TIMEOUT = 100
        [stopvm]
        timeout = 100
        resend = 7
        methods = ["agent", "acpi"]
        [[guest]]
        match = "db*"
        timeout = 300
        """,
    )
    profile = load(
        tmp_path,
        """
        extends = "./base.toml"
        [libvirt-guests]
        ON_BOOT = "ignore"
        [stopvm]
        timeout = 50
        methods = ["acpi"]
        [[guest]]
        match = "db7"
        timeout = 60
        """,
    )
    assert profile.summary == "base"
    assert profile.settings == {"ON_BOOT": "ignore", "SHUTDOWN_TIMEOUT": "100"}
    assert (profile.stop["timeout"], profile.stop["resend"], profile.stop["methods"]) == (50, 7, ("acpi",))
    assert [rule.match for rule in profile.guests] == ["db*", "db7"]
    mine, base = str(tmp_path / "mine.toml"), str(tmp_path / "base.toml")
    assert profile.origin["ON_BOOT"] == profile.origin["timeout"] == profile.origin["guest db7: timeout"] == mine
    assert {profile.origin[key] for key in ("SHUTDOWN_TIMEOUT", "resend", "guest db*: timeout")} == {base}
    assert profile.origin["budget"] == "default"
    assert profile.files == (base, mine)


SETTINGS = {"ON_BOOT": "ignore", "ON_SHUTDOWN": "shutdown", "SHUTDOWN_TIMEOUT": 120, "START_DELAY": 3, "SYNC_TIME": 1}
STOP = {"timeout": 100, "budget": 500, "methods": ["acpi"], "protect": False, "resend": 5, "boot": "restore"}


@given(st.permutations(sorted(SETTINGS)), st.permutations(sorted(STOP)), st.booleans())
def test_order_in_the_file_does_not_matter(
    memory_folder: Path, settings: list[str], stop: list[str], tables_swapped: bool
) -> None:
    folder = Path(tempfile.mkdtemp(dir=memory_folder))
    tables = [
        "[libvirt-guests]\n" + "".join(f"{key} = {json.dumps(SETTINGS[key])}\n" for key in settings),
        "[stopvm]\n" + "".join(f"{key} = {json.dumps(STOP[key])}\n" for key in stop),
    ]
    profile = load(folder, "".join(tables[::-1] if tables_swapped else tables))
    other = load(folder, tables[0] + tables[1])
    assert profile == other
    assert json.dumps(profiles.compile_policy(profile, {})) == json.dumps(profiles.compile_policy(other, {}))
    assert list(profile.settings) == list(other.settings)


def test_own_summary_beats_the_inherited_one(tmp_path: Path) -> None:
    assert load(tmp_path, 'extends = "graceful"\nsummary = "ours"').summary == "ours"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[stopvm]\ntimout = 5", ["line 2", '"timout"', 'Did you mean "timeout"?']),
        ("[libvirt-guests]\nON_BOT = 'ignore'", ["line 2", '"ON_BOT"', 'Did you mean "ON_BOOT"?']),
        ("[libvirt-guests]\non_boot = 'ignore'", ["line 2", 'Did you mean "ON_BOOT"?']),
        ("[libvirt-guests]\nON_BOOT = 'ingore'", ["line 2", "ON_BOOT", "ingore", 'Did you mean "ignore"?']),
        ("[libvirt-guests]\nSHUTDOWN_TIMEOUT = true", ["line 2", "SHUTDOWN_TIMEOUT = true", "whole number"]),
        ("[libvirt-guests]\nSHUTDOWN_TIMEOUT = 1.5", ["line 2", "SHUTDOWN_TIMEOUT", "1.5"]),
        ("[libvirt-guests]\nSHUTDOWN_TIMEOUT = [1]", ["line 2", "SHUTDOWN_TIMEOUT"]),
        ("[libvirt-guests]\nURIS = '$(touch /x)'", ["line 2", "URIS"]),
        ("[libvirt-guests]\nLIBVIRT_SHUTDOWN = 'x'", ["LIBVIRT_SHUTDOWN", "ON_SHUTDOWN"]),
        ("[libvirt-guests]\ntimeout = 5", ["line 2", '"timeout" does not belong in [libvirt-guests]']),
        ("[stopvm]\nON_BOOT = 'start'", ["line 2", '"ON_BOOT" does not belong in [stopvm]']),
        ("[stopvm]\nneeds = ['nas']", ["line 2", '"needs" does not belong in [stopvm]']),
        ("[stopvm]\ntimeout = true", ["line 2", "timeout = true", "whole number"]),
        ("[stopvm]\ntimeout = 1979-05-27", ["timeout = ", "1979-05-27"]),
        ("timeout = 5", ["line 1", '"timeout" stands outside its table']),
        ("[stopvn]\ntimeout = 5", ['"stopvn" is unknown', 'Did you mean "stopvm"?']),
        ("sumary = 'x'", ["line 1", 'Did you mean "summary"?']),
        ("summary = 5", ["line 1", "summary = 5"]),
        ("extends = 5", ["line 1", "extends"]),
        ("extends = ''", ["line 1", "extends"]),
        ("extends = 'gracefull'", ["line 1", '"gracefull"', 'Did you mean "graceful"?']),
        ("extends = './none.toml'", ["line 1", "none.toml"]),
        ("stopvm = 5", ["line 1", "stopvm is not one table"]),
        ("[[stopvm]]\ntimeout = 5", ["stopvm is not one table"]),
        ("[guest]\nmatch = 'db'", ["guest is not a list of rules"]),
        ("[[guest]]\ntimeout = 5", ["rule 1", "has no match"]),
        ("[[guest]]\nmach = 'db'\ntimeout = 5", ["rule 1", "has no match", 'Did you mean "match"?']),
        ("[[guest]]\nmatch = ''", ["rule 1", "match"]),
        ("[[guest]]\nmatch = 'a'\n[[guest]]\nmatch = ['a']", ["rule 2", "match"]),
        ("[[guest]]\nmatch = 'db*'\ntimout = 5", ["rule 1 (db*)", 'Did you mean "timeout"?']),
        ("[[guest]]\nmatch = 'db*'\nbudget = 5", ["rule 1 (db*)", '"budget" does not belong in a [[guest]] rule']),
        ("[[guest]]\nmatch = 'db*'\ntimeout = '5'", ["rule 1 (db*)", 'timeout = "5"', "whole number"]),
        ("[[guest]]\nmatch = 'a'\nneeds = ['a']", ["circle", "a needs a"]),
        ("[[guest]]\nmatch='a'\nneeds=['b']\n[[guest]]\nmatch='b'\nneeds=['a']", ["circle", "a needs b needs a"]),
        ("[stopvm]\nbudget = 100\ntimeout = 101", ["timeout = 101 is more than budget = 100"]),
        ("[[guest]]\nmatch = 'db*'\ntimeout = 1300", ["guest db*: timeout = 1300", "budget = 1200 (default)"]),
        ("[stopvm\ntimeout = 5", ["not TOML", "line 1"]),
        ("[stopvm]\n\ntimeout = fast", ["not TOML", "line 3"]),
        ("[stopvm]\ntimeout = 5\ntimeout = 6", ["not TOML"]),
        ("x = " + "[" * 5000, ["not TOML"]),
        ("x = " + "9" * 5000, ["not TOML"]),
    ],
)
def test_mistake_is_answered_with_place_and_nearest_word(tmp_path: Path, text: str, words: list[str]) -> None:
    error = wrong(tmp_path, text)
    for word in words:
        assert word in error.what


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"# gut\nsummary = 'f\xfcr'\n")
    with pytest.raises(UsageError, match=r"mine\.toml, line 2: not UTF-8"):
        profiles.load(str(path), Root(tmp_path))


def test_byte_order_mark_and_crlf_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf[stopvm]\r\ntimeout = 9\r\n")
    assert profiles.load(str(path), Root(tmp_path)).stop["timeout"] == 9


def test_default_timeout_is_cut_to_a_short_budget(tmp_path: Path) -> None:
    assert load(tmp_path, "[stopvm]\nbudget = 100").stop["timeout"] == 100
    assert load(tmp_path, "", "budget=60").stop["timeout"] == 60


def test_persistent_only_takes_true_as_libvirt_spells_it(tmp_path: Path) -> None:
    assert load(tmp_path, "[libvirt-guests]\nPERSISTENT_ONLY = true\nSYNC_TIME = true").settings == {
        "SYNC_TIME": "1", "PERSISTENT_ONLY": "true",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("ON_SHUTDOWN=suspend", "ON_SHUTDOWN", "suspend"),
        ('ON_SHUTDOWN="suspend"', "ON_SHUTDOWN", "suspend"),
        ("ON_SHUTDOWN='suspend'", "ON_SHUTDOWN", "suspend"),
        ("SHUTDOWN_TIMEOUT=90", "SHUTDOWN_TIMEOUT", "90"),
        ("URIS=qemu:///system", "URIS", "qemu:///system"),
        ("URIS=default lxc:///system", "URIS", "default lxc:///system"),
        ("timeout=90", "timeout", 90),
        (" timeout = 90 ", "timeout", 90),
        ("action=save", "action", "save"),
        ("wait_for=", "wait_for", ""),
        ("protect=false", "protect", False),
        ('methods=["acpi"]', "methods", ("acpi",)),
        ("methods=[acpi]", "methods", ("acpi",)),
        ("on_timeout=[save, destroy]", "on_timeout", ("save", "destroy")),
        ('before_stop_host=[["logger", "a=b"]]', "before_stop_host", (("logger", "a=b"),)),
    ],
)
def test_set(tmp_path: Path, word: str, key: str, value: object) -> None:
    profile = profiles.load("graceful", Root(tmp_path), [word])
    assert {**profile.stop, **profile.settings}[key] == value
    assert profile.origin[key] == "--set"


def test_the_last_set_of_a_key_wins(tmp_path: Path) -> None:
    profile = profiles.load("graceful", Root(tmp_path), ["timeout=10", "ON_BOOT=start", "timeout=20"])
    assert profile.stop["timeout"] == 20
    assert profile.origin["resend"] == "graceful.toml"


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("timeout", ['"timeout" is not KEY=VALUE']),
        ("=5", ["is not KEY=VALUE"]),
        ("timout=5", ['"timout"', 'Did you mean "timeout"?']),
        ("ON_BOT=start", ['"ON_BOT"', 'Did you mean "ON_BOOT"?']),
        ("On_Boot=start", ['Did you mean "ON_BOOT"?']),
        ("on_boot=start", ['Did you mean "ON_BOOT"?']),
        ("TIMEOUT=5", ['"TIMEOUT"', 'Did you mean "timeout"?']),
        ("ON_SHUTDOWN=suspnd", ["ON_SHUTDOWN", 'Did you mean "suspend"?']),
        ("ON_SHUTDOWN=", ["ON_SHUTDOWN"]),
        ("ON_SHUTDOWN=nan", ["ON_SHUTDOWN"]),
        ("SHUTDOWN_TIMEOUT=2m", ["SHUTDOWN_TIMEOUT"]),
        ("SHUTDOWN_TIMEOUT=08", ["SHUTDOWN_TIMEOUT"]),
        ("SHUTDOWN_TIMEOUT=true", ["SHUTDOWN_TIMEOUT = true"]),
        ("timeout=fast", ['timeout = "fast"']),
        ("timeout=true", ["timeout = true"]),
        ("timeout=5\nbudget=9", ["timeout = "]),
        ("action=destroy", ["action = "]),
        ("methods=acpi", ["methods = ", "a list"]),
        ('needs=["nas"]', ['"needs" does not belong']),
        ("budget=200", ["timeout = 240 is more than budget = 200"]),
    ],
)
def test_wrong_set(tmp_path: Path, word: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        profiles.load("graceful", Root(tmp_path), [word])
    for each in ("--set", *words) if "budget" not in word else words:
        assert each in caught.value.what
    assert caught.value.todo


@given(st.sampled_from(["methods", "timeout", "ON_BOOT", "URIS", "action"]), st.text(max_size=30))
def test_any_set_word_is_taken_as_it_stands_or_refused_in_few_words(key: str, text: str) -> None:
    try:
        taken = set_layer([f"{key}={text}"])
    except UsageError as error:
        said = error.what
    else:
        said = ""
        assert [*taken.settings, *taken.stop] == [key]
        assert taken.settings.get(key, "") in str(value_of(text)) or key == "URIS"
    assert len(said) < 400


def test_later_of_two_rules_in_force_decides_what_is_a_circle(tmp_path: Path) -> None:
    profile = load(tmp_path, "[[guest]]\nmatch='*'\nneeds=['nas']\n[[guest]]\nmatch='nas'\nneeds=[]")
    assert [rule.values["needs"] for rule in profile.guests] == [("nas",), ()]
