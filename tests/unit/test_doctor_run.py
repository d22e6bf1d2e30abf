"""The doctor as a whole: the verdict, what is printed, the exit codes, and what a check that fails does."""

import json
import re

import pytest

import doctorhost
from lvg.commands.doctor import Answer, give
from lvg.doctor import Check, Finding
from lvg.doctor.run import blind, ends, run, summary
from lvg.doctor.table import CHECKS

FAILURE = Finding("T2", "failure", "the unit is off", "systemctl start it", "ActiveState=inactive")
WARNING = Finding("T1", "warning", "it is \x1b[31mslow\nly", "wait", "", "db[1]")


def check(id_, *findings):
    return Check(id_, f"title of {id_}", lambda facts: findings)


def answer(*checks, guests=()):
    facts = doctorhost.facts(*guests)
    return Answer(run(facts, checks), ends(facts), 140.0)


def test_the_worst_finding_stands_first_and_makes_the_verdict():
    found = run(doctorhost.facts(), [check("T1", WARNING), check("T2", FAILURE), check("T3")])

    assert [finding.id for finding in found.findings] == ["T2", "T1"]
    assert found.verdict == "failure"
    assert [result.state for result in found.results] == ["warning", "failure", "ok"]
    assert run(doctorhost.facts(), [check("T1", WARNING)]).verdict == "warning"
    assert run(doctorhost.facts(), [check("T3")]).verdict == "ok"


def test_a_check_that_fails_is_a_warning_and_the_others_still_count():
    def broken(facts):
        yield WARNING
        raise KeyError("After")

    found = run(doctorhost.facts(), [Check("T9", "the order is right", broken), check("T2", FAILURE)])

    assert [(finding.id, finding.severity) for finding in found.findings] == [("T2", "failure"), ("T9", "warning")]
    assert "the order is right" in found.findings[1].message
    assert "KeyError" in found.findings[1].message


@pytest.mark.parametrize(
    ("checks", "guests", "sentence"),
    [
        ([], 3, "The guests of this host end cleanly: 3 guests, at most 140 s."),
        ([], 1, "The guests of this host end cleanly: 1 guest, at most 140 s."),
        ([], 0, "The guests of this host end cleanly: none runs now."),
        ([check("T1", WARNING)], 2, "The guests of this host end cleanly, with 1 warning: 2 guests, at most 140 s."),
        (
            [check("T1", WARNING), check("T2", FAILURE), check("T2", FAILURE)],
            2,
            "2 failures, 1 warning: guests may lose power when this host goes down.",
        ),
    ],
)
def test_the_verdict_is_one_sentence(checks, guests, sentence):
    assert summary(run(doctorhost.facts(), checks), guests, 140.4) == sentence


@pytest.mark.parametrize(("checks", "code"), [([], 0), ([check("T1", WARNING)], 0), ([check("T2", FAILURE)], 9)])
@pytest.mark.parametrize("words", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_a_failure_is_a_bad_answer(checks, code, words, capsys):
    assert give(answer(*checks), *words) == code


def test_a_healthy_host_gets_its_guests_and_the_verdict(capsys):
    give(answer(check("T3"), guests=[doctorhost.guest("db"), doctorhost.guest("web")]), False, False, False)

    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["db", "web", "The guests of this host end cleanly"]
    assert err == ""


def test_a_finding_has_its_remedy_on_the_next_line(capsys):
    give(answer(check("T1", WARNING), check("T2", FAILURE), check("T3")), False, False, False)

    out = capsys.readouterr().out
    assert re.search(r"^FAIL +T2 the unit is off\n +systemctl start it\nwarn +T1 ", out, re.MULTILINE)
    assert "title of T3" not in out
    assert "ActiveState" not in out
    assert "\x1b" not in out
    assert "db[1]: it is \\x1b[31mslow\\nly" in out


def test_verbose_adds_what_was_seen_and_the_checks_that_are_fine(capsys):
    give(answer(check("T2", FAILURE), check("T3")), False, False, True)

    out = capsys.readouterr().out
    assert "ActiveState=inactive" in out
    assert re.search(r"^ok +T3 title of T3$", out, re.MULTILINE)


def test_a_long_finding_fits_a_terminal(capsys):
    give(answer(check("T2", Finding("T2", "failure", "word " * 60, "do " * 60))), False, False, False)

    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_quiet_says_only_what_is_wrong_and_on_stderr(capsys):
    give(answer(check("T1", WARNING), check("T2", FAILURE)), False, True, False)

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "lvg doctor: failure T2: the unit is off"
    assert err.count("\n") == 2
    give(answer(check("T3")), False, True, False)
    assert capsys.readouterr() == ("", "")


def test_the_document(capsys):
    give(answer(check("T2", FAILURE), check("T3"), guests=[doctorhost.guest("db")]), True, False, False)

    said = json.loads(capsys.readouterr().out)
    assert (said["schema"], said["verdict"]) == (1, "failure")
    assert said["findings"] == [
        {
            "id": "T2",
            "severity": "failure",
            "guest": "",
            "message": "the unit is off",
            "remedy": "systemctl start it",
            "evidence": "ActiveState=inactive",
        }
    ]
    assert [(each["id"], each["state"]) for each in said["checks"]] == [("T2", "failure"), ("T3", "ok")]
    (guest,) = said["guests"]
    assert (guest["name"], guest["agent"], guest["deadline_s"]) == ("db", "ok", 240.0)


def test_a_host_that_cannot_be_looked_at_is_a_failure(capsys):
    blinded = Answer(blind(CHECKS, "/var/lib/lvg/applied.json is damaged", "lvg remove --force"), (), 0.0)

    assert give(blinded, True, False, False) == 9
    said = json.loads(capsys.readouterr().out)
    assert [(each["id"], each["severity"]) for each in said["findings"]] == [("A0", "failure")]
