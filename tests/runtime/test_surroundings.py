"""Where stopvm is started: closed and stuck streams, inherited signals, limits, and files that are none.

Each is met in the wild by a script of a UPS or by a supervisor. Guests are stopped all the same.
"""

import fcntl
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lvg.stopvm import ending, history, hostdown, lastboot, order, plainfile, policy, powercut
from lvg.stopvm.history import History, Record
from lvg.stopvm.notify import Notifier
from lvg.stopvm.report import Report

PROGRAM = Path(__file__).parents[2] / "bin" / "stopvm"
DOMAIN = "<domain type='test'><name>{}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
SECONDS = 60  # until something hangs


@pytest.fixture
def host(tmp_path):
    """Return a maker of command lines of stopvm, on a host with two guests."""
    pytest.importorskip("libvirt")
    (tmp_path / "host.xml").write_text(f"<node>{''.join(map(DOMAIN.format, 'ab'))}</node>")

    class Host:
        state = tmp_path / "state"
        policy = tmp_path / "policy.json"

        def words(self, *verb, **rules):
            self.put({"schema": 1, "uris": [f"test://{tmp_path}/host.xml"], **rules})
            return [str(PROGRAM), *verb, "--policy", str(self.policy), "--state", str(self.state)]

        def put(self, data):
            self.policy.write_text(data if isinstance(data, str) else json.dumps(data))
            self.policy.chmod(0o600)

        def verdicts(self):
            record = json.loads(max(self.state.glob("history/*.json")).read_text())
            return {guest["name"]: guest["verdict"] for guest in record["guests"]}

    return Host()


CLEAN = {"a": "clean", "b": "clean"}


# -- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"])
def test_guests_are_stopped_although_nobody_can_be_told(host, closed):
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", *host.words("stop", "--now")]
    assert subprocess.run(words, check=False, timeout=SECONDS).returncode == 0
    assert host.verdicts() == CLEAN


def test_no_file_of_ours_gets_the_number_of_a_closed_stream(host):
    note = host.state.with_name("note")
    look = f"readlink /proc/$PPID/fd/0 /proc/$PPID/fd/1 /proc/$PPID/fd/2 >{note}"
    words = ["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh"]
    words += host.words("stop", "--now", before_stop_host=[["sh", "-c", look]])
    subprocess.run(words, check=False, timeout=SECONDS)
    assert note.read_text().split() == ["/dev/null"] * 3


def test_a_reader_that_stands_still_holds_up_no_guest(host):
    read, write = os.pipe()
    os.write(write, b"x" * fcntl.fcntl(write, fcntl.F_GETPIPE_SZ))
    try:
        done = subprocess.run(host.words("stop", "--now"), stderr=write, check=False, timeout=SECONDS)
    finally:
        os.close(read)
        os.close(write)
    assert (done.returncode, host.verdicts()) == (0, CLEAN)


def test_a_reader_that_is_slow_gets_every_line_whole(tmp_path):
    read, write = os.pipe()
    heard = bytearray()

    def listen():
        while part := os.read(read, 100_000):
            heard.extend(part)
            time.sleep(0.001)

    listener = threading.Thread(target=listen)
    listener.start()
    with os.fdopen(write, "w") as stream:
        report = Report(stream, prefix=True)
        report._patience = 60.0
        for number in range(40):
            report.info(f"{number} {'é' * 3000}")
    listener.join(SECONDS)
    os.close(read)
    assert heard.decode().splitlines() == [f"<6>{number} {'é' * 3000}" for number in range(40)]


@pytest.mark.parametrize("words", [["status"], ["status", "--json"]])
def test_an_answer_that_cannot_be_written_is_no_success(host, words):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            host.words(*words), stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=SECONDS
        )
    assert (done.returncode, done.stderr) == (1, "stopvm: the answer cannot be written: No space left on device\n")


# -- what is inherited -----------------------------------------------------------------------------------------------


UNBLOCKED = ["grep", "-q", "^SigBlk:\t0*$", "/proc/self/status"]


def inherit(what):
    """Return what a supervisor may leave behind in the process that becomes stopvm."""
    return {
        "SIGCHLD ignored": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        "SIGTERM blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD]),
        "few files": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)),
        "no files": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        "umask": lambda: os.umask(0o777),
        "umask of others": lambda: os.umask(0),
    }[what]


