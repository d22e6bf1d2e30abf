"""What goes wrong, and what people are told: one line of what, one of what to do, the right exit code."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = str(CHECKOUT / "bin" / "lvg-install")


def _refused(host: Any, code: int, *words: str) -> str:
    before = host.tree()
    done = host.install(*words)
    assert (done.code, host.tree()) == (code, before), done.err
    assert len(done.err.splitlines()) == 2, done.err
    assert "Traceback" not in done.err
    return str(done.err)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--profile", "gracefull"), 'Did you mean "graceful"?'),
        (("--profile", "/nowhere/x.toml"), "/nowhere/x.toml"),
        (("--profile", "graceful", "--set", "ON_SHUTDOWM=shutdown"), 'Did you mean "ON_SHUTDOWN"?'),
        (("--profile", "graceful", "--set", "ON_SHUTDOWN=Shutdown"), "ON_SHUTDOWN"),
        (("--profile", "graceful", "--set", "SHUTDOWN_TIMEOUT=5min"), "SHUTDOWN_TIMEOUT"),
        (("--profile", "graceful", "--set", "timeoutt=5"), 'Did you mean "timeout"?'),
        (("--profile", "graceful", "--set", "timeout=soon"), "timeout"),
        (("--profile", "graceful", "--set", "nonsense"), "KEY=VALUE"),
        (("--profile", "graceful", "--distro", "debain"), 'Did you mean "debian"?'),
        (("--profile", "graceful", "--config-file", "relative"), "--config-file"),
    ],
)
def test_a_wrong_word_is_exit_2_with_a_hint(debian: Any, words: tuple[str, ...], says: str) -> None:
    assert says in _refused(debian, 2, *words)


def test_without_a_profile_it_shows_the_choice(debian: Any) -> None:
    done = debian.install()
    assert done.code == 2
    assert all(name in done.out for name in ("graceful-240s", "suspend", "ups", "/etc/default/libvirt-guests"))


@pytest.mark.parametrize("verb", ["frobnicate", "instal"])
def test_an_unknown_verb_is_exit_2(debian: Any, verb: str) -> None:
    assert debian.run("lvg", verb).code == 2


@pytest.mark.parametrize(
    ("os_release", "says"),
    [
        ("ID=nixos\n", "virtualisation.libvirtd"),
        ("ID=guix\n", ""),
        ("ID=truenas\n", ""),
        ("ID=plan9\nNAME=Nine\n", "plan9"),
    ],
)
def test_an_unsupported_distro_is_exit_7_with_what_to_do_there(
    fake_host: Callable[..., Any], os_release: str, says: str
) -> None:
    host = fake_host(os_release, text=None)
    shutil.rmtree(host.root / "usr/lib/systemd/system")
    shutil.rmtree(host.root / "usr/lib/libvirt")
    assert says in _refused(host, 7, "--profile", "graceful")
    done = host.run("lvg", "detect", "--json")
    assert done.code == 0
    assert '"supported": false' in done.out


@pytest.mark.parametrize(
    ("text", "line"),
    [("ON_BOOT='open\n", ""), ("; comment\n", "1"), ("URIS=(a b)\n", "1"), ("ON_BOOT=start\nexit 3\n", "2")],
)
@pytest.mark.landlock
def test_a_file_that_sh_cannot_read_is_refused_with_the_line(debian: Any, text: str, line: str) -> None:
    debian.config.write_text(text)
    said = _refused(debian, 1, "--profile", "graceful")
    assert f"line {line}" in said


def test_a_hostile_config_leaves_no_trace(debian: Any, tmp_path: Path) -> None:
    marks = [tmp_path / name for name in ("one", "two", "three")]
    one, two, three = marks
    debian.config.write_text(f"touch {one}\nX=$(touch {two})\necho hi > {three}\nON_BOOT=start\n")
    for words in (("--dry-run",), ()):
        debian.install("--profile", "graceful", *words)
    debian.run("lvg", "detect")
    debian.run("lvg", "status")
    assert not [mark for mark in marks if mark.exists()]


def test_libvirt_guests_missing_below_a_root_is_a_warning(debian: Any) -> None:
    shutil.rmtree(debian.root / "usr/lib/systemd/system")
    shutil.rmtree(debian.root / "usr/lib/libvirt")
    done = debian.install("--profile", "graceful")
    assert done.code == 0, done.err
    assert "warning: libvirt-guests is not installed" in done.err


def _as_nobody(*command: str) -> "subprocess.CompletedProcess[str]":
    if os.geteuid() != 0:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **nobody)  # type: ignore[call-overload]


@pytest.fixture
def readable_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the program that another user can reach."""
    folder = Path(tmp_path_factory.mktemp("copy"))
    for parent in (folder, *folder.parents):
        if parent == Path(tempfile.gettempdir()):
            break
        parent.chmod(0o755)
    for part in ("bin", "installer", "profiles"):
        shutil.copytree(CHECKOUT / part, folder / part)
    return folder


