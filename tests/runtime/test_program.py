"""The program as it is run, with libvirt's test driver behind it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

pytest.importorskip("libvirt")
PROGRAM = Path(__file__).parents[2] / "bin" / "stopvm"
DOMAIN = """<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{}</name>
<uuid>{}</uuid><memory>1024</memory><os><type>hvm</type></os><test:runstate>{}</test:runstate></domain>"""
RUNNING, PAUSED, OFF = 1, 3, 5


def domain(name, state):
    return DOMAIN.format(name, uuid.uuid5(uuid.NAMESPACE_DNS, name), state)


@pytest.fixture
def host(tmp_path):
    """Return a function that runs stopvm on a host of test guests."""
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(f"#!/bin/sh\ncat {tmp_path}/system-state\n")
    systemctl.chmod(0o755)

    class Host:
        state = tmp_path / "state"

        def command(self, verb, *args, guests=None, rules=None):
            guests = {f"g{n}": RUNNING for n in range(3)} if guests is None else guests
            xml = tmp_path / "host.xml"
            xml.write_text(f"<node>{''.join(domain(*item) for item in guests.items())}</node>")
            policy = tmp_path / "policy.json"
            policy.write_text(json.dumps({"schema": 1, "profile": "test", "uris": [f"test://{xml}"], **(rules or {})}))
            policy.chmod(0o600)
            return [str(PROGRAM), verb, *args, "--policy", str(policy), "--state", str(self.state)]

        def environment(self, **more):
            return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", **more}

        def run(self, verb, *args, guests=None, rules=None, system="running", **environment):
            (tmp_path / "system-state").write_text(system)
            command = self.command(verb, *args, guests=guests, rules=rules)
            done = subprocess.run(
                command, capture_output=True, text=True, env=self.environment(**environment), check=False, timeout=60
            )
            assert "Traceback" not in done.stderr
            return done

        def record(self):
            return json.loads(sorted(self.state.glob("history/*.json"))[-1].read_text())

    return Host()


def test_stops_all_guests_in_a_shutdown(host):
    done = host.run("stop", guests={f"g{n}": RUNNING for n in range(20)}, system="stopping")
    assert done.returncode == 0, done.stderr
    record = host.record()
    assert (record["kind"], record["exit_code"], record["profile"]) == ("shutdown", 0, "test")
    assert {guest["verdict"] for guest in record["guests"]} == {"clean"}
    assert len(record["guests"]) == 20


def test_leaves_guests_alone_at_any_other_time(host):
    done = host.run("stop")
    assert done.returncode == 0
    assert "not going down" in done.stderr
    assert "graceful-shutdown.service is stopped" in done.stderr
    assert not host.state.exists()


def test_now_needs_no_shutdown(host):
    assert host.run("stop", "--now").returncode == 0
    assert host.record()["kind"] == "now"


def test_a_paused_guest_is_saved_and_one_that_is_off_is_not_touched(host):
    assert host.run("stop", "--now", guests={"on": RUNNING, "paused": PAUSED, "off": OFF}).returncode == 0
    assert {guest["name"]: guest["verdict"] for guest in host.record()["guests"]} == {"on": "clean", "paused": "saved"}


def test_no_guest_at_all(host):
    assert host.run("stop", "--now", guests={}).returncode == 0
    assert host.record()["guests"] == []


def test_a_broken_policy_stops_guests_all_the_same(host, tmp_path):
    command = host.command("stop", "--now", "--uri", "test:///default")
    (tmp_path / "policy.json").write_text("{")
    done = subprocess.run(command, capture_output=True, text=True, env=host.environment(), check=False, timeout=60)
    assert done.returncode == 0
    assert "built-in safe policy" in done.stderr
    assert [guest["verdict"] for guest in host.record()["guests"]] == ["clean"]


def test_dry_run_asks_nothing(host):
    done = host.run("stop", "--now", "--dry-run", rules={"guests": [{"match": "g1", "action": "none"}]})
    assert done.returncode == 0
    assert "g0: ask by acpi within 240 s" in done.stderr
    assert "g1: leave to libvirt-guests" in done.stderr
    assert not host.state.exists()


def test_out_of_reach(host):
    done = host.run("stop", "--now", "--uri", "test:///nonexistent.xml", "--uri", "test:///default")
    assert done.returncode == 3
    assert "out of reach" in done.stderr
    assert [guest["verdict"] for guest in host.record()["guests"]] == ["clean"]


def test_restore_brings_back_what_ran_once(host):
    host.run("stop", system="stopping")
    off = {f"g{n}": OFF for n in range(4)}
    done = host.run("restore", guests=off, rules={"boot": "restore"})
    assert done.returncode == 0
    assert {guest["name"]: guest["restored"] for guest in host.record()["guests"]} == dict.fromkeys(
        ["g0", "g1", "g2"], "started"
    )
    assert "nothing to bring back" in host.run("restore", guests=off, rules={"boot": "restore"}).stderr


def test_restore_does_nothing_if_the_policy_does_not_say_so(host):
    host.run("stop", system="stopping")
    done = host.run("restore", guests={"g0": OFF}, rules={"boot": "ignore"})
    assert done.returncode == 0
    assert host.record()["guests"][0]["restored"] == ""
    assert host.record()["restored"]


def test_guests_stopped_by_hand_stay_down_until_a_boot(host):
    host.run("stop", "--now")
    off = {f"g{n}": OFF for n in range(3)}
    assert "stopped by hand" in host.run("restore", guests=off, rules={"boot": "restore"}).stderr
    host.run("stop", guests={"other": RUNNING}, system="stopping")
    host.run("restore", guests={**off, "other": OFF}, rules={"boot": "restore"})
    record = host.record()
    assert {guest["name"]: guest["restored"] for guest in [*record["guests"], *record["carried"]]} == dict.fromkeys(
        ["other", "g0", "g1", "g2"], "started"
    )


def test_sigterm_writes_down_what_is_known_and_ends_at_once(host):
    command = host.command("stop", "--now", rules={"guests": [{"match": "g0", "before_stop_host": [["sleep", "600"]]}]})
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=host.environment()) as process:
        assert process.stderr
        while "g2" not in process.stderr.readline():  # the others are down
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 2
    verdicts = {guest["name"]: guest["verdict"] for guest in host.record()["guests"]}
    assert verdicts["g2"] == "clean"
    assert verdicts["g0"] == ""
    assert host.record()["ended"] == ""


def test_asks_systemd_for_time_and_tells_its_state(host, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        out = tmp_path / "environment"
        rules = {"before_stop_host": [["sh", "-c", f"env > {out}"]]}
        host.run("stop", "--now", rules=rules, NOTIFY_SOCKET=str(tmp_path / "notify"))
        heard = {listener.recv(4096).decode() for _ in range(3)}
    assert "EXTEND_TIMEOUT_USEC=10000000" in heard
    assert any(text.startswith("STATUS=") for text in heard)
    assert "NOTIFY_SOCKET" not in out.read_text()


def test_lines_for_the_journal_have_a_priority(host, tmp_path):
    with (tmp_path / "journal").open("w") as journal:
        found = os.fstat(journal.fileno())
        subprocess.run(
            host.command("stop", "--now"),
            stderr=journal,
            env=host.environment(JOURNAL_STREAM=f"{found.st_dev}:{found.st_ino}"),
            check=True,
            timeout=60,
        )
    assert "<6>g0: clean" in (tmp_path / "journal").read_text()


def test_status(host):
    assert "none recorded" in host.run("status").stdout
    host.run("stop", "--now")
    assert "g1  clean" in host.run("status").stdout
    document = json.loads(host.run("status", "--json").stdout)
    assert document["schema"] == 1
    assert document["last_stop"]["guests"][0]["verdict"] == "clean"


@pytest.mark.parametrize(("args", "code"), [([], 2), (["fly"], 2), (["stop", "--what"], 2), (["--version"], 0)])
def test_usage(args, code):
    done = subprocess.run([str(PROGRAM), *args], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code
    assert done.stdout if code == 0 else done.stderr


def test_start_up_imports_nothing_slow():
    slow = "{'asyncio', 'libvirt', 'subprocess'} & set(sys.modules)"
    path = str(PROGRAM.parents[1] / "installer")
    code = f"import sys; sys.path.insert(0, {path!r}); import lvg.stopvm.__main__; print({slow})"
    assert subprocess.run([sys.executable, "-Ic", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_call_that_never_returns_holds_up_nothing(calls):
    never = threading.Event()

    async def run():
        pool = calls(slots=2)
        stuck = [pool.run(0.1, never.wait) for _ in range(4)]
        return await asyncio.gather(*stuck, pool.run(5, lambda: "well"), return_exceptions=True)

    results = asyncio.run(run())
    never.set()
    assert results[-1] == "well"
    assert {type(result).__name__ for result in results[:-1]} == {"CallTimeoutError"}
