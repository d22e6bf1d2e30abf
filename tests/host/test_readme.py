"""README.md keeps its word: its lines for a real host, taken from it as they are, protect a Debian 12 host.

Three things stand in for what the container lacks. The apt lines run first, in the switched-off tree, with the
network of this machine (the host itself has none). A `git clone` finds the checkout under test behind the address
that the README names. Where the tree has no sudo, a script that only runs its arguments takes its place.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import roots
from guests import Guest, define, running, start
from install import CHECKOUT, copy_checkout
from machine import Machine

APT = re.compile(r"(sudo\s+)?apt(-get)?\s")
CLONE = re.compile(r"git clone\s+(?:-\S+\s+)*(\S+)")
WHERE = "root/lvg"  # where the lines are run: an empty folder if they clone the checkout, the checkout if not
BLOCK = re.compile(r"^#+[^\n]*\breal host\b[^\n]*\n.*?^```(?:sh|bash|console)?\n(.*?)^```", re.M | re.S | re.I)


def readme_lines(text: str) -> list[str]:
    """The commands of the first code block below the heading about a real host."""
    block = BLOCK.search(text)
    assert block, "README.md has no code block below a heading with 'real host'"
    joined = block[1].replace("\\\n", " ")
    lines = [re.sub(r"^\$ ", "", line.strip()) for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_the_lines_of_a_readme_are_found() -> None:
    text = "# x\n```sh\nno\n```\n## On a real host\nSo:\n```sh\n$ sudo apt install \\\n  a\n# why\n\ngit clone u\n```\n"
    assert readme_lines(text) == ["sudo apt install    a", "git clone u"]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return readme_lines((CHECKOUT / "README.md").read_text(encoding="utf-8"))


@pytest.fixture
def fresh(lines: list[str]) -> Iterator[Machine]:
    """A Debian 12 libvirt host, on, with a guest running, after the README's apt lines and nothing else."""
    rest = [line for line in lines if not APT.match(line)]
    apt = [line for line in lines if APT.match(line)]
    assert lines == apt + rest, "the apt lines come first"
    with Machine([roots.guest_layer(), _after_apt(apt), roots.host_root("bookworm", plain=True)]) as machine:
        _shims(machine, rest)
        machine.boot()
        define(machine, Guest("one"))
        start(machine, "one")
        yield machine


def test_the_lines_for_a_real_host_protect_it(fresh: Machine, lines: list[str]) -> None:
    rest = [line for line in lines if not APT.match(line)]
    done = fresh.run("\n".join(["set -e", f"cd /{WHERE}", *rest]))
    assert "Traceback" not in done.stderr
    assert re.search(r"\blvg status\b", rest[-1]), "the last line is `lvg status`, and the script's exit code was its"
    assert running(fresh) == {"one"}
    for unit in ("graceful-shutdown.service", "libvirt-guests.service"):
        assert fresh.run(["systemctl", "is-enabled", unit]).stdout.strip() == "enabled"
        assert fresh.run(["systemctl", "is-active", unit]).stdout.strip() == "active"


def _after_apt(apt: list[str]) -> Path:
    """What the apt lines change in the tree, as a layer of its own in the cache (they take a while)."""

    def build(out: Path) -> None:
        with Machine([roots.host_root("bookworm", plain=True)]) as machine:
            _sudo(machine)
            (machine.root / "etc/apt/apt.conf.d/90yes").write_text('APT::Get::Assume-Yes "true";\n')
            # A machine in use has package lists; our tree was stripped of them.
            machine.chroot("export DEBIAN_FRONTEND=noninteractive\nset -e\napt-get update\n" + "\n".join(apt))
            machine.chroot("rm -rf /var/lib/apt/lists/* /var/cache/apt/*")
            subprocess.run(["cp", "-a", f"{machine.upper}/.", str(out)], check=True)

    base = roots.host_recipe("bookworm", plain=True).key()
    key = hashlib.sha256("\0".join([base, *apt]).encode()).hexdigest()[:16]
    return roots.cached("readme", key, build)


def _sudo(machine: Machine) -> None:
    if not (machine.root / "usr/bin/sudo").exists():
        shim = machine.root / "usr/local/bin/sudo"
        shim.write_text('#!/bin/sh\nexec "$@"\n')
        shim.chmod(0o755)


def _shims(machine: Machine, rest: list[str]) -> None:
    _sudo(machine)
    urls = [match[1] for line in rest if (match := CLONE.search(line))]
    copy_checkout(machine.root, "srv/checkout" if urls else WHERE)
    if urls:
        _repository(machine, urls)


def _repository(machine: Machine, urls: list[str]) -> None:
    (machine.root / WHERE).mkdir(parents=True)
    git = ["git", "-C", str(machine.root / "srv/checkout"), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for step in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "under test"]):
        subprocess.run([*git, *step], check=True)
    config = "[safe]\n\tdirectory = *\n" + "".join(f'[url "/srv/checkout"]\n\tinsteadOf = {url}\n' for url in urls)
    (machine.root / "etc/gitconfig").write_text(config)
