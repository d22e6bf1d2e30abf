"""`lvg plan`: what it shows people and programs, and its exit code."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len

from lvg import timeline
from lvg.commands import plan as command
from lvg.commands.plan import Plan
from lvg.console import speaking
from lvg.draw.bars import Mark, Scale
from lvg.errors import LvgError, NothingAppliedError
from lvg.files import Root
from lvg.guests import Answer, Guest
from lvg.stopvm.policy import compile_policy

NAMES = ["web1", "db", "nas", "x" * 200, "データベース" * 5, "😀" * 30, "\x1b[31m\n", "[bold]"]
RULES = {
    "profile": "graceful",
    "boot": "restore",
    "guests": [{"match": "web*", "needs": ["db"], "timeout": 100}, {"match": "db", "needs": ["nas"]}],
}


def made(names: list[str] | None = None, ups: float | None = None, limit: float | None = 1800, **more: Any) -> Plan:
    rules = compile_policy({**RULES, **more})
    guests = [Guest(f"uuid {name}", name, agent="ok", memory=1000.0) for name in (NAMES if names is None else names)]
    line = timeline.of(rules, guests, {"web1": 10.0, "db": 20.0}, limit)
    return Plan(rules, line, timeline.boot(rules, guests, "ignore"), ups, ())


def answered(capsys: pytest.CaptureFixture[str], found: Plan, **options: Any) -> tuple[int, str]:
    code = command.answer(found, options.get("svg", ""), options.get("as_json", False), options.get("verbose", False))
    return code, capsys.readouterr().out


@pytest.fixture(autouse=True)
def _utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("verbose", [False, True])
def test_80_columns_are_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], locale: str, verbose: bool
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    code, text = answered(capsys, made(ups=300), verbose=verbose)
    assert code == 9
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert text.isascii() == (locale == "C")
    for name in ("web1", "db", "nas", "xxxx", "[bold]"):
        assert re.search(rf"^.{{3}}{re.escape(name)}", text, re.MULTILINE), name


def row(text: str, name: str) -> str:
    return next(line[3:] for line in text.splitlines() if line[3:].startswith(f"{name} "))


def test_each_guest_has_its_wave_its_ways_and_its_times(capsys: pytest.CaptureFixture[str]) -> None:
    found = made(["web1", "db", "nas"])
    text = answered(capsys, found)[1]
    steps = {step.name: step for step in found.shutdown.steps}
    for name, expected in (("web1", "15 s"), ("db", "35 s"), ("nas", f"{steps['nas'].ends:.0f} s?")):
        assert row(text, name).split("  ")[0].strip() == name
        assert " agent, acpi " in row(text, name)
        assert f" {expected}" in row(text, name)
        assert f" {steps[name].deadline:.0f} s " in row(text, name)
    assert [line[:3] for line in text.splitlines()[3:6]] == [" 1 ", " 2 ", " 3 "]
    assert "? no clean stop of it is on record yet" in text


def test_the_bars_show_who_goes_first(capsys: pytest.CaptureFixture[str]) -> None:
    text = answered(capsys, made(["web1", "db", "nas"]))[1]
    first, last = row(text, "web1"), row(text, "nas")
    assert "█" in first
    assert first.rindex("█") < last.rindex("█")
    assert first.rindex("░") < last.rindex("░")


def test_what_ends_the_time_is_marked() -> None:
    scale = Scale(100, 50, (Mark("U", 20), Mark("L", 90), Mark("B", 400)))
    assert str(scale.ruler()) == f"0{'100 s':>49}\n{' ' * 10}U{' ' * 34}L{' ' * 4}"
    bar = scale.bar(0, 10, 60)
    assert str(bar) == "█" * 6 + "░" * 4 + "│" + "░" * 20 + " " * 14 + "│" + " " * 4
    colours = {str(span.style) for span in bar.spans if span.start > 10 and bar.plain[span.start] == "░"}
    assert colours == {"red"}


@pytest.mark.parametrize(
    ("ups", "limit", "code", "says"),
    [
        (None, 1800, 0, "It fits: at most"),
        (None, None, 0, "no limit of systemd's"),
        (5000, 1800, 0, "U UPS: 5000 s"),
        (100, 1800, 9, "the UPS lasts 100 s (1 min 40 s)"),
        (None, 60, 9, "systemd cuts it off after 60 s"),
    ],
)
def test_whether_it_fits(
    capsys: pytest.CaptureFixture[str], ups: float | None, limit: float | None, code: int, says: str
) -> None:
    found, text = answered(capsys, made(["web1"], ups, limit))
    assert found == code
    assert says in text.replace("\n", " ")


def test_nothing_runs_and_nothing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert answered(capsys, made([], ups=1)) == (
        0,
        "no guest runs: there is nothing to stop, and nothing to bring back\n",
    )
    document = json.loads(answered(capsys, made([], ups=1), as_json=True)[1])
    assert (document["fits"], document["worst_case_s"], document["waves"]) == (True, 0, [])


def test_verbose_says_where_each_value_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(answered(capsys, made(["web1", "db"]), verbose=True)[1].split())
    assert '[[guest]] match = "web*": timeout = 100, needs = ["db"]' in text
    assert "db stops after web1" in text
    assert "match" not in answered(capsys, made(["web1", "db"]))[1]


def test_less_time_than_the_timeout_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(answered(capsys, made(["web1", "db"], budget=150))[1].split())
    assert re.search(r"less time than its timeout, if all goes badly: web1 \d+ of its 100 s, db \d+ of its 240 s", text)


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = answered(capsys, made(["web1", "db", "nas"], ups=60), as_json=True)
    found = json.loads(text)
    assert (code, found["schema"], found["fits"]) == (9, 1, False)
    assert (found["budget_s"], found["limit_s"], found["ups_s"], found["net_s"]) == (1200, 1800, 60, 240)
    assert found["expected_s"] < found["worst_case_s"]
    assert [[step["guest"] for step in wave] for wave in found["waves"]] == [["web1"], ["db"], ["nas"]]
    web = found["waves"][0][0]
    assert (web["methods"], web["timeout_s"], web["usual_s"], web["expected_s"]) == (["agent", "acpi"], 100, 10, 15)
    assert web["deadline_s"] > 105
    assert found["waves"][1][0]["after"] == ["web1"]
    assert web["policy"]["timeout"] == {"value": 100, "from": "web*"}
    assert web["policy"]["resend"] == {"value": 20, "from": ""}
    assert [start["guest"] for start in found["boot"]["guests"]] == ["nas", "db", "web1"]


def test_a_picture_needs_nothing_from_the_web(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "plan.svg"
    answered(capsys, made(ups=300), svg=str(file))
    text = file.read_text()
    ElementTree.fromstring(text)
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert "url(http" not in text
    assert "web1" in text


def test_a_picture_that_cannot_be_written_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = str(tmp_path / "no" / "plan.svg")
    assert speaking("lvg plan", False, lambda: command.answer(made(["web1"]), missing, False, False)) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_who_is_not_in_the_plan_is_told() -> None:
    guest = Guest("uuid", "web1")
    answers = [Answer("default", "qemu:///system", guests=(guest,)), Answer("lxc:///", error="no such driver")]
    guests, silent = command._running(answers)
    assert guests == (guest,)
    assert silent == ["libvirt at lxc:///: no such driver; its guests are not in this plan"]


def test_without_libvirt_there_is_no_plan() -> None:
    with pytest.raises(LvgError, match="no plan without libvirt: libvirt at default: it hangs"):
        command._running([Answer("default", error="it hangs")])


@pytest.mark.parametrize("ups", ["0", "-5", "nan", "inf"])
def test_how_long_the_ups_lasts_is_a_number_of_seconds(capsys: pytest.CaptureFixture[str], ups: str) -> None:
    assert speaking("lvg plan", False, lambda: command.plan(float(ups), "", False, False)) == 2
    assert "--ups" in capsys.readouterr().err


def test_where_nothing_is_applied_there_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(NothingAppliedError, match="lvg has applied nothing here"):
        command.gather(Root(tmp_path), None)


def test_the_host_is_asked(tmp_path: Path) -> None:
    pytest.importorskip("libvirt", reason="needs python3-libvirt")
    (tmp_path / "etc/lvg").mkdir(parents=True)
    policy = {"schema": 1, "uris": ["test:///default"], "timeout": 50, "net": {"on_boot": "start"}, "action": "none"}
    file = tmp_path / "etc/lvg/policy.json"
    file.write_text(json.dumps(policy))
    os.chmod(file, 0o600)
    found = command.gather(Root(tmp_path), 100)
    assert [step.name for step in found.shutdown.steps] == ["test"]
    assert (found.shutdown.limit, found.ups, found.warnings) == (None, 100, ())
    assert [start.by for start in found.boot.starts] == ["libvirt-guests"]


def test_names_do_not_reach_the_picture_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    text = answered(capsys, made(["[bold]", "\x1b[31m"]))[1]
    assert "[bold]" in text
    assert "\\x1b[31m" in text


def test_many_guests_are_no_wall_of_names(capsys: pytest.CaptureFixture[str]) -> None:
    text = answered(capsys, made([f"guest{number}" for number in range(100)] + ["tmp"]))[1]
    assert len(text.splitlines()) < 250