@pytest.mark.parametrize("what", ["SIGCHLD ignored", "SIGTERM blocked", "few files", "umask", "umask of others"])
def test_what_a_supervisor_leaves_behind_changes_nothing(host, what):
    words = host.words("stop", "--now", before_stop_host=[UNBLOCKED], on_hook_failure="skip")
    done = subprocess.run(words, preexec_fn=inherit(what), capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, host.verdicts()) == (0, CLEAN), done.stderr
    assert "exit code" not in done.stderr
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in host.state.rglob("*")}
    assert modes == {0}, "nothing is for others"


def test_without_a_byte_to_write_guests_are_stopped_and_nothing_is_left_half(host):
    words = host.words("stop", "--now")
    done = subprocess.run(
        words, preexec_fn=inherit("no files"), stderr=subprocess.PIPE, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0
    assert "the history cannot be written: [Errno 27] File too large" in done.stderr
    assert list(host.state.glob("history/*")) == []
    assert list(host.state.glob("history/.*")) == []


@pytest.mark.parametrize("seconds", ["9" * 400, "99999999999999999999", "-1", "nan", "١٢٣٤٥٦٧٨٩"])
def test_a_watchdog_that_makes_no_sense_is_none(monkeypatch, seconds):
    monkeypatch.setenv("STOPVM_WATCHDOG", seconds)
    Notifier.from_environment().extend()


# -- the policy ------------------------------------------------------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    """Make a file one that cannot be used."""
    text = path.read_text()
    path.unlink()
    if how in ("fifo", "folder", "socket", "loop"):
        place(path, how)
    elif how == "huge":
        with path.open("wb") as sparse:
            sparse.truncate(10 << 30)
        path.chmod(0o600)
    elif how != "missing":
        path.write_text({"broken": text[:-1], "newer": text.replace('"schema": 1', '"schema": 2')}.get(how, text))
        path.chmod(0o666 if how == "writable" else 0o600)
        if how == "another user's":
            os.chown(path, 65534, 65534)


def place(path: Path, kind: str) -> None:
    """Put what is no regular file at a path."""
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(path))
    else:
        path.symlink_to(path.name)


BAD = ["missing", "broken", "newer", "another user's", "writable", "huge", "fifo", "folder", "socket", "loop"]


@pytest.mark.parametrize("how", BAD)
def test_a_policy_that_cannot_be_used_is_said_loudly_and_guests_are_stopped(host, tmp_path, monkeypatch, how):
    if how == "another user's" and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    words = [*host.words("stop", "--now", action="none"), "--uri", f"test://{tmp_path}/host.xml"]
    monkeypatch.chdir(tmp_path)
    spoil(host.policy, how)
    with (tmp_path / "journal").open("w+") as journal:
        found = os.fstat(journal.fileno())
        stream = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}", "PATH": os.defpath}
        done = subprocess.run(words, stderr=journal, env=stream, check=False, timeout=SECONDS)
        journal.seek(0)
        first = journal.readline()
    assert first.startswith(f"<3>{host.policy} cannot be used: ")
    assert first.endswith("The built-in safe policy stops the guests.\n")
    assert (done.returncode, host.verdicts()) == (0, CLEAN)
    record = json.loads(max(host.state.glob("history/*.json")).read_text())
    assert record["complaints"] == [first[3:-1]]
    assert record["profile"] == "(built in)"


@pytest.mark.parametrize(
    "uri", ["test:///default\0x", "\ud800", "", "-oProxyCommand=x", "qemu+ssh://-oProxyCommand=x/"]
)
def test_a_uri_that_is_none_keeps_no_other_guest_up(host, tmp_path, uri):
    words = host.words("stop", "--now")
    host.put({"schema": 1, "uris": [uri, f"test://{tmp_path}/host.xml"]})
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, host.verdicts()) == (3, CLEAN), done.stderr
    assert "out of reach" in done.stderr


NUMBERS = '{"schema": 1, "timeout": 1e400, "budget": NaN, "resend": -Infinity, "hook_timeout": %s, "parallel": -0}'


def test_numbers_that_are_none(tmp_path):
    (tmp_path / "policy.json").write_text(NUMBERS % ("1" + "0" * 30))
    (tmp_path / "policy.json").chmod(0o600)
    found = policy.load(tmp_path / "policy.json")
    assert len(found.complaints) == 4
    assert (found.base, found.budget, found.parallel) == (policy.Policy().base, 1200, 0)


# -- what lies where a file of ours, or of libvirt's, should be --------------------------------------------------------

