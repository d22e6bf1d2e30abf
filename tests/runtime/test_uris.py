"""Several URIs: one that answers late, or never, holds up the guests of no other; and what "default" means."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from lvg.stopvm.session import Events

PROGRAM = Path(__file__).parents[2] / "bin" / "stopvm"
DOMAIN = """<node><domain type='test'><name>{}</name><uuid>{}</uuid><memory>1024</memory>
<os><type>hvm</type></os></domain></node>"""
LATE = "late:///"


@pytest.fixture
def watching(fake):
    """Return a session class that calls `watch(name)` with each request."""

    class Watching(fake):
        watch = None

        def _request(self, guest, what):
            if self.watch:
                self.watch(guest.name)
            return super()._request(guest, what)

    return Watching


@pytest.fixture
def late(watching, act):
    """Return a function that makes a session which answers only when `when` is true."""

    def late(*names, when=None, **acts):
        acts = {**{name: act() for name in names}, **acts}
        return watching(acts, LATE, LATE, late=(lambda: not when()) if when else None)

    return late


def test_guests_do_not_wait_for_a_uri_that_is_late(play, act, late):
    early = []
    other = late("slow1", "slow2", when=lambda: early and not early[0].up)
    played = play(
        {"g1": act(), "g2": act()}, also=(other,), patience=0.05, ends=lambda session, name: _end(early, session, name)
    )
    assert played.verdicts == dict.fromkeys(["g1", "g2", "slow1", "slow2"], "clean")
    assert played.code == 0
    assert "asking 2 guests: g1, g2" in played.said
    assert "asking 2 guests: slow1, slow2" in played.said


def test_nothing_is_on_record_before_anybody_has_answered(play, act, tmp_path):
    seen = []

    def late():
        seen.append(list(tmp_path.glob("history/*.json")))
        return len(seen) < 3

    assert play({"g": act()}, late=late, patience=0.0).code == 0
    assert seen == [[]] * 3, "a record without guests would say that none ran"


def _end(seen, session, name):
    session.end(name, "clean")
    seen[:] = [session]


def test_those_that_answer_in_time_are_one_round_and_share_their_order(play, act, late):
    other = late("nas")
    other.watch = lambda _: asked.append(set(played_up))
    asked, played_up = [], {"web"}
    played = play(
        {"web": act()},
        {"guests": [{"match": "web", "needs": ["nas"]}]},
        also=(other,),
        ends=lambda session, name: (session.end(name, "clean"), played_up.discard(name)),
    )
    assert played.code == 0
    assert asked == [set()], "nas is asked when web is down"


def test_a_late_guest_is_on_record_before_it_is_asked(play, tmp_path, act, late):
    other, records = late("slow", when=lambda: list(tmp_path.glob("history/*.json"))), []

    def watch(_):
        path = sorted(tmp_path.glob("history/*.json"))[-1]
        records.append([guest["name"] for guest in json.loads(path.read_text())["guests"]])

    other.watch = watch
    assert play({"g": act()}, also=(other,), patience=0.05).code == 0
    assert records == [["g", "slow"]]


def test_a_late_guest_waits_for_an_early_one_that_needs_it(play, act, late):
    pressed, down = [], []
    other = late("nas", when=lambda: pressed)
    other.watch = lambda _: down.append(bool(ended))
    ended = []

    def ends(session, name):
        ended.append(name)
        session.end(name, "clean")

    early = {"web": act(presses=3)}
    rules = {"guests": [{"match": "web", "needs": ["nas"]}], "resend": 0.1}
    played = play(early, rules, also=(other,), patience=0.0, ends=ends, log=_Log(pressed))
    assert played.code == 0, played.said
    assert down == [True]
    assert "still runs and needs it" not in played.said


class _Log(list):
    """Notes the first request."""

    def __init__(self, pressed):
        super().__init__()
        self._pressed = pressed

    def append(self, item):
        self._pressed.append(item)
        super().append(item)


def test_a_late_guest_that_needs_what_was_asked_before_is_warned_of(play, act, late):
    other = late("web", when=lambda: asked)
    asked = []
    played = play(
        {"db": act()},
        {"guests": [{"match": "web", "needs": ["db"]}]},
        also=(other,),
        patience=0.0,
        log=_Log(asked),
    )
    assert played.code == 0
    assert "web needs db, which was asked before libvirt told of web" in played.said


def test_no_more_at_once_than_the_policy_says_also_with_late_ones(play, act, late):
    asked, busy = [], []
    other = late("slow", when=lambda: asked)
    other.watch = lambda _: busy.append(not ended)
    ended = []

    def ends(session, name):
        ended.append(name)
        session.end(name, "clean")

    rules = {"parallel": 1, "resend": 0.1}
    played = play({"g": act(presses=3)}, rules, also=(other,), patience=0.0, ends=ends, log=_Log(asked))
    assert played.code == 0
    assert busy == [False]


def test_a_late_guest_that_ends_before_it_is_known_is_not_asked(play, act, late, watching):
    other = late("slow", when=lambda: asked)
    asked, running = [], other.running

    async def ends_meanwhile():
        facts = await running()
        other.end("slow", "clean")
        return facts

    other.running = ends_meanwhile
    played = play({"g": act()}, also=(other,), patience=0.0, log=_Log(asked))
    assert played.verdicts == {"g": "clean", "slow": "clean"}
    assert other.log == []


def test_a_late_uri_that_is_out_of_reach_is_said_and_counts(play, act, late):
    other = late("slow", when=lambda: asked)
    asked, other.unreachable = [], "Connection refused"
    played = play({"g": act()}, also=(other,), patience=0.0, log=_Log(asked))
    assert played.code == 3
    assert played.verdicts == {"g": "clean"}
    assert "Connection refused" in played.said


def test_what_was_stopped_by_hand_is_carried_also_when_a_uri_is_late(play, act, late):
    play({"g": act(), "mail": act()})
    asked = []
    played = play({"g": act()}, also=(late("slow", when=lambda: asked),), patience=0.0, log=_Log(asked))
    assert [entry["name"] for entry in played.record["carried"]] == ["mail"]
    assert played.verdicts == {"g": "clean", "slow": "clean"}


@pytest.fixture
def folder():
    """Return a folder that every user can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def stop(folder):
    """Return a function that runs `stopvm stop --now`, a new record each time, and returns names, code and output."""
    pytest.importorskip("libvirt")

    def stop(*uris, before="", user=None, **environment):
        state = folder / f"state-{uuid.uuid4()}"
        command = [str(PROGRAM), "stop", "--now", "--state", str(state), "--policy", str(folder / "none")]
        command += [word for uri in uris for word in ("--uri", uri)]
        if before:
            code = f"import sys; sys.path.insert(0, {str(PROGRAM.parents[1] / 'installer')!r}); {before}; "
            code += f"sys.argv = {command!r}; from lvg.stopvm.__main__ import main; main()"
            command = [sys.executable, "-Ic", code]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, env=environment, user=user
        )
        record = json.loads(next(state.glob("history/*.json")).read_text())
        return [guest["name"] for guest in record["guests"]], done.returncode, done.stderr

    def host(name):
        (folder / f"{name}.xml").write_text(DOMAIN.format(name, uuid.uuid4()))
        return f"test://{folder}/{name}.xml"

    stop.host = host
    return stop


