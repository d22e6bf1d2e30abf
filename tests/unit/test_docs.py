"""The man pages name everything that there is, and nothing that there is not."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvg import cli, errors, layout, units
from lvg.documents.rehearsal import rehearsal_document
from lvg.guests import Guest
from lvg.rehearsal import Outcome, Part
from lvg.settings import SETTINGS
from lvg.stoppolicy import STOP_KEYS, keys_for
from lvg.stopvm import history
from lvg.stopvm.__main__ import parser
from lvg.stopvm.policy import GuestPolicy

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.scd"))
STOPVM_VERBS = ("stop", "restore", "status")
LVG_VERBS = sorted(command.name or command.callback.__name__ for command in cli.app.registered_commands)


def page(name: str) -> str:
    return (DOCS / f"{name}.scd").read_text(encoding="utf-8")


def entries(name: str) -> dict[str, str]:
    """The definitions of a page: each *term* at the start of a line, with its indented text."""
    found = re.findall(r"^(\*[^\n]*)\n((?:\t[^\n]*\n|\n(?=\t))+)", page(name), re.M)
    return {term: text for line, text in found for term in re.findall(r"\*([^*]+)\*", line)}


def section(name: str, heading: str) -> str:
    found = re.search(rf"^# {re.escape(heading)}\n(.*?)(?=^# |\Z)", page(name), re.M | re.S)
    assert found, f"{name} has no section {heading}"
    return found[1]


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text)) - {"--"}


def entry_options(name: str) -> set[str]:
    """Every option that has an entry of its own in the OPTIONS section."""
    headers = re.findall(r"^(\*-.*)$", section(name, "OPTIONS"), re.M)
    return {word for line in headers for word in re.findall(r"\*(--?[a-z][a-z-]*)\*", line)}


def help_of(capsys: pytest.CaptureFixture[str], app: object, *words: str) -> str:
    with pytest.raises(SystemExit):
        app([*words, "--help"], prog_name="x")  # type: ignore[operator]
    return capsys.readouterr().out


def test_every_option_of_lvg_install_is_in_its_page_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, cli.install_app)
    there = set(re.findall(r"^ +(?:(-\w), )?(--[a-z-]+)", text, re.M))
    assert entry_options("lvg-install.8") == {word for pair in there for word in pair if word}


def test_every_verb_and_option_of_lvg_is_in_its_page_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [help_of(capsys, cli.app), *(help_of(capsys, cli.app, verb) for verb in LVG_VERBS)]
    there = {word for text in texts for pair in re.findall(r"^ +(?:(-\w), )?(--[a-z-]+)", text, re.M) for word in pair}
    assert entry_options("lvg.8") == there - {""}
    verbs = re.findall(r"^\*(\w+)\*", section("lvg.8", "VERBS"), re.M)
    assert set(LVG_VERBS) <= set(verbs)
    for verb in LVG_VERBS:
        assert f"*lvg* *{verb}*" in section("lvg.8", "SYNOPSIS")


@pytest.mark.parametrize("verb", sorted({*LVG_VERBS}))
def test_the_readme_shows_the_verb(verb: str) -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"\blvg {verb}\b", readme)


@pytest.mark.parametrize("verb", LVG_VERBS)
def test_the_synopsis_of_a_verb_has_its_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    there = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", help_of(capsys, cli.app, verb), re.M))
    line = next(line for line in section("lvg.8", "SYNOPSIS").splitlines() if f"*{verb}*" in line)
    assert options(line) == there - {"--help", "--verbose"}


def test_every_verb_and_option_of_stopvm_is_in_its_page_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    there: set[str] = set()
    for words in [[], *([verb] for verb in STOPVM_VERBS)]:
        with pytest.raises(SystemExit):
            parser().parse_args([*words, "--help"])
        there |= set(re.findall(r"^ +(?:(?:-\w), )?(--[a-z-]+)", capsys.readouterr().out, re.M)) | {"-h"}
    assert entry_options("stopvm.8") == there
    assert set(STOPVM_VERBS) <= entries("stopvm.8").keys()
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    assert "|".join(STOPVM_VERBS) in capsys.readouterr().out


def _codes(error: type[errors.LvgError]) -> Iterator[int]:
    yield error.code
    for more in error.__subclasses__():
        yield from _codes(more)


def test_every_exit_code_is_in_the_pages() -> None:
    codes = {0, *_codes(errors.LvgError)}
    listed = re.findall(r"^\*(\d+)\*\n\t", section("lvg-install.8", "EXIT CODES"), re.M)
    assert [int(code) for code in listed] == sorted(codes)
    short = section("lvg.8", "EXIT CODES")
    assert sorted(codes) == [int(code) for code in re.findall(r"(?:^|,\s)(\d) ", short.lstrip())]


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_is_in_the_profile_page_with_its_default(key: str) -> None:
    assert f"[{SETTINGS[key].builtin}]" in entries("lvg-profile.5")[key]
    for choice in SETTINGS[key].choices:
        assert re.search(rf"\b{choice}\b", entries("lvg-profile.5")[key])


@pytest.mark.parametrize("key", STOP_KEYS)
def test_every_stop_key_is_in_the_profile_page_with_its_default(key: str) -> None:
    row, text = STOP_KEYS[key], entries("lvg-profile.5")[key]
    assert "[" + json.dumps(row.default) in text
    for choice in filter(None, row.choices):
        assert f'"{choice}"' in text


def test_the_keys_of_a_guest_rule_are_listed() -> None:
    text = section("lvg-profile.5", "[[guest]]")
    listed = set(re.findall(r"\*([a-z_]+)\*", text)) - {"match"}
    assert listed == set(keys_for(guest=True))


def test_no_key_is_in_the_profile_page_that_does_not_exist() -> None:
    keys = {term for term in entries("lvg-profile.5") if re.fullmatch(r"[A-Z_]+|[a-z]+_[a-z_]+", term)}
    assert keys <= {*SETTINGS, *STOP_KEYS}


def test_every_shipped_profile_is_in_the_page() -> None:
    shipped = {path.stem for path in (CHECKOUT / "profiles").glob("*.toml")}
    assert set(re.findall(r"^\*([a-z0-9-]+)\*$", section("lvg-profile.5", "SHIPPED PROFILES"), re.M)) == shipped


def test_every_file_of_ours_is_in_the_page() -> None:
    text = section("lvg-install.8", "FILES").replace("\\*", "*")
    for path in (layout.POLICY, layout.OVERLAY, layout.LOCAL_PROGRAM, layout.PACKAGED_PROGRAM, layout.STATE_DIR):
        assert path in text
    for name in (units.SHUTDOWN, units.RESTORE, units.DROP_IN, units.OVERLAY_DROP_IN, units.LIFT_DROP_IN):
        assert name in text


def test_every_key_of_the_json_documents_is_in_the_pages(debian) -> None:
    texts = {
        "lvg-install.8": debian.install("--profile", "graceful", "--json"),
        "lvg.8": debian.run("lvg", "detect", "--json"),
    }
    for name, done in texts.items():
        assert set(json.loads(done.out)) - {"schema"} <= set(re.findall(r"\*(\w+)\*", section(name, "JSON")))
    listed = set(re.findall(r"\*(\w+)\*", section("lvg.8", "JSON")))
    for words in (["status"], ["report"], ["profiles"], ["profiles", "graceful"]):
        assert set(json.loads(debian.run("lvg", *words, "--json").out)) - {"schema"} <= listed


def test_every_key_of_the_answer_of_a_rehearsal_is_in_the_page() -> None:
    guest = Guest("7d9b", "db")
    document = rehearsal_document([Outcome(Part(guest, GuestPolicy(), 0, 240.0), None, None, None)])
    (found,) = document["guests"]  # type: ignore[misc]  # it is a list
    text = section("lvg.8", "JSON")
    listed = re.findall(r"\*(\w+)\*", text[text.index("\n*rehearse*\n") : text.index("\n*report*\n")])
    assert set(listed) == {"rehearse", *document, *found}


def test_every_key_of_the_history_is_in_the_page() -> None:
    text = set(re.findall(r"\*(\w+)\*", section("stopvm.8", "HISTORY")))
    assert set(history.Record().as_json()) <= text
    assert set(vars(history.Entry("", "", ""))) <= text


def test_the_record_in_the_page_is_one() -> None:
    (text,) = re.findall(r"```\n(.*?)```", section("stopvm.8", "HISTORY"), re.S)
    shown = json.loads(text)
    assert list(shown) == list(history.Record().as_json())
    assert [list(guest) for guest in shown["guests"]] == [list(vars(history.Entry("", "", "")))]


def test_every_key_of_the_policy_is_in_the_page(debian) -> None:
    debian.install("--profile", "graceful")
    policy = json.loads((debian.root / "etc/lvg/policy.json").read_text())
    text = set(re.findall(r"\*(\w+)\*", section("stopvm.8", "POLICY")))
    assert set(policy) - set(STOP_KEYS) <= text
    assert set(policy["net"]) <= text


@pytest.mark.skipif(not (shutil.which("scdoc") and shutil.which("man")), reason="needs scdoc and man")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_renders_without_a_warning(name: str, tmp_path: Path) -> None:
    target = tmp_path / name.removesuffix(".scd")
    text = subprocess.run(["scdoc"], input=(DOCS / name).read_bytes(), capture_output=True, check=True).stdout
    target.write_bytes(text)
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "HOME": str(tmp_path)}
    man = ["man", "--warnings", "-E", "UTF-8", "-l", str(target)]
    done = subprocess.run(man, capture_output=True, text=True, env=environment, check=True)
    assert done.stderr == ""
    assert "NAME" in done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_refer_to_pages_that_exist(name: str) -> None:
    known = {"libvirt-guests(8)", "systemctl(1)", "virsh(1)", "systemd.service(5)"}
    ours = {f"{page[:-6]}({page[-5]})" for page in PAGES}
    text = page(name.removesuffix(".scd"))
    assert set(re.findall(r"\*([\w.-]+)\*(\(\d\))", text)) <= {(word[:-3], word[-3:]) for word in known | ours}


def test_every_room_is_on_a_floor_of_the_architecture() -> None:
    text = (DOCS / "ARCHITECTURE.md").read_text(encoding="utf-8")
    floors = text[text.index("## Floors") : text.index("## Contracts")]
    rows = re.findall(r"^\| [a-z ]+ \| ([a-z0-9, /]+) \|", floors, re.M)
    named = {name.strip(" /") for row in rows for name in row.split(",")} - {"rooms"}
    source = CHECKOUT / "installer/lvg"
    rooms = {path.stem for path in source.glob("*.py")} | {path.parent.name for path in source.glob("*/__init__.py")}
    assert named == rooms - {"__init__"}


def test_the_example_of_a_profile_can_be_applied(debian) -> None:
    example = re.search(r"```\n(.*?)```", section("lvg-profile.5", "EXAMPLE"), re.S)
    assert example
    debian.put("/etc/lvg/profiles/office.toml", example[1])
    done = debian.install("--profile", "office", "--dry-run")
    assert (done.code, done.err) == (0, "")