def test_changing_this_host_needs_root_and_looking_does_not(readable_checkout: Path) -> None:
    program = str(readable_checkout / "bin" / "lvg-install")
    done = _as_nobody("/usr/bin/python3", program, "--profile", "graceful")
    assert done.returncode == 5, done.stderr
    assert len(done.stderr.splitlines()) == 2
    doctor = _as_nobody("/usr/bin/python3", str(readable_checkout / "bin" / "lvg"), "doctor")
    assert doctor.returncode == 5, doctor.stderr
    assert len(doctor.stderr.splitlines()) == 2
    looking = _as_nobody("/usr/bin/python3", program, "--profile", "graceful", "--dry-run")
    assert looking.returncode != 5, looking.stderr
    assert "Traceback" not in looking.stderr


def _in_mounts(setup: str, root: Path) -> "subprocess.CompletedProcess[str]":
    """Run lvg-install in a mount namespace of its own, after `setup`."""
    script = f'{setup} && exec /usr/bin/python3 {PROGRAM} --profile graceful --root "$1"'
    flags = ["-m"] if os.geteuid() == 0 else ["-rm"]
    command = ["unshare", *flags, "sh", "-c", script, "sh", str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("setup", "says"),
    [
        ('mount --bind "$1/etc" "$1/etc" && mount -o remount,bind,ro "$1/etc"', "Read-only file system"),
        ('mount --bind "$1/usr" "$1/usr" && mount -o remount,bind,ro "$1/usr"', "Read-only file system"),
        ('mount --bind "$1/var" "$1/var" && mount -o remount,bind,ro "$1/var"', "Read-only file system"),
        ('mount -t tmpfs -o size=16k,mode=755 none "$1/usr/local/bin"', "No space left on device"),
        ('mount -t tmpfs -o size=4k,mode=755 none "$1/var/lib"', "No space left on device"),
    ],
)
@pytest.mark.mounts
def test_a_real_mount_that_cannot_be_written_leaves_the_host_as_it_was(debian: Any, setup: str, says: str) -> None:
    before = debian.tree()
    done = _in_mounts(setup, debian.root)
    assert (done.returncode, debian.tree()) == (1, before), done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_profile_that_others_may_write_is_refused(debian: Any) -> None:
    debian.put("/etc/lvg/profiles/mine.toml", 'summary = "x"\nextends = "graceful"\n', 0o666)
    assert "mine.toml" in _refused(debian, 2, "--profile", "mine")


def test_profiles_lists_and_shows_where_values_come_from(debian: Any) -> None:
    debian.put("/etc/lvg/profiles/graceful.toml", 'summary = "ours"\nextends = "graceful"\n[stopvm]\ntimeout = 99\n')
    assert "ours" in debian.run("lvg", "profiles").out
    shown = debian.run("lvg", "profiles", "graceful").out
    (line,) = [line for line in shown.splitlines() if line.startswith("timeout")]
    assert "99" in line
    assert "/etc/lvg/profiles/graceful.toml" in line


