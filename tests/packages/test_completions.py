"""TAB in real shells: bash and zsh on a terminal, fish by its own question."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COMPLETIONS = CHECKOUT / "pkg/completions"
PROFILES = sorted(path.stem for path in (CHECKOUT / "profiles").glob("*.toml"))
SECONDS = 30
PROMPT = "what> "
# What stands before TAB, and what has to show up: the rest of the line, or everything that it may become.
LINES = {
    "lvg-install --prof": ["lvg-install --profile"],
    "lvg-install --profile ": PROFILES,
    "lvg-install -p su": ["lvg-install -p suspend"],
    "lvg-install --no-": ["--no-enable", "--no-start"],
    "lvg-install --set PARA": ["lvg-install --set PARALLEL_SHUTDOWN="],
    "lvg-install --root /va": ["lvg-install --root /var"],
    "lvg ": ["detect", "profiles", "status", "doctor", "plan", "rehearse", "report", "rollback", "remove"],
    "lvg profiles up": ["lvg profiles ups"],
    "lvg status --q": ["lvg status --quiet"],
    "lvg doctor --v": ["lvg doctor --verbose"],
    "lvg plan --u": ["lvg plan --ups"],
    "lvg report --la": ["lvg report --last"],
    "lvg rollback --f": ["lvg rollback --force"],
    "lvg rehearse we": ["lvg rehearse web1"],
    "lvg rehearse --y": ["lvg rehearse --yes"],
    "lvg rehearse --j": ["lvg rehearse --json"],
    "stopvm ": ["stop", "restore", "status"],
    "stopvm stop --d": ["stopvm stop --dry-run"],
    "stopvm status --j": ["stopvm status --json"],
    "stopvm stop --now --only we": ["stopvm stop --now --only web1"],
    "stopvm restore --now --only we": ["stopvm restore --now --only web1"],
}


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The completions where each shell looks for those of a package."""
    share = tmp_path_factory.mktemp("share")
    folders = {"bash": "bash-completion/completions", "zsh": "zsh/vendor", "fish": "fish/vendor_completions.d"}
    for shell, folder in folders.items():
        shutil.copytree(COMPLETIONS / shell, share / folder)
    (share / "bin").mkdir()
    virsh = share / "bin/virsh"
    virsh.write_text("#!/bin/sh\nprintf '%s\\n' web1 db1\n")
    virsh.chmod(0o755)
    return share


def environment(share: Path) -> dict[str, str]:
    return {
        "HOME": str(share),
        "PATH": f"{share}/bin:{CHECKOUT}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "XDG_DATA_DIRS": f"{share}:/usr/share",
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm",
        "PS1": PROMPT,
        "COLUMNS": "200",
        "LINES": "50",
    }


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._terminal, inner = pty.openpty()
        self._shell = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=inner, env=env, start_new_session=True, close_fds=True
        )
        os.close(inner)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def read_until(self, wanted: list[str]) -> str:
        """Return what the shell wrote up to where all of `wanted` has shown up, or until it takes too long."""
        seen, end = "", time.monotonic() + SECONDS
        while time.monotonic() < end and not all(word in plain(seen) for word in wanted):
            if select.select([self._terminal], [], [], 0.2)[0]:
                seen += os.read(self._terminal, 4096).decode(errors="replace")
        return plain(seen)

    def fresh_line(self) -> None:
        """Take away what stands in the line, and wait for a new prompt: what is typed too early is no TAB."""
        self.type("\x15echo don''e\n")
        seen = self.read_until(["done\n", f"done\n{PROMPT}"])
        assert f"done\n{PROMPT}" in seen, seen

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, 9)
        self._shell.wait()
        os.close(self._terminal)


def plain(text: str) -> str:
    """Return what a person sees: no escape sequences, and what was erased or overwritten is gone."""
    text = re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[()=>][0-9A-B]?|[78])", "", text)
    while "\x08" in text:
        text = re.sub(r"[^\x08]?\x08", "", text, count=1)
    return re.sub(r"[\r\a\0]", "", text)


SET_UP = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        "source /usr/share/bash-completion/bash_completion; bind 'set show-all-if-ambiguous on'; "
        "bind 'set completion-query-items 0'; bind 'set page-completions off'; bind 'set enable-bracketed-paste off'",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        "fpath=({share}/zsh/vendor $fpath); autoload -U compinit; compinit -D -u; setopt no_beep no_list_ambiguous; "
        "unsetopt prompt_sp prompt_cr zle_bracketed_paste 2>/dev/null; LISTMAX=1000; PS1='what> '",
    ),
}


@pytest.fixture(scope="module", params=SET_UP)
def shell(request: pytest.FixtureRequest, share: Path) -> Iterator[Terminal]:
    if not shutil.which(request.param):
        pytest.skip(f"needs {request.param}")
    command, set_up = SET_UP[request.param]
    terminal = Terminal(command, environment(share))
    terminal.type(set_up.replace("{share}", str(share)) + "\n")
    terminal.fresh_line()
    yield terminal
    terminal.end()


@pytest.mark.parametrize("line", LINES)
def test_tab(line: str, shell: Terminal) -> None:
    shell.type(line)
    shell.read_until([line])
    shell.type("\t")
    wanted = [text.removeprefix(line) for text in LINES[line]]
    seen = shell.read_until(wanted)
    if len(wanted) == 1:  # the line is completed: Ctrl-A puts an "echo" before it
        shell.type("\x01echo \x05\n")
        wanted = [f"\n{LINES[line][0]}"]
        seen = shell.read_until(wanted)
    shell.fresh_line()
    assert not [text for text in wanted if text not in seen], seen


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
@pytest.mark.parametrize("line", LINES)
def test_fish(line: str, share: Path) -> None:
    command = ["fish", "-c", f"complete -C {line!r}"]
    env = {**environment(share), "XDG_CONFIG_HOME": str(share / "config")}
    answer = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=False)
    offered = {text.split("\t")[0].removesuffix("/") for text in answer.stdout.splitlines()}
    assert {wanted.split()[-1] for wanted in LINES[line]} <= offered, answer.stderr
    if line.endswith(" "):
        assert not offered & {path.name for path in Path("/").iterdir()}, "no files where none are wanted"
