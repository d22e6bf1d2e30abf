"""A pytest plugin for tests/proof/mutants: sh reads each file only once, for all mutants of the editor.

What sh makes of a file does not depend on the mutant, and starting it takes most of the time of a test. The answers are
known before the first mutant, for each of those is a child of the process that ran the tests first.
"""

import functools
import sys
from collections.abc import Iterable

from lvg import envfile
from lvg.envfile import shell
from lvg.errors import LvgError

Answer = dict[str, str | None] | tuple[str, str]


@functools.cache
def _said(data: bytes, keys: tuple[str, ...]) -> Answer:
    try:
        return shell.sh_values(data, keys)
    except LvgError as error:
        return error.what, error.todo


def sh_values(data: bytes, keys: Iterable[str]) -> dict[str, str | None]:
    said = _said(data, tuple(keys))
    if isinstance(said, tuple):
        raise LvgError(*said)
    return dict(said)


def pytest_configure() -> None:
    envfile.sh_values = sys.modules["lvg.envfile.edit"].sh_values = sh_values
