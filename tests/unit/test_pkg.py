"""What lies in pkg/ knows every option, profile, unit and drop-in that there is, and none that there is not."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvg import cli, units
from lvg.settings import SETTINGS
from lvg.stoppolicy import keys_for
from lvg.stopvm.__main__ import parser

CHECKOUT = Path(__file__).resolve().parents[2]
PKG = CHECKOUT / "pkg"
VERBS = {
    "lvg-install": ("",),
    "lvg": ("", *sorted(command.name or command.callback.__name__ for command in cli.app.registered_commands)),
    "stopvm": ("", "stop", "restore", "status"),
}
OPTION = re.compile(r"^ +(?:(-\w), )?(--[a-z-]+)", re.M)


def help_of(program: str, verb: str, capsys: pytest.CaptureFixture[str]) -> str:
    apps = {"lvg": cli.app, "lvg-install": cli.install_app, "stopvm": parser().parse_args}
    with pytest.raises(SystemExit):
        apps[program]([*filter(None, [verb]), "--help"])
    return capsys.readouterr().out


def options(program: str, verb: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    return {word for pair in OPTION.findall(help_of(program, verb, capsys)) for word in pair if word}


def bash_offers(program: str, *words: str, path: str = "") -> set[str]:
    """What bash offers for the last word."""
    script = (
        'source "$1"; COMP_WORDS=("${@:2}"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); compopt() { :; }\n'
        f'_{program.replace("-", "_")}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    command = ["bash", "-c", script, "bash", str(PKG / "completions/bash" / program), program, *words]
    environment = {"PATH": f"{path}:{CHECKOUT}/bin:/usr/bin:/bin"}
    return {*subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()}


@pytest.mark.parametrize(("program", "verb"), [(program, verb) for program, verbs in VERBS.items() for verb in verbs])
def test_bash_offers_exactly_the_options_of_a_verb(program: str, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bash_offers(program, *filter(None, [verb]), "-") == options(program, verb, capsys)


def test_bash_offers_verbs_profiles_and_keys() -> None:
    profiles = {path.stem for path in (CHECKOUT / "profiles").glob("*.toml")}
    assert bash_offers("lvg", "") == {*VERBS["lvg"]} - {""}
    assert bash_offers("stopvm", "") == {*VERBS["stopvm"]} - {""}
    assert bash_offers("lvg", "profiles", "") == profiles
    assert bash_offers("lvg-install", "--profile", "") == profiles
    assert bash_offers("lvg-install", "--profile", "=", "gr") == {"graceful", "graceful-240s"}
    assert bash_offers("lvg-install", "--set", "") == {f"{key}=" for key in (*SETTINGS, *keys_for(guest=False))}


def test_bash_offers_guests_and_runs_none_of_their_names(tmp_path: Path) -> None:
    virsh, ran = tmp_path / "virsh", tmp_path / "ran"
    virsh.write_text(f"#!/bin/sh\nprintf '%s\\n' web1 web2 'we$(touch${{IFS}}{ran})' db ''\n")
    virsh.chmod(0o755)
    found = bash_offers("stopvm", "stop", "--now", "--only", "we", path=str(tmp_path))
    assert found == {"web1", "web2", f"we\\$\\(touch\\$\\{{IFS\\}}{ran}\\)"}
    assert not ran.exists()
    assert bash_offers("stopvm", "stop", "--except", "d", path=str(tmp_path)) == {"db"}


@pytest.mark.parametrize("program", VERBS)
def test_zsh_and_fish_know_the_same_options(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {word for verb in VERBS[program] for word in options(program, verb, capsys)}
    zsh = (PKG / f"completions/zsh/_{program}").read_text(encoding="utf-8")
    fish = (PKG / f"completions/fish/{program}.fish").read_text(encoding="utf-8")
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*(?=[=+,}\[])", zsh)) == wanted
    found = set(re.findall(r" -([sl]) ([a-z-]+)", fish))
    assert {f"-{word}" if kind == "s" else f"--{word}" for kind, word in found} == wanted


@pytest.mark.parametrize("name", ["zsh/_lvg-install", "fish/lvg-install.fish"])
def test_zsh_and_fish_know_the_same_keys(name: str) -> None:
    text = (PKG / "completions" / name).read_text(encoding="utf-8")
    for key in (*SETTINGS, *keys_for(guest=False)):
        assert re.search(rf"\b{key}\b", text), key


@pytest.mark.parametrize("program", ["lvg", "stopvm"])
def test_zsh_and_fish_know_the_same_verbs(program: str) -> None:
    zsh = (PKG / f"completions/zsh/_{program}").read_text(encoding="utf-8")
    fish = (PKG / f"completions/fish/{program}.fish").read_text(encoding="utf-8")
    for verb in filter(None, VERBS[program]):
        assert f"'{verb}:" in zsh
        assert f"-a {verb} -d" in fish


def test_debconf_offers_every_shipped_profile() -> None:
    choices = re.search(r'^choices="(.*)"$', (PKG / "debian/lvg.config").read_text(), re.M)
    assert choices
    shipped = sorted(path.stem for path in (CHECKOUT / "profiles").glob("*.toml"))
    assert choices[1].split(", ") == ["none", *shipped]


def test_what_is_taken_away_before_a_removal_is_all_that_lvg_adds_to_systemd(debian, tmp_path: Path) -> None:
    for name, text in ((units.SHUTDOWN, units.graceful_shutdown), (units.RESTORE, units.graceful_restore)):
        debian.put(f"/usr/lib/systemd/system/{name}", text("/usr/bin/stopvm"))
    debian.put("/usr/bin/stopvm", "", 0o755)
    before = [path for path in debian.tree() if path.startswith("etc/systemd")]
    hook = '[stopvm]\nbefore_stop_host = [["/bin/true"]]\n'
    debian.put("/etc/lvg/profiles/hook.toml", f'summary = "x"\nextends = "graceful"\n{hook}')
    done = debian.install("--profile", "hook", "--overlay")
    assert done.code == 0, done.err
    added = [path for path in debian.tree() if path.startswith("etc/systemd") and path not in before]
    assert any("50-lvg-sandbox" in path for path in added)
    assert any("50-lvg-overlay" in path for path in added)
    environment = {"PATH": "/usr/bin:/bin", "DPKG_ROOT": str(debian.root)}
    subprocess.run([PKG / "before-removal"], env=environment, check=True)
    left = [path for path in debian.tree() if path.startswith("etc/systemd") and path not in before]
    wants = "etc/systemd/system/multi-user.target.wants"
    assert left == [wants, f"{wants}/libvirt-guests.service"]


def _examples() -> Iterator[Path]:
    yield from (PKG / "examples").glob("*.toml")


@pytest.mark.parametrize("path", _examples(), ids=lambda path: path.name)
def test_an_example_profile_can_be_applied(path: Path, debian) -> None:
    debian.put(f"/etc/lvg/profiles/{path.name}", path.read_bytes())
    done = debian.install("--profile", path.stem, "--dry-run")
    assert (done.code, done.err) == (0, ""), done.err


@pytest.mark.skipif(not shutil.which("perl"), reason="needs perl")
def test_needrestart_leaves_our_units_alone() -> None:
    # It evaluates the snippets in this way.
    script = (
        "our %nrconf; my ($file, $unit) = @ARGV; eval do { local(@ARGV, $/) = $file; <> }; die $@ if $@;"
        "my @found = grep { $unit =~ /$_/ } keys %{$nrconf{override_rc}};"
        "exit(@found == 1 && $nrconf{override_rc}{$found[0]} == 0 ? 0 : 1)"
    )
    snippet = PKG / "debian/needrestart/lvg.conf"
    for name, code in ((units.SHUTDOWN, 0), (units.RESTORE, 0), ("ssh.service", 1)):
        assert subprocess.run(["perl", "-e", script, str(snippet), name], check=False).returncode == code, name
