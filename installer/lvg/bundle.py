"""The program stopvm as one file: a zip of lvg/stopvm that the distro's Python runs by itself.

It lives on when the virtual environment that installed it is gone, and it is the same bytes each
time it is made, so that it can be compared with what lies on a host.
"""

import importlib.util
import io
import marshal
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path, PurePosixPath
from types import CodeType

from lvg.errors import LvgError
from lvg.files import Root

INTERPRETER = "/usr/bin/python3"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest date a zip can hold
_SOURCE = Path(__file__).parent / "stopvm"
_MAIN = b"from stopvm.__main__ import main\n\nmain()\n"
_NEVER_COMPARED = 1  # in the flags of compiled code: it belongs to its source, so that nobody has to look (PEP 552)
_NO_REFERENCES = 2  # version of marshal's format; later ones depend on what else refers to an object
_COMMENT = """\
# Installed by lvg-install
# stopvm stops the guests of this host cleanly when the host goes down. This file is a Python zipapp.
# Stop guests by hand: stopvm stop --now
# Undo without lvg: systemctl disable graceful-shutdown.service graceful-restore.service; rm this file
# (a package's /usr/bin/stopvm: remove the package lvg)
"""
_PACKAGE_FOLDERS = (
    "/usr/lib/python3/dist-packages",
    "/usr/local/lib/python3*/dist-packages",
    "/usr/lib/python3*/site-packages",
    "/usr/lib64/python3*/site-packages",
    "/usr/local/lib/python3*/site-packages",
    "/usr/local/lib64/python3*/site-packages",
)


def program(interpreter: str = INTERPRETER) -> bytes:
    """Return the bytes of stopvm, to be run by `interpreter` (an absolute path, no arguments).

    It runs isolated (-I): neither PYTHON* variables nor the folder it is called from nor root's own
    packages can change what runs; the distro's packages stay in reach. Raises LvgError for an
    interpreter that a first line cannot name.
    """
    if not interpreter.startswith("/") or any(char.isspace() for char in interpreter):
        raise LvgError(f"{interpreter!r} cannot stand in a first line", "Give the full path of a Python interpreter.")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, data in [("__main__.py", _MAIN), *_modules()]:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, wherever it is made
            zipped.writestr(entry, data)  # stored: quicker to start, and no zlib version changes the bytes
    return f"#!{interpreter} -I\n{_COMMENT}".encode() + archive.getvalue()


def _modules() -> Iterator[tuple[str, bytes]]:
    """Yield each module as source, for any Python, and compiled, which only the Python that runs here takes.

    Compiling takes a third of the time that stopvm needs to start. Another Python passes the compiled ones over.
    """
    for path in sorted(_SOURCE.rglob("*.py")):
        name, source = str(PurePosixPath("stopvm", path.relative_to(_SOURCE).as_posix())), path.read_bytes()
        yield name, source
        yield f"{name}c", _compiled(path, name, source)


def _compiled(path: Path, name: str, source: bytes) -> bytes:
    """Return a compiled module, from Python's own cache if it is there. Without docstrings it would be other bytes."""
    module = f"lvg.stopvm.{path.stem}"
    cached = None if sys.flags.optimize else SourceFileLoader(module, str(path)).get_code(module)
    code = cached or compile(source, name, "exec", dont_inherit=True, optimize=0)
    head = importlib.util.MAGIC_NUMBER + _NEVER_COMPARED.to_bytes(4, "little") + importlib.util.source_hash(source)
    return head + marshal.dumps(_as_file(code, name), _NO_REFERENCES)


def _as_file(code: CodeType, name: str) -> CodeType:
    """Return code, and all code in it, that says it comes from file `name`, wherever it was compiled."""
    inner = (_as_file(each, name) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_filename=name, co_consts=tuple(inner))


def interpreter_has_libvirt(root: Root, interpreter: str = INTERPRETER) -> bool:
    """True if `interpreter` can `import libvirt`: asked on the live host, looked for on disk under --root."""
    if root.live:
        return _asks(interpreter)
    return any(root.exists(f"{folder}/libvirt.py") for folder in _folders(root))


def _asks(interpreter: str) -> bool:
    command = [interpreter, "-I", "-c", "import libvirt"]
    environment = {"PATH": os.defpath, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _folders(root: Root) -> Iterator[str]:
    for pattern in _PACKAGE_FOLDERS:
        before, star, after = pattern.partition("python3*")
        if not star:
            yield pattern
        for name in root.listdir(before) if star else []:
            if name.startswith("python3"):
                yield f"{before}{name}{after}"
