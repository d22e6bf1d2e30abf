"""The init script for OpenRC hosts: what sh makes of it, what it does when, and when lvg-install starts it."""

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lvg import openrc, verify
from lvg.changes import Changes, Wish, compute
from lvg.errors import LvgError
from lvg.files import Root
from lvg.filestate import file_state
from lvg.layout import OPENRC_LIST
from lvg.profiles import load
from lvg.survey import Survey, survey

SCRIPTS = {protect: openrc.graceful_shutdown("/usr/local/bin/stopvm", protect, 100) for protect in (True, False)}
SHELLS = [words for words in (["dash"], ["busybox", "ash"]) if shutil.which(words[0])] or [["sh"]]
# What openrc-run gives to a script, in short.
STUBS = """
ebegin() { echo "begin: $*"; }
eend() { [ "$1" = 0 ] || echo "bad: $2"; return "$1"; }
eerror() { echo "error: $*"; }
ewarn() { echo "warning: $*"; }
for word in need want after keyword; do eval "$word() { echo $word \\"\\$@\\"; }"; done
"""


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=["protect", "open"])
def test_says_what_it_is_and_how_to_live_without_it(script: str) -> None:
    comment = script.splitlines()[1:6]
    assert script.startswith("#!/sbin/openrc-run\n# Installed by lvg-install\n")
    assert all(line.startswith("# ") for line in comment)
    assert "Stop guests by hand: stopvm stop --now" in "\n".join(comment)
    assert "rc-update del graceful-shutdown; rm this file" in "\n".join(comment)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=["protect", "open"])
def test_is_clean_shell(script: str, tmp_path: Path) -> None:
    path = tmp_path / "graceful-shutdown"
    path.write_text(script)
    for shell in SHELLS:
        subprocess.run([*shell, "-n", str(path)], check=True)
    if shutil.which("shellcheck"):
        # SC2034: openrc-run reads the variables.
        subprocess.run(["shellcheck", "--shell=dash", "--exclude=SC2034", str(path)], check=True)


class Service:
    """The script under a shell, with a stopvm that notes what it is told."""

    def __init__(self, folder: Path, shell: list[str], protect: bool) -> None:
        self.folder, self.shell = folder, shell
        self.program = folder / "stopvm"
        self.does("exit 0")
        script = openrc.graceful_shutdown(str(self.program), protect, 100)
        (folder / "script").write_text(STUBS + script.replace("/run/graceful-restore.pid", f"{folder}/restore.pid"))

    def does(self, command: str) -> None:
        self.program.write_text(f'#!/bin/sh\necho "$*" >>{self.folder}/told\n{command}\n')
        self.program.chmod(0o755)

    def run(self, function: str, change: str = "") -> tuple[int, str]:
        """Call a function of the script while OpenRC makes a change: "starting" or "stopping" services."""
        if change:
            (self.folder / f"rc.{change}").mkdir()
        command = [*self.shell, "-c", f'. "$0"; {function}', str(self.folder / "script")]
        environment = {"PATH": "/usr/bin:/bin", "RC_SVCDIR": str(self.folder)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=False)
        if change:
            (self.folder / f"rc.{change}").rmdir()
        assert done.stderr == ""
        return done.returncode, done.stdout

    def told(self) -> str:
        path = self.folder / "told"
        return path.read_text() if path.exists() else ""

    def wait_until_told(self, what: str) -> None:
        end = time.monotonic() + 20
        while what not in self.told():
            assert time.monotonic() < end, self.told()
            time.sleep(0.02)


@pytest.fixture(params=SHELLS, ids=lambda words: words[-1])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Service]:
    return lambda protect=True: Service(tmp_path, request.param, protect)


def test_by_hand_it_refuses_to_stop_and_says_how_to_stop_guests(service: Callable[..., Service]) -> None:
    there = service()
    code, said = there.run("stop")
    assert code == 1
    assert "stopvm stop --now" in said
    assert there.told() == ""


def test_without_protect_it_goes_and_leaves_guests_alone(service: Callable[..., Service]) -> None:
    there = service(protect=False)
    code, said = there.run("stop")
    assert code == 0
    assert "stopvm stop --now" in said
    assert there.told() == ""


def test_when_a_runlevel_ends_stopvm_decides_and_a_failure_holds_up_nothing(service: Callable[..., Service]) -> None:
    there = service()
    assert there.run("stop", "stopping") == (0, "begin: Stopping guests\n")
    there.does("exit 2")
    code, said = there.run("stop", "stopping")
    assert (code, there.told()) == (0, "stop\nstop\n")
    assert "stopvm status" in said


def test_guests_come_back_at_boot_in_the_background_and_that_ends_at_shutdown(service: Callable[..., Service]) -> None:
    there = service()
    there.does('[ "$1" = stop ] || exec sleep 600 stopvm')
    there.program.write_text(there.program.read_text().replace("sleep 600 stopvm", f"{there.folder}/stopvm-sleeps 600"))
    (there.folder / "stopvm-sleeps").symlink_to(shutil.which("sleep") or "/bin/sleep")
    assert there.run("start")[0] == 0
    assert there.told() == "", "a start by hand brings nothing back"
    assert there.run("start", "starting")[0] == 0
    there.wait_until_told("restore\n")
    pid = int((there.folder / "restore.pid").read_text())
    assert Path(f"/proc/{pid}").exists()
    assert there.run("stop", "stopping")[0] == 0
    assert not Path(f"/proc/{pid}/exe").exists()
    assert there.told() == "restore\nstop\n"


