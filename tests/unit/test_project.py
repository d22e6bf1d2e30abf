"""The project holds together: what is packaged, what runs from the checkout, what may be imported."""

import ast
import functools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import lvg
from lvg import stopvm

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = CHECKOUT / "installer"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
LITTER = {".git", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache"}


def files(folder: Path = CHECKOUT) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in LITTER or path.is_symlink():
            continue
        if path.is_dir():
            yield from files(path)
        else:
            yield path


def first_line(path: Path) -> str:
    with path.open("rb") as file:
        return file.readline(200).decode("utf-8", "replace")


SHELL_SCRIPTS = [
    path
    for path in files()
    if re.match(r"#!.*[/ ](ba|da|)sh\b", first_line(path)) and CHECKOUT / "tests/data" not in path.parents
]
PYTHON_FILES = [path for path in files() if path.suffix == ".py" or re.match(r"#!.*python3", first_line(path))]


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(CHECKOUT)) for path in paths]


def test_the_source_folder_is_no_package() -> None:
    """An importable `installer` would shadow the one that every Arch package is installed with."""
    assert not list(SOURCE.glob("*.py"))


def test_every_folder_of_the_package_is_packaged() -> None:
    folders = {str(path.parent.relative_to(SOURCE)).replace("/", ".") for path in (SOURCE / "lvg").rglob("*.py")}
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted({*folders, "lvg.shipped"})
    for name in folders:
        assert (SOURCE / name.replace(".", "/") / "__init__.py").exists(), f"{name} has no __init__.py"


def test_the_shipped_profiles_are_packaged() -> None:
    setuptools = PROJECT["tool"]["setuptools"]
    assert setuptools["package-dir"]["lvg.shipped"] == "profiles"
    assert setuptools["package-data"]["lvg.shipped"] == ["*.toml"]
    assert {path.suffix for path in (CHECKOUT / "profiles").iterdir()} == {".toml"}


def test_one_version() -> None:
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "lvg.__version__"}
    assert stopvm.__version__ == lvg.__version__
    assert re.search(rf"^## \[?{re.escape(lvg.__version__)}\b", (CHECKOUT / "CHANGELOG.md").read_text(), re.M)


def test_click_is_never_imported() -> None:
    """Typer brings its own since 0.26: there may be no click on a host."""
    assert [path for path in names(PYTHON_FILES) if imports_package(path, "click")] == []


def test_rich_is_imported_only_by_what_draws() -> None:
    """It doubles the start-up time of everything else."""
    found = [path for path in names(sorted((SOURCE / "lvg").rglob("*.py"))) if imports_package(path, "rich")]
    assert found
    assert [path for path in found if not path.startswith("installer/lvg/draw/")] == []


def imports_package(path: str, package: str) -> bool:
    """What does not hold the word is not parsed: that takes a second for all files."""
    there = package.encode() in (CHECKOUT / path).read_bytes()
    return there and package in {name.split(".")[0] for name in imports(path)}