READERS = {
    "history": ("history/00000009-x.json", lambda root: History(root).latest()),
    "history since": ("history/00000009-x.json", lambda root: History(root).since("")),
    "boot": ("boot.json", lambda root: lastboot.noted(root, root / "none")),
    "image": ("var/lib/libvirt/qemu/save/g.save", lambda root: ending.left_behind("g", True, root)),
    "log": ("var/log/libvirt/qemu/g.log", lambda root: ending.left_behind("g", False, root)),
    "own log": ("var/log/libvirt/qemu/g.log", lambda root: powercut.read_log("g", root)),
    "definition": ("etc/libvirt/qemu/g.xml", lambda root: powercut.defined_uuid("g", root)),
    "libvirt.conf": ("etc/libvirt/libvirt.conf", lambda root: not hostdown.is_local_qemu("default", root)),
}


@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "loop"])
@pytest.mark.parametrize("name", READERS)
def test_nothing_is_read_that_is_no_file(tmp_path, monkeypatch, name, kind):
    where, read = READERS[name]
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir((tmp_path / where).parent)
    place(tmp_path / where, kind)
    assert read(tmp_path) in (None, "", b"", True)


def test_a_record_of_a_gigabyte_is_passed_over(tmp_path, monkeypatch):
    store = History(tmp_path)
    store.write(store.new(), Record(profile="older").as_json())
    with store.new().open("wb") as sparse:
        sparse.truncate(1 << 30)
    found = store.latest()
    assert found
    assert found[1].profile == "older"
    assert "more than" in store.complaints[0]


def test_a_file_is_read_to_its_end_and_no_further(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert (plainfile.text(path), plainfile.text(path, 10), plainfile.tail(path, 3)) == (*["0123456789"] * 2, b"789")
    with pytest.raises(OSError, match="more than 9 bytes"):
        plainfile.text(path, 9)


# -- the folder of the records -----------------------------------------------------------------------------------------


def test_what_killed_runs_left_goes_with_the_records_of_their_time(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "KEEP", 2)
    store = History(tmp_path)
    folder = tmp_path / "history"
    folder.mkdir()
    for number in (1, 4):
        (folder / f".0000000{number}-20260101T000000Z.json.99").write_text("half")
    for _ in range(4):
        store.write(store.new(), Record().as_json())
    assert len(list(folder.glob("0*.json"))) == 2
    assert [path.name[:9] for path in folder.glob(".*")] == [".00000004"]


def test_a_record_that_cannot_be_dropped_is_no_reason_to_say_that_none_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "KEEP", 1)
    (tmp_path / "history/00000001-x.json").mkdir(parents=True)
    store = History(tmp_path)
    store.write(store.new(), Record(profile="new").as_json())
    found = store.latest()
    assert found
    assert found[1].profile == "new"


# -- many rules, many guests -------------------------------------------------------------------------------------------


def test_needs_by_globs_that_match_everybody_take_no_time(play, act):
    names, begun = [f"g{number:03}" for number in range(200)], time.process_time()
    after, wrong = order.dependants(names, dict.fromkeys(names, ("*",)))
    assert sorted(order.waves(after).values()) == list(range(200)), "the order is as good as any"
    assert time.process_time() - begun < 5
    assert len(wrong) == 11
    assert wrong[-1] == f"needs: {200 * 199 // 2 - 10} more close a circle and are ignored"
    played = play({name: act() for name in names[:9]}, {"guests": [{"match": "*", "needs": ["*"]}]})
    assert set(played.verdicts.values()) == {"clean"}


@pytest.mark.parametrize(
    ("match", "name", "matches"),
    [("a.b", "a.b", True), ("a.b", "axb", False), ("a[b]", "ab", True), ("a[b]", "a[b]", False), ("A", "a", False)],
)
def test_a_name_without_wildcards_is_that_name_alone(match, name, matches):
    rules = policy.compile_policy({"guests": [{"match": match, "timeout": 1}]})
    assert (rules.for_guest(name).timeout == 1) == matches


def test_a_rule_for_every_guest_holds_for_every_guest(play, act, tmp_path):
    note = tmp_path / "note"
    rule = {"match": "*", "before_stop_host": [["sh", "-c", f'echo "$LVG_GUEST_NAME" >>{note}']]}
    acts = {"running": act(), "paused": act(facts={"state": "paused"}), "asleep": act(facts={"state": "pmsuspended"})}
    acts |= {"crashed": act(facts={"state": "crashed"}), "brief": act(facts={"persistent": False})}
    play(acts, {"guests": [rule], "on_timeout": ["destroy"]})
    assert sorted(note.read_text().split()) == sorted(acts)
