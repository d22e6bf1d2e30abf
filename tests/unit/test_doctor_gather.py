"""What the doctor reads, and what it does with what hangs or is broken."""

import ast
import inspect
import json
import os
import re
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import doctorhost
from lvg import systemd
from lvg.doctor.alone import in_force
from lvg.doctor.processes import scope_in, scopes
from lvg.doctor.run import blind
from lvg.doctor.table import CHECKS
from lvg.doctor.tasks import Task
from lvg.errors import LvgError
from lvg.stopvm.policy import Policy

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_a_call_that_hangs_is_given_up():
    hold = threading.Event()
    hanging = Task("libvirt", hold.wait)

    begin = time.monotonic()
    with pytest.raises(LvgError, match="libvirt: no answer"):
        hanging.result(0.05)
    assert time.monotonic() - begin < 60
    hold.set()


def test_calls_run_at_the_same_time_and_give_what_they_return_or_raise():
    both = threading.Barrier(2, timeout=60)
    tasks = [Task("one", both.wait), Task("two", both.wait)]
    assert sorted(task.result(60) for task in tasks) == [0, 1]

    def broken():
        raise LvgError("it is broken", "mend it")

    with pytest.raises(LvgError, match="it is broken"):
        Task("three", broken).result(60)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator\n", "machine-qemu\\x2d1\\x2dvm.scope"),
        (
            "3:cpu:/machine.slice/machine-qemu\\x2d7\\x2da.scope/emulator\n1:name=systemd:/machine.slice/"
            "machine-qemu\\x2d7\\x2da.scope\n",
            "machine-qemu\\x2d7\\x2da.scope",
        ),
        ("0::/system.slice/libvirtd.service\n", ""),
        ("0::/\n", ""),
    ],
)
def test_the_scope_of_a_process(text, scope):
    assert scope_in(text) == scope


def test_only_qemus_own_processes_are_looked_at(tmp_path):
    programs = {
        "10": "/usr/bin/qemu-system-x86_64",
        "11": "/usr/libexec/qemu-kvm (deleted)",
        "12": "/usr/bin/qemu-img",
        "13": "/usr/bin/python3",
    }
    for pid, program in programs.items():
        (tmp_path / pid).mkdir()
        os.symlink(program, tmp_path / pid / "exe")
        (tmp_path / pid / "cgroup").write_text(f"0::/machine.slice/machine-{pid}.scope\n")
    (tmp_path / "14").mkdir()  # a thread of the kernel
    (tmp_path / "self").mkdir()

    assert scopes(tmp_path) == {10: "machine-10.scope", 11: "machine-11.scope"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30min", 1800),
        ("1min 30s", 90),
        ("1h 500ms", 3600.5),
        ("2d 3h", 183_600),
        ("90us", 9e-5),
        ("infinity", None),
        ("", None),
        ("soon", None),
    ],
)
def test_a_time_span_of_systemds(text, seconds):
    assert systemd.span(text) == (None if seconds is None else pytest.approx(seconds))


def test_without_stopvm_the_rules_are_those_of_libvirt_guests():
    facts = doctorhost.facts()
    alone = replace(facts.survey, record=None)
    rules = Policy(profile="graceful")

    assert in_force(rules, facts.survey, facts.settings) is rules
    found = in_force(rules, alone, replace(facts.settings, values={"ON_SHUTDOWN": "shutdown", "URIS": "a b"}))
    assert (found.base.action, found.boot, found.uris) == ("none", "ignore", ("a", "b"))
    assert (found.net.on_shutdown, found.net.shutdown_timeout, found.net.parallel) == ("shutdown", 300, 0)


def helpers(function):
    """The function and the doctor's own ones that it calls, directly or not."""
    found = [function]
    for each in found:
        names = {name.id for name in ast.walk(syntax(each)) if isinstance(name, ast.Name)}
        called = [each.__globals__.get(name) for name in sorted(names)]
        found += [new for new in called if inspect.isfunction(new) and in_doctor(new) and new not in found]
    return found


def in_doctor(function):
    return function.__module__.startswith("lvg.doctor.")


def syntax(function):
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def severities(check):
    """What a check can say, by its source: the second argument of each Finding with its id, or one that it is given."""
    calls = [node for each in helpers(check.look) for node in ast.walk(syntax(each)) if isinstance(node, ast.Call)]
    made = [call.args[:2] for call in calls if ast.unparse(call.func) == "Finding"]
    said = [severity for id_, severity in made if not isinstance(id_, ast.Constant) or id_.value == check.id]
    words = [[each.body, each.orelse] if isinstance(each, ast.IfExp) else [each] for each in said]
    return {ast.literal_eval(word) for each in words for word in each}


def test_the_table_in_the_documents_is_the_table_of_checks():
    rows = re.findall(r"^\| ([A-Z]\w+) \| (.*) \| ([a-z ]+) \|$", (DOCS / "DOCTOR.md").read_text(), re.MULTILINE)
    said = {check.id: severities(check) for check in CHECKS}
    for finding in blind(CHECKS, "it cannot be looked at", "").findings:
        said[finding.id].add(finding.severity)

    assert rows == [(check.id, check.title, " or ".join(sorted(said[check.id]))) for check in CHECKS]
    assert set().union(*said.values()) == {"failure", "warning"}


def test_no_two_checks_have_one_id():
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    assert json.dumps([check.title for check in CHECKS]).isascii()