@functools.cache
def imports(path: str) -> frozenset[str]:
    nodes = list(ast.walk(ast.parse((CHECKOUT / path).read_bytes())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {"." * node.level + (node.module or "") for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("path", names(sorted((SOURCE / "lvg/stopvm").rglob("*.py"))))
def test_stopvm_needs_nothing_but_the_standard_library_and_libvirt(path: str) -> None:
    """It is installed as a program of its own, and runs when the environment that installed it is gone."""
    for name in imports(path):
        own = name.startswith(".") and not name.startswith("..")
        assert own or name.split(".")[0] in {*sys.stdlib_module_names, "libvirt", "libvirt_qemu", "libvirtaio"}, name


@pytest.mark.parametrize(
    "path", [path for path in names(PYTHON_FILES) if path.startswith(("installer/", "bin/", "bench/"))]
)
def test_nothing_needs_more_than_the_named_packages(path: str) -> None:
    allowed = {*sys.stdlib_module_names, "lvg", "stopvm", "typer", "distro", "packaging", "libvirt", "libvirt_qemu"}
    if path.startswith("installer/lvg/draw/"):
        allowed |= {"rich"}
    if path.startswith("bench/"):  # a bench is run from the checkout, and uses the hosts of the tests
        allowed |= {file.stem for folder in ("bench", "tests/host") for file in (CHECKOUT / folder).glob("*.py")}
    for name in imports(path):
        assert name.startswith(".") or name.split(".")[0] in allowed, name


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    places = re.compile(rb"/wo" rb"rk/|/tmp/br" rb"ief|/home/[a-z]+/|/root/\.(cache|local|pyenv)")
    found = [str(path) for path in files() if places.search(path.read_bytes())]
    assert found == []


@pytest.mark.parametrize("name", ["lvg-install", "lvg", "stopvm"])
@pytest.mark.parametrize("word", ["--version", "--help"])
def test_the_programs_run_from_anywhere_with_an_empty_environment(name: str, word: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [CHECKOUT / "bin" / name, word], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (lvg.__version__ if word == "--version" else name) in done.stdout


def test_the_programs_run_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "lvg").symlink_to(CHECKOUT / "bin/lvg")
    done = subprocess.run([tmp_path / "lvg", "--version"], cwd="/", env={}, capture_output=True, text=True, check=False)
    assert done.stdout == f"lvg {lvg.__version__}\n"


@pytest.mark.parametrize("name", ["lvg-install", "lvg", "stopvm"])
def test_the_scripts_of_the_package_exist(name: str) -> None:
    module, function = PROJECT["project"]["scripts"][name].split(":")
    tree = ast.parse((SOURCE / module.replace(".", "/")).with_suffix(".py").read_bytes())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_folder_of_the_shipped_profiles_holds_data_alone() -> None:
    """A wheel has it as lvg/shipped."""
    assert not list((CHECKOUT / "profiles").glob("*.py"))


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
def test_shell_scripts_are_clean() -> None:
    # SC2187: a script for busybox is checked as one for dash, which is what is wanted
    assert "check" in names(SHELL_SCRIPTS)
    command = ["shellcheck", "--severity=warning", "--exclude=SC2187", "--format=gcc", *names(SHELL_SCRIPTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    "path",
    [
        "demo",
        "check",
        ".ci/run",
        "bench/hostile",
        "bench/noop",
        "bench/stop",
        "bin/lvg",
        "bin/lvg-install",
        "bin/stopvm",
    ],
)
def test_programs_are_executable_and_use_the_distros_interpreters(path: str) -> None:
    assert (CHECKOUT / path).stat().st_mode & 0o111 == 0o111
    assert first_line(CHECKOUT / path).split()[0] in ("#!/bin/bash", "#!/usr/bin/python3")


def test_the_readme_names_commands_that_exist() -> None:
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert "libvirt-guests" in text
    assert "LVM" in text
    for word in set(re.findall(r"(?:\./|(?<![\w/])bin/)[a-z-]+", text)):
        assert (CHECKOUT / word).exists(), word
    for word in set(re.findall(r"\]\((?!http|#)([^)]+)\)", text)):
        assert (CHECKOUT / word).exists(), word


def test_the_demo_shows_everything_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("libvirt")
    environment = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([CHECKOUT / "demo"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\+ON_SHUTDOWN=shutdown$", done.stdout, re.M)
    verdicts = dict(re.findall(r"^  (\w+)  (\w+)  [0-9.]+ s", done.stdout, re.M))
    assert verdicts == {"web": "clean", "mail": "clean", "db": "clean", "lab": "saved"}
    assert "every byte, mode and link of the scratch root is what it was before" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_fails_when_a_step_fails(tmp_path: Path) -> None:
    pytest.importorskip("libvirt")
    environment = {"TMPDIR": str(tmp_path), "LVG_PROFILES_DIR": str(tmp_path)}
    done = subprocess.run([CHECKOUT / "demo"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "3. Apply" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_benchmark_of_a_run_with_nothing_to_do_runs(tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    words = [CHECKOUT / "bench/noop", "--runs", "1"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert re.search(r"^ratio of the medians: \d+\.\d\d \(limit", done.stdout, re.M), done.stderr
    assert list(tmp_path.iterdir()) == []