def test_quiet_says_nothing_and_version_is_one_line(debian: Any) -> None:
    done = debian.install("--profile", "graceful", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert debian.run("lvg", "status", "--quiet").out == ""
    assert debian.install("--version").out.startswith("lvg ")


@pytest.mark.mounts
def test_a_live_host_without_libvirt_guests_is_exit_8_with_the_package() -> None:
    """A dry run on this very machine, in a mount namespace where its units and libvirt's scripts are hidden."""
    places = "/run/systemd /usr/lib/systemd/system /lib/systemd/system /etc/systemd/system /usr/lib/libvirt /etc/init.d"
    hide = f'for d in {places}; do if [ -d "$d" ]; then mount -t tmpfs none "$d"; fi; done'
    run = f"exec /usr/bin/python3 {PROGRAM} --profile graceful --dry-run --distro debian"
    flags = ["-m"] if os.geteuid() == 0 else ["-rm"]
    done = subprocess.run(
        ["unshare", *flags, "sh", "-c", f"{hide}; {run}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 8, done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert "libvirt-daemon" in done.stderr


def _shell(host: Any, line: str) -> "subprocess.CompletedProcess[str]":
    command = line.format(run=f"/usr/bin/python3 {PROGRAM} --profile graceful --root {host.root}")
    return subprocess.run(["/bin/bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "line", ["{run} | head -1", "{run} >/dev/full", "{run} >&-", "{run} 2>&-", "{run} <&- >&- 2>&-"]
)
def test_an_output_that_goes_nowhere_does_not_make_the_run_fail(debian: Any, line: str) -> None:
    done = _shell(debian, line)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert debian.run("lvg", "status").code == 0


def test_a_poor_locale_does_not_break_a_line(debian: Any) -> None:
    debian.put("/etc/lvg/profiles/uml.toml", 'summary = "für Müller"\nextends = "graceful"\n')
    program = str(CHECKOUT / "bin" / "lvg")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "ascii"}
    command = ["/usr/bin/python3", program, "profiles", "--root", str(debian.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "M\\xfcller" in done.stdout


@pytest.mark.parametrize("option", ["--root", "--config-file"])
def test_an_empty_root_is_not_the_live_host(option: str) -> None:
    command = ["/usr/bin/python3", PROGRAM, "--profile", "graceful", "--dry-run", option, ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 or option == "--config-file"


def test_an_umask_hides_no_folder(debian: Any) -> None:
    before = os.umask(0o077)
    try:
        assert debian.install("--profile", "graceful").code == 0
    finally:
        os.umask(before)
    for folder in ("etc/lvg", "etc/systemd/system/libvirt-guests.service.d"):
        assert (debian.root / folder).stat().st_mode & 0o777 == 0o755
    assert (debian.root / "var/lib/lvg").stat().st_mode & 0o777 == 0o700


def test_the_outlook_tells_what_the_kept_file_does(fake_host: Callable[..., Any]) -> None:
    host = fake_host(text="ON_SHUTDOWN=suspend\nON_BOOT=start\n")
    out = host.install("--profile", "graceful", "--keep").out
    assert "libvirt-guests saves every guest to disk" in out
    assert "the guests that ran" in out


def test_a_product_is_refused_whatever_distro_is_named(debian: Any) -> None:
    (debian.root / "etc/pve").mkdir()
    _refused(debian, 7, "--profile", "graceful", "--distro", "debian")


def test_what_is_installed_outlives_the_checkout_that_installed_it(debian: Any, readable_checkout: Path) -> None:
    program = str(readable_checkout / "bin" / "lvg-install")
    command = ["/usr/bin/python3", program, "--profile", "graceful", "--root", str(debian.root)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    shutil.rmtree(readable_checkout)
    stopvm = debian.root / "usr/local/bin/stopvm"
    assert stopvm.read_bytes().startswith(b"#!/usr/bin/python3 ")
    done = subprocess.run([str(stopvm), "--version"], capture_output=True, text=True, check=False, env={"PATH": "/"})
    assert (done.returncode, done.stdout[:7]) == (0, "stopvm "), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_config_that_may_not_be_read_is_an_error(debian: Any, readable_checkout: Path) -> None:
    tree = readable_checkout / "tree"
    shutil.copytree(debian.root, tree, symlinks=True)
    (tree / "etc/default/libvirt-guests").chmod(0o600)
    program = str(readable_checkout / "bin" / "lvg-install")
    done = _as_nobody("/usr/bin/python3", program, "--profile", "graceful", "--dry-run", "--root", str(tree))
    assert done.returncode == 1, done.stderr
    assert "cannot be read: Permission denied" in done.stderr
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("verb", "todo"),
    [
        ("status", "Run: lvg-install --profile graceful"),
        ("rollback", "There is nothing to undo."),
        ("remove", "There is nothing to undo."),
    ],
)
def test_that_nothing_is_applied_is_said_alike_by_every_verb(debian: Any, verb: str, todo: str) -> None:
    done = debian.run("lvg", verb)
    assert (done.code, done.err) == (6, f"lvg {verb}: lvg has applied nothing here\n  {todo}\n")
