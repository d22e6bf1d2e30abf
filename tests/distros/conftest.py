import csv
import os
from pathlib import Path
from typing import NamedTuple

import pytest

OWN = Path(__file__).parents[1] / "data"


class Case(NamedTuple):
    """A row of expected.tsv: what an os-release file must lead to, once per init."""

    file: Path
    family: str
    config_file: str
    dialect: str
    init: str


def corpora() -> list[Path]:
    """The project's own files, and those of $LVG_CORPUS if it is set."""
    outside = os.environ.get("LVG_CORPUS")
    return [OWN / "os-release", *([Path(outside) / "os-release"] if outside else [])]


def cases() -> list[Case]:
    return [case for folder in corpora() for row in _rows(folder) for case in _cases(folder, row)]


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "expected.tsv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    return [row for row in rows if not row["file"].startswith("(")]  # the row for "no file at all"


def _cases(folder: Path, row: dict[str, str]) -> list[Case]:
    """Where a corpus gives two files, the init decides: one case for each."""
    # Words that other tables use for the same thing.
    dialects = row["dialect"].replace("gentoo", "openrc").split("|")
    family = "artix" if "artix" in row["file"] else row["family"]
    parts = zip(row["config_path"].split("|"), dialects, row["init"].split("|"), strict=True)
    return [Case(folder / row["file"], family, *("" if part == "-" else part for part in each)) for each in parts]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        found = cases()
        metafunc.parametrize("case", found, ids=[f"{each.file.name}-{each.init or 'any'}" for each in found])
