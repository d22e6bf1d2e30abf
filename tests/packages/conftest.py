"""Fixtures of the package tests: built packages, and hosts from tests/host to install them on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "host")]

import roots  # noqa: E402
from debs import Debs, build  # noqa: E402
from natives import Natives  # noqa: E402
from natives import build as build_natives  # noqa: E402
from natives import environment as make_environment  # noqa: E402
from slowly import prepared  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.packages)


@pytest.fixture(scope="session")
def root_user() -> Iterator[None]:
    with prepared():
        yield


@pytest.fixture(scope="session", params=roots.RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def debs(root_user: None) -> Debs:
    """The package of this tree, and the one of the version before it."""
    return build()


@pytest.fixture(scope="session")
def natives(root_user: None) -> Natives:
    """What a release of this tree holds, and the Arch and RPM packages of the version before it."""
    return build_natives()


@pytest.fixture(scope="session")
def environment(natives: Natives, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that `pip install lvg[libvirt]` has filled."""
    return make_environment(natives, tmp_path_factory.mktemp("pip"))
