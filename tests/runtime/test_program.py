"""The program as it is run, with libvirt's test driver behind it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from argparse import Namespace
from pathlib import Path

import pytest

from lvg.stopvm import policy, verbs
from lvg.stopvm.history import Record

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
    assert "graceful-shutdown is stopped" in done.stderr
    assert "`systemctl start graceful-shutdown.service`" in done.stderr
    assert not host.state.exists()


def test_now_needs_no_shutdown(host):
    assert host.run("stop", "--now").returncode == 0
    assert host.record()["kind"] == "now"


def test_a_paused_guest_is_saved_and_one_that_is_off_is_not_touched(host):
    assert host.run("stop", "--now", guests={"on": RUNNING, "paused": PAUSED, "off": OFF}).returncode == 0
    assert {guest["name"]: guest["verdict"] for guest in host.record()["guests"]} == {"on": "clean", "paused": "saved"}


def test_every_state_that_libvirt_knows_has_its_way(host):
    """Its test driver puts guests into each of them; it cannot wake one that sleeps."""
    states = {"running": 1, "blocked": 2, "paused": 3, "going-down": 4, "off": 5, "crashed": 6, "asleep": 7}
    rules = {"timeout": 30, "on_timeout": ["save", "leave"], "guests": [{"match": "going-down", "timeout": 1}]}
    done = host.run("stop", "--now", guests=states, rules=rules)
    assert done.returncode == 1
    found = {guest["name"]: (guest["state"], guest["verdict"]) for guest in host.record()["guests"]}
    assert found == {
        "running": ("running", "clean"),
        "blocked": ("running", "clean"),
        "paused": ("paused", "saved"),
        "going-down": ("shutdown", "saved"),
        "crashed": ("crashed", "saved"),
        "asleep": ("pmsuspended", "saved"),
    }
    for said in ("1 guest has crashed: crashed", "going-down: did not end in 1 s: saving it", "asleep: wake: "):
        assert said in done.stderr, "none is passed over without a word"


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
    done = host.run("stop", "--dry-run", rules={"guests": [{"match": "g1", "action": "none"}]})
    assert done.returncode == 0
    assert "g0: ask by acpi within 240 s" in done.stderr
    assert "g1: left to libvirt-guests" in done.stderr
    assert not host.state.exists()


@pytest.mark.parametrize(("net", "verdict"), [("shutdown", "clean"), ("suspend", "saved"), ("Shutdown", "saved")])
def test_by_hand_nothing_is_left_to_libvirt_guests(host, net, verdict):
    rules = {"action": "none", "net": {"on_shutdown": net}, "guests": [{"match": "g1", "action": "none"}]}
    done = host.run("stop", "--now", rules=rules)
    assert done.returncode == 0
    assert {guest["verdict"] for guest in host.record()["guests"]} == {verdict}
    last = "stopvm: all guests are down" + (", 3 of them saved" if verdict == "saved" else "")
    assert done.stderr.splitlines()[-1] == last


def test_in_a_shutdown_action_none_leaves_them_and_says_so(host):
    done = host.run("stop", rules={"action": "none"}, system="stopping")
    assert done.returncode == 0
    assert {guest["verdict"] for guest in host.record()["guests"]} == {"left"}
    assert done.stderr.splitlines()[-1] == "stopvm: 3 guests are left to libvirt-guests, as the policy says"


@pytest.mark.parametrize("args", [["stop", "--now"], ["stop", "--dry-run"]])
def test_without_libvirts_module(host, args):
    path, command = str(PROGRAM.parents[1] / "installer"), host.command(*args)
    code = f"import sys; sys.path.insert(0, {path!r}); sys.modules['libvirt'] = None; sys.argv = {command!r}; "
    code += "from lvg.stopvm.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-Ic", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    said = "stopvm: Python's libvirt module is missing: install python3-libvirt (Arch: libvirt-python)"
    assert done.stderr.splitlines()[0] == said
    assert "stopvm: " not in done.stderr.splitlines()
    assert not host.state.exists() or host.record()["exit_code"] == 3


def as_user(command, folder):
    """Run as a user who may not read `folder`."""
    user = 65534 if os.geteuid() == 0 else None
    folder.mkdir(mode=0)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, user=user)


@pytest.mark.parametrize("verb", [["stop", "--now"], ["restore"], ["status"]])
def test_says_that_it_needs_root(tmp_path, verb):
    done = as_user([str(PROGRAM), *verb, "--state", str(tmp_path / "state")], tmp_path / "state")
    assert (done.returncode, done.stderr) == (2, "stopvm: this needs root\n  Run it with sudo.\n")


def test_a_user_may_stop_guests_of_a_test_driver():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        own = ["--policy", f"{name}/none.json", "--state", f"{name}/state", "--uri", "test:///default"]
        done = as_user([str(PROGRAM), "stop", "--now", *own], Path(name, "locked"))
        assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "stopvm: all guests are down")


def test_a_policy_that_only_root_may_read_is_not_replaced_by_the_built_in_one(tmp_path, monkeypatch):
    monkeypatch.setattr(verbs, "_forbidden", lambda path: path == policy.PATH)
    monkeypatch.setattr(verbs.os, "geteuid", lambda: 1000)
    assert verbs.needs_root(Namespace(policy=policy.PATH, state=tmp_path))
    assert not verbs.needs_root(Namespace(policy=tmp_path / "own.json", state=tmp_path))
    monkeypatch.setattr(verbs.os, "geteuid", lambda: 0)
    assert not verbs.needs_root(Namespace(policy=policy.PATH, state=tmp_path))


def test_an_unexpected_failure_has_an_exit_code_of_its_own(tmp_path):
    """Not 1: for systemd that is a stop that went as the policy says."""
    path = str(PROGRAM.parents[1] / "installer")
    code = f"import sys; sys.path.insert(0, {path!r}); sys.argv = ['stopvm', 'status', '--state', {str(tmp_path)!r}]; "
    code += "from lvg.stopvm import __main__, verbs; verbs.status = lambda _: 1 / 0; __main__.main()"
    done = subprocess.run([sys.executable, "-Ic", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (4, "stopvm: failed: ZeroDivisionError('division by zero')\n")


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
        while "g2: clean" not in process.stderr.readline():  # the others are down
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
    assert (
        "policy    action shutdown, timeout 240 s, on_timeout save, leave, budget 1200 s\n" in host.run("status").stdout
    )
    document = json.loads(host.run("status", "--json").stdout)
    assert document["schema"] == 1
    assert (document["policy"]["action"], document["policy"]["on_timeout"]) == ("shutdown", ["save", "leave"])
    assert document["last_stop"]["guests"][0]["verdict"] == "clean"
    host.run("restore", "--now", guests={f"g{n}": OFF for n in range(3)})
    assert "brought back: started" in host.run("status").stdout


def test_status_while_a_stop_is_at_work_and_after_it_was_given_up(host):
    command = host.command("stop", "--now", rules={"guests": [{"match": "g0", "before_stop_host": [["sleep", "600"]]}]})
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=host.environment()) as process:
        assert process.stderr
        while "g2: clean" not in process.stderr.readline():
            assert process.poll() is None
        said = host.run("status").stdout
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert "still at work" in said
    assert "g0  not yet" in said
    assert "never came to an end" in host.run("status").stdout


@pytest.mark.parametrize("boot", ["", "another"])
def test_a_stop_of_another_boot_is_not_at_work(boot):
    assert not Record(boot_id=boot).at_work(boot and "this")
    assert Record(boot_id="this").at_work("this")


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
