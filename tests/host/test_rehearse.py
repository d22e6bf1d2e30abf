"""`lvg rehearse` with real guests: exactly the named ones go down and come back, whatever happens meanwhile."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from contextlib import suppress

from guests import Guest, define, mark, running, serial, start, wait_alive
from install import TARGET, install_own, last_stop, lvg, lvg_install
from machine import INSIDE, PATIENCE, Machine

PROFILE = """\
[stopvm]
timeout = 60
[[guest]]
match = "web"
needs = ["db"]
[[guest]]
match = "deaf"
timeout = 5
on_timeout = ["destroy"]
[[guest]]
match = "late"
timeout = 5
on_timeout = ["leave"]
[[guest]]
match = "kept"
action = "save"
"""
TEMPERS = (
    Guest("deaf", deaf=True),
    Guest("late", shutdown=15),
    Guest("kept", deaf=True),
)
REHEARSE = f"/{TARGET}/bin/lvg rehearse"


def test_the_named_guests_go_down_in_order_and_come_back_and_nobody_else_does(host: Machine) -> None:
    define(host, Guest("db"), Guest("web"), Guest("apart"), Guest("byhand"), *TEMPERS)
    ids = start(host, "db", "web", "apart", "byhand", *(guest.name for guest in TEMPERS))
    on = set(ids) - {"byhand"}
    install_own(host, PROFILE)
    host.run("stopvm stop --now --only byhand")

    refused = lvg(host, "rehearse", "--yes", "db", check=False)
    assert (refused.returncode, "web runs, and needs db" in refused.stderr) == (4, True), refused.stderr
    assert "lvg rehearse db web" in refused.stderr
    assert lvg(host, "rehearse", "db", "web", check=False).returncode == 2, "nobody is there to be asked"
    assert lvg(host, "rehearse", "--yes", "byhand", check=False).returncode == 4
    assert lvg(host, "rehearse", "--yes", "wep", check=False).returncode == 2
    assert running(host) == on

    marks = {name: mark(host, name) for name in ids}
    done = lvg(host, "rehearse", "--yes", "db", "web")
    assert "web: clean after" in done.stdout
    assert "its timeout is 60 s" in done.stdout
    for name in ("db", "web"):
        assert _new_boot(host, name, marks[name]) != ids[name]
        assert serial(host, name).ended == [ids[name]], "it ended by itself"
    said = done.stderr
    assert said.index("web: clean") < said.index("db: clean") < said.index("db: started") < said.index("web: started")
    assert not serial(host, "apart", marks["apart"]).presses
    assert running(host) == on

    record = last_stop(host)
    assert {guest["name"]: guest["restored"] for guest in record["guests"]} == {"db": "started", "web": "started"}
    assert [guest["name"] for guest in record["carried"]] == ["byhand"], "it stays off until the next boot"

    forced = lvg(host, "rehearse", "--yes", *(guest.name for guest in TEMPERS), check=False)
    assert forced.returncode == 9
    assert "switched off as if its plug were pulled" in forced.stdout, "a destroy is said in plain words"
    assert "deaf: destroyed after" in forced.stdout
    assert "late: did NOT end" in forced.stdout
    assert "kept: saved after" in forced.stdout
    assert _new_boot(host, "deaf", marks["deaf"]) != ids["deaf"]
    assert _new_boot(host, "late", marks["late"]) != ids["late"], "it ended later than it should, and is back"
    assert wait_alive(host, "kept") == ids["kept"]
    assert running(host) == on

    marks = {name: mark(host, name) for name in ids}
    host.reboot()
    for name in set(ids) - {"kept"}:
        _new_boot(host, name, marks[name])
    host.wait_for(lambda: running(host) == set(ids), "the one that was stopped by hand to be back, like all others")


def test_ctrl_c_and_a_power_cut_in_the_middle(host: Machine) -> None:
    define(host, Guest("slow", shutdown=12), Guest("apart"))
    ids = start(host, "slow", "apart")
    lvg_install(host, "--profile", "graceful")

    since = mark(host, "slow")
    code, said = on_terminal(host, f"{REHEARSE} slow", [("[y/N]", "\x03")])
    assert (code, "no guest was asked" in said) == (1, True), said
    assert serial(host, "slow", since).presses == 0
    code, said = on_terminal(
        host, f"{REHEARSE} slow", [("[y/N]", "y\n"), ("asking 1 guest", "\x03"), ("Ctrl-C:", "\x03")]
    )
    assert code == 0, said
    assert "cannot be called back" in said
    assert "Still at work" in said
    assert "slow: clean after" in said
    assert _new_boot(host, "slow", since) != ids["slow"]
    assert serial(host, "slow").ended == [ids["slow"]]

    # The terminal is closed and lvg killed: the guest is started again all the same.
    since = mark(host, "slow")
    host.run(f"{REHEARSE} --yes slow >/srv/said 2>&1 & echo $! >/srv/pid")
    host.wait_for(lambda: serial(host, "slow", since).presses, "the guest to be asked")
    host.run("kill -KILL $(cat /srv/pid)")
    _new_boot(host, "slow", since)

    # All of it is killed but the stop itself, so that nobody starts the guest again: the next boot does, however it
    # comes about.
    since = mark(host, "slow")
    host.run(f"{REHEARSE} --yes slow >/srv/said 2>&1 & echo $! >/srv/pid")
    host.wait_for(lambda: serial(host, "slow", since).presses, "the guest to be asked")
    host.run("kill -KILL $(pgrep -P $(cat /srv/pid)) $(cat /srv/pid)")
    host.wait_for(lambda: running(host) == {"apart"}, "the guest to be off")
    host.wait_for(lambda: last_stop(host)["ended"], "the record to be written")
    host.cut_power()
    marks = {name: mark(host, name) for name in ids}
    host.boot()
    for name in ids:
        _new_boot(host, name, marks[name])
    assert running(host) == set(ids)


def _new_boot(machine: Machine, name: str, since: int) -> str:
    """Wait until a guest has booted since a mark. Returns the id of that boot."""
    machine.wait_for(lambda: serial(machine, name, since).booted, f"{name} to be up again")
    return serial(machine, name, since).booted[-1]


def on_terminal(
    machine: Machine, command: str, talk: list[tuple[str, str]], seconds: float = PATIENCE
) -> tuple[int, str]:
    """Run a command inside on a terminal; type each answer when its text has shown up. Returns exit code and output."""
    terminal, inner = pty.openpty()
    signals = ["env", "--default-signal=INT"]  # what runs the tests in the background may have it ignored
    argv = [*machine.entering(), "setsid", "--ctty", "--wait", *signals, "sh", "-c", f"exec {command}"]
    process = subprocess.Popen(argv, stdin=inner, stdout=inner, stderr=inner, env={**INSIDE, "TERM": "xterm"})
    os.close(inner)
    said, end = "", time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            if talk and talk[0][0] in said:
                os.write(terminal, talk.pop(0)[1].encode())
            if select.select([terminal], [], [], 0.1)[0]:
                data = b""
                with suppress(OSError):  # EIO: the last one that had the terminal has ended
                    data = os.read(terminal, 65536)
                if not data:
                    break
                said += data.decode(errors="replace")
        return process.wait(max(end - time.monotonic(), 5)), said
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(terminal)