def test_several_uris(stop):
    names, code, _ = stop(*map(stop.host, "abc"))
    assert (sorted(names), code) == (["a", "b", "c"], 0)


def test_a_remote_host_that_never_answers(stop):
    """It takes the connection and is silent: libvirt itself would wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        remote = f"qemu+tcp://127.0.0.1:{mute.getsockname()[1]}/system"
        shorter = "from lvg.stopvm import libvirtsession; libvirtsession._QUICK = 4.0"
        names, code, said = stop(stop.host("a"), remote, before=shorter)
    assert (names, code) == (["a"], 3)
    assert f"libvirt at {remote} is out of reach: no answer from libvirt within 4 s" in said


def test_default_is_what_it_is_for_virsh(stop):
    own, libvirts = stop.host("virsh"), stop.host("libvirt")
    both = {"VIRSH_DEFAULT_CONNECT_URI": own, "LIBVIRT_DEFAULT_URI": libvirts}
    assert stop("default", **both)[0] == ["virsh"]
    assert stop("default", LIBVIRT_DEFAULT_URI=libvirts)[0] == ["libvirt"]
    assert stop(libvirts, **both)[0] == ["libvirt"]


def test_default_in_libvirt_conf(stop, folder):
    """Root's is /etc/libvirt/libvirt.conf; another user's can be tried here."""
    (folder / "libvirt").mkdir()
    (folder / "libvirt/libvirt.conf").write_text(f'uri_default = "{stop.host("conf")}"\n')
    user = 65534 if os.geteuid() == 0 else None
    names, code, said = stop("default", user=user, XDG_CONFIG_HOME=str(folder), HOME=str(folder))
    assert (names, code) == (["conf"], 0), said


def test_guests_of_a_driver_that_saves_none_are_started(monkeypatch, calls):
    """LXC's: it does not even know the question whether there is a saved image."""
    libvirt = pytest.importorskip("libvirt")

    def unknown(*_):
        raise libvirt.libvirtError("this function is not supported by the connection driver")

    monkeypatch.setattr(libvirt.virDomain, "hasManagedSaveImage", unknown)
    from lvg.stopvm.libvirtsession import LibvirtSession  # noqa: PLC0415  # needs libvirt

    async def stop_and_start():
        session = LibvirtSession("test:///default", calls())
        await session.open(Events(lambda *_: None, lambda _: None))
        guest = (await session.running())[0]
        await session.ask(guest, "acpi")
        return await session.start(guest, paused=False, bypass_cache=False)

    assert asyncio.run(stop_and_start()) == "started"
