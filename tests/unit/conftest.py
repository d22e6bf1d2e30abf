"""What more than one file of unit tests needs; the helper modules are plain modules beside this file."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lvg.files import Root

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[Mapping[str, str]], Root]:
    """A root, and a way to put files ("-> target" makes a link) into it."""

    def put(files: Mapping[str, str]) -> Root:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                path.symlink_to(text[3:])
            else:
                path.write_text(text)
        return Root(tmp_path)

    return put