def test_protect_ties_libvirt_guests_to_it(service: Callable[..., Service]) -> None:
    """OpenRC refuses to stop what a started service needs."""
    assert "need libvirt-guests\n" in service().run("depend")[1]
    said = service(protect=False).run("depend")[1]
    assert "want libvirt-guests\n" in said
    assert "keyword -timeout\n" in said


@pytest.fixture
def host(fake_host: Callable[..., Any]) -> Any:
    host = fake_host("ID=alpine\n", "/etc/conf.d/libvirt-guests", "#LIBVIRT_SHUTDOWN=managedsave\n")
    shutil.rmtree(host.root / "usr/lib/systemd")
    host.put("/sbin/openrc", "", 0o755)
    host.put("/etc/init.d/libvirt-guests", '#!/sbin/openrc-run\nstop() { echo "$LIBVIRT_SHUTDOWN"; }\n', 0o755)
    return host


@pytest.fixture
def decide(host: Any) -> Callable[..., Changes]:
    """Return a function that computes the changes of a live OpenRC host."""

    def decide(profile: str, *, wish: Wish | None = None, states: Any = None, **seen: Any) -> Changes:
        found: Survey = survey(Root(host.root))
        found = replace(found, openrc=True, states={**found.states, **(states or {})}, **seen)
        return compute(wish or Wish(), found, load(profile, Root(host.root)))

    return decide


def started(changes: Changes) -> list[str]:
    return [act.unit for act in changes.acts]


def test_starts_what_is_not_started(decide: Callable[..., Changes]) -> None:
    assert started(decide("graceful")) == ["libvirt-guests", "graceful-shutdown"]
    assert started(decide("graceful", started=frozenset({"libvirt-guests"}))) == ["graceful-shutdown"]
    assert started(decide("graceful", started=frozenset({"libvirt-guests", "graceful-shutdown"}))) == []
    assert started(decide("graceful", wish=Wish(start=False))) == []


def test_a_start_that_would_boot_guests_of_an_old_list_is_left_to_the_admin(decide: Callable[..., Changes]) -> None:
    old = {OPENRC_LIST: file_state(b"qemu:///system 1234\n")}
    changes = decide("suspend", states=old)  # LIBVIRT_START=yes
    assert started(changes) == ["graceful-shutdown"]
    assert "rc-service libvirt-guests start" in " ".join(changes.warnings)
    assert started(decide("graceful", states=old)) == ["libvirt-guests", "graceful-shutdown"]  # LIBVIRT_START=no
    assert started(decide("suspend", states={OPENRC_LIST: file_state(b"")})) == ["libvirt-guests", "graceful-shutdown"]


@pytest.mark.parametrize(("running", "state"), [(True, "ok"), (False, "drift")])
def test_status_says_whether_it_is_started(host: Any, running: bool, state: str) -> None:
    assert host.install("--profile", "graceful").code == 0
    found = survey(Root(host.root))
    assert found.record
    assert not [row for row in verify.rows(found, found.record) if row.what == openrc.SERVICE], "only where OpenRC runs"
    live = replace(found, openrc=True, started=frozenset({openrc.SERVICE} if running else ()))
    rows = verify.rows(live, replace(found.record, start=True))
    assert [row.state for row in rows if row.what == openrc.SERVICE] == [state]


def test_a_start_that_fails_is_told() -> None:
    with pytest.raises(LvgError, match="no-such-service cannot be started"):
        openrc.start("no-such-service")


@pytest.mark.parametrize(
    ("in_force", "expected"),
    [
        ({}, {"URIS": "qemu:///system", "ON_BOOT": "start", "ON_SHUTDOWN": "suspend", "SHUTDOWN_TIMEOUT": "500"}),
        ({"LIBVIRT_SHUTDOWN": "shutdown"}, {"ON_SHUTDOWN": "shutdown", "SHUTDOWN_TIMEOUT": "500"}),
        ({"LIBVIRT_MAXWAIT": "60"}, {"ON_SHUTDOWN": "suspend", "SHUTDOWN_TIMEOUT": "60"}),
        ({"LIBVIRT_START": "no", "LIBVIRT_URIS": "lxc:///"}, {"ON_BOOT": "ignore", "URIS": "lxc:///"}),
        ({"LIBVIRT_SHUTDOWN": "poweroff"}, {"ON_SHUTDOWN": "suspend"}),
    ],
)
def test_what_openrcs_settings_mean_in_upstreams_keys(in_force: dict[str, str], expected: dict[str, str]) -> None:
    assert expected.items() <= openrc.to_upstream(in_force, "openrc").items()
    assert openrc.to_upstream({"ON_BOOT": "start"}, "upstream") == {"ON_BOOT": "start"}
