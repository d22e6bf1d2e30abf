"""Draws what `lvg doctor` and `lvg plan` show of guests with names of every kind: run it on a terminal.

`drawn.py all ROOT` shows that and, of a root, what `lvg report` and `lvg status` do: each begins with a line "== NAME".
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "installer"))

from lvg import cli, timeline
from lvg.doctor import Check, Finding, guestline
from lvg.doctor.run import Diagnosis, Result
from lvg.draw import findings, plan, terminal
from lvg.guests import Guest
from lvg.stopvm.policy import GuestPolicy, Policy, Rule

NAMES = ["web1", "データベース" * 5, "😀" * 3, "x" * 300, "\x1b[31mred", "a\nb", "[red]m[/]"]
GUESTS = [Guest(f"uuid {name}", name, memory=2048.0, agent="ok") for name in NAMES]
RULES = Policy(base=GuestPolicy(), boot="restore", rules=(Rule("web1", (("needs", ("a*",)),)),))


def doctor() -> None:
    """Show a failure and a warning about each guest, and the guests."""
    found = [
        Finding("E1", "failure", f"its agent is silent: {name}", f"virsh start {name}", name, name) for name in NAMES
    ]
    found += [Finding("A1", "warning", "it is a long story " * 9, "systemctl enable --now " + "x" * 90, "seen " * 30)]
    diagnosis = Diagnosis((Result(Check("E1", "agents answer", lambda _: ()), tuple(found)),))
    steps = timeline.of(RULES, GUESTS, {}, 1800.0).steps
    lines = findings.guest_lines(guestline.line(GUESTS[NAMES.index(step.name)], step) for step in steps)
    terminal.show([*findings.findings(diagnosis, True), *lines, findings.verdict(diagnosis, "7 failures")])


def drawn_plan() -> None:
    """Show a plan that does not fit."""
    line = timeline.of(RULES, GUESTS, dict.fromkeys(NAMES[:3], 30.0), 1800.0)
    terminal.show(plan.pictures(RULES, line, timeline.boot(RULES, GUESTS, "ignore"), 300.0, True))


def command(*words: str) -> None:
    """Run a command of lvg that has to end well."""
    sys.argv = ["lvg", *words]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise


def everything(root: str) -> None:
    """Show all four."""
    for name, draw in (
        ("doctor", doctor),
        ("plan", drawn_plan),
        ("report", lambda: command("report", "--last", "9", "--root", root)),
        ("status", lambda: command("status", "--root", root)),
    ):
        print(f"== {name}", flush=True)
        draw()
        sys.stdout.flush()


if __name__ == "__main__":
    {"doctor": doctor, "plan": drawn_plan, "all": everything}[sys.argv[1]](*sys.argv[2:])
