"""How a guest ended when libvirt went before it could tell: never clean without a reason to say so."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvg.stopvm.ending import Ending, left_behind

START = "2026-01-01 10:00:00.000+0000: starting up libvirt version: 11.3.0\n"
END = "2026-01-02 10:00:00.000+0000: shutting down, reason={}\n"
SIGNAL = "2026-01-02T10:00:00.000000Z qemu-system-x86_64: terminating on signal 15 from pid 108 (/usr/sbin/libvirtd)\n"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    for folder in ("run/libvirt/qemu", "var/log/libvirt/qemu", "var/lib/libvirt/qemu/save"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def qemu(host: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    (host / "run/libvirt/qemu/g.pid").write_text(f"{process.pid}\n")
    log(host, START)
    yield process
    process.kill()
    process.wait()


def log(host: Path, text: str) -> None:
    with (host / "var/log/libvirt/qemu/g.log").open("a") as file:
        file.write(text)


def image(host: Path, begins: bytes) -> None:
    (host / "var/lib/libvirt/qemu/save/g.save").write_bytes(begins + b"\0" * 100)


@pytest.mark.parametrize(
    ("news", "how"),
    [
        (["stopped:clean"], "clean"),
        (["stopped:lost", "stopped:clean"], "lost"),
        (["finished", "stopped:clean"], "clean"),
        (["finished", "stopped:destroyed"], "clean"),
        (["stopped:destroyed"], "destroyed"),
        (["finished", "resumed", "stopped:destroyed"], "destroyed"),
        (["killed", "stopped:clean"], "destroyed"),
        (["killed", "resumed", "stopped:clean"], "clean"),
        (["finished"], "clean"),
        (["finished", "resumed"], "lost"),
        (["killed"], "lost"),
        (["crashed", "stopped:lost"], "lost"),
        (["crashed", "resumed", "finished", "stopped:destroyed"], "clean"),
        ([], "lost"),
    ],
)
def test_what_libvirt_told(news, how):
    ending = Ending()
    for what in news:
        ending.hear(what)
    ending.judge("")
    assert ending.how == how


@pytest.mark.parametrize(
    ("before", "said", "how"),
    [
        ("", "clean", "clean"),
        ("", "lost", "lost"),
        ("finished", "lost", "clean"),  # libvirtd came back, found no QEMU and called it crashed
        ("finished", "saved", "saved"),
        ("killed", "clean", "destroyed"),
    ],
)
def test_what_libvirt_says_later(before, said, how):
    ending = Ending()
    ending.hear(before)
    ending.judge(said)
    assert ending.how == how


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (START + SIGNAL + END.format("shutdown"), "clean"),
        (START + END.format("crashed"), "lost"),
        (START + END.format("destroyed"), "destroyed"),
        (START + END.format("saved"), "saved"),
        (START + END.format("migrated"), "moved"),
        (START + END.format("something new"), ""),
        (START + END.format("shutdown") + START + SIGNAL, ""),  # of an earlier run
        (START + SIGNAL, ""),
        (END.format("shutdown") + "noise\n" * 20000, ""),
        (START + "noise\n" * 20000 + END.format("shutdown"), "clean"),
        ("said: " + END.format("shutdown"), ""),
        ("", ""),
    ],
)
def test_the_log(host, text, how):
    log(host, text)
    assert left_behind("g", False, host) == how


def test_no_log_and_no_image(host):
    assert left_behind("g", True, host) == ""


@pytest.mark.parametrize(
    ("begins", "asked", "how"),
    [
        (b"LibvirtQemudSave", True, "saved"),
        (b"LibvirtQemudPart", True, ""),  # cut off
        (b"", True, ""),
        (b"LibvirtQemudSave", False, ""),  # not of this stop
    ],
)
def test_the_saved_image(host, begins, asked, how):
    image(host, begins)
    assert left_behind("g", asked, host) == how


# -- a whole stop whose last news never comes -----------------------------------------------------------------------

PATIENT = {"timeout": 8, "budget": 10, "resend": 0}


def gone_with(qemu, *before):
    """The guest ends and takes the connection along; `before` is done first."""

    def ends(session, name):
        for act in before:
            act(session)
        qemu.kill()
        qemu.wait()
        session.lose()

    return ends


def test_a_guest_that_said_it_is_done_is_clean(play, act, host, qemu):
    ends = gone_with(qemu, lambda session: session.tell("g", "finished"))
    played = play({"g": act()}, PATIENT, root=host, ends=ends)
    assert (played.verdicts, played.code) == ({"g": "clean"}, 0)
    assert played.record["guests"][0]["seconds"] < 5, "nobody waits for its deadline"
    assert "lost" not in played.said


def test_its_last_word_may_come_after_the_end_of_the_connection(play, act, host, qemu):
    def ends(session, name):
        gone_with(qemu)(session, name)
        session.tell("g", "finished")

    assert play({"g": act()}, PATIENT, root=host, ends=ends).verdicts == {"g": "clean"}


def test_a_killed_guest_is_never_clean(play, act, host, qemu):
    played = play({"g": act()}, PATIENT, root=host, ends=gone_with(qemu))
    assert (played.verdicts, played.code) == ({"g": "lost"}, 2)
    assert "no sign that the guest shut down" in played.details


def test_a_killed_guest_is_not_clean_because_libvirtd_tidied_up(play, act, host, qemu):
    def tidy_up(_):
        (host / "run/libvirt/qemu/g.pid").unlink()
        log(host, END.format("crashed"))

    played = play({"g": act()}, PATIENT, root=host, ends=gone_with(qemu, tidy_up))
    assert (played.verdicts, played.code) == ({"g": "lost"}, 2)


def test_the_guests_log_is_believed(play, act, host, qemu):
    ends = gone_with(qemu, lambda _: log(host, END.format("shutdown")))
    played = play({"g": act()}, PATIENT, root=host, ends=ends)
    assert (played.verdicts, played.code) == ({"g": "clean"}, 0)


def test_a_guest_that_is_still_up_is_not_judged(play, act, host, qemu, monkeypatch):
    monkeypatch.setattr("lvg.stopvm.guest._PUT_AWAY_AFTER", 0.2)

    def ends(session, name):
        session.tell("g", "finished")
        session.lose()

    played = play({"g": act()}, {"timeout": 0.3, "resend": 0}, root=host, ends=ends)
    assert (played.verdicts, played.code) == ({"g": "left"}, 2)


@pytest.mark.parametrize(
    ("begins", "rules", "verdict", "code"),
    [
        (b"LibvirtQemudSave", {"action": "save"}, "saved", 0),
        (b"LibvirtQemudSave", {"timeout": 0.2, "on_timeout": ["save", "destroy", "leave"]}, "saved", 1),
        (b"LibvirtQemudPart", {"action": "save"}, "lost", 2),
    ],
)
def test_a_save_that_takes_the_connection_along(play, act, host, qemu, monkeypatch, fake, begins, rules, verdict, code):
    async def save(self, guest, bypass_cache, seconds):
        image(host, begins)
        gone_with(qemu)(self, "g")
        await self.wake(guest)  # fails

    monkeypatch.setattr(fake, "save", save)
    played = play({"g": act(presses=0)}, {**PATIENT, **rules}, root=host)
    assert (played.verdicts, played.code) == ({"g": verdict}, code)
    assert "<4>g: save: " not in played.said, "a save that went well is not complained of"
