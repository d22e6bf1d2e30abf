"""What a command writes, call by call with the bytes, as strace sees it."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import traced
from disk import Call

_LINE = re.compile(r"(?:(\d+) +)?(.*)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (\S+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|<((?:\\x[0-9a-f]{2})+)>')
_SAME = {"renameat": "rename", "renameat2": "rename", "unlinkat": "unlink", "fdatasync": "fsync", "mkdirat": "mkdir"}
_SAME |= {"fchmod": "chmod", "fchmodat": "chmod", "fchown": "chown", "lchown": "chown", "fchownat": "chown"}
_SAME |= {"symlinkat": "symlink", "fsetxattr": "setxattr", "lsetxattr": "setxattr", "ftruncate": "truncate"}


def calls(command: list[str], root: Path, log: Path, *, children: bool = False) -> list[Call]:
    """Run a command undisturbed; return what it changed below `root`. `children`: and its threads."""
    words = ["strace", *(["-f"] if children else []), "-y", "-xx", "-s", "9999999", "-e", "signal=none"]
    trace = f"trace={','.join(f'?{name}' for name in traced.CHANGING)}"
    done = traced.run([*words, "-o", str(log), "-e", trace, *command])
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return list(_below(log, root))


def _below(log: Path, root: Path) -> Iterator[Call]:
    for line in _whole_lines(log):
        match = _CALL.match(line)
        if match and not match[3].startswith("-"):
            yield from _call(match[1], match[2], str(root) + "/", match[3])


def _whole_lines(log: Path) -> Iterator[str]:
    """Yield each call as one line, where another thread's came in between too."""
    begun = dict[str, str]()
    for line in log.read_text().splitlines():
        thread, text = _LINE.match(line).groups()
        resumed = _RESUMED.match(text)
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>")
        elif resumed:
            yield begun.pop(thread) + resumed[1]
        else:
            yield text


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _call(name: str, arguments: str, root: str, result: str) -> Iterator[Call]:
    texts = [_bytes(quoted or named) for quoted, named in _TEXT.findall(arguments)]
    paths = tuple(text.decode().removeprefix(root) for text in texts if text.startswith(root.encode()))
    if not paths:
        return
    plain = [word.strip() for word in _TEXT.sub("", arguments).split(",")]
    name = _SAME.get(name, name)
    if name in ("open", "openat", "creat"):
        if "O_CREAT" in arguments:
            yield Call("create", paths[:1], number=int(plain[-1], 8) & ~0o022)
        if "O_TRUNC" in arguments:
            yield Call("truncate", paths[:1])
    elif name in ("chmod", "mkdir"):
        yield Call(name, paths[:1], number=int(plain[-1], 8) & (0o7777 if name == "chmod" else ~0o022))
    elif name == "chown":
        yield Call(name, paths[:1], number=int(plain[-2]), group=int(plain[-1]))
    elif name == "setxattr":
        yield Call(name, paths[:1], data=texts[2], word=texts[1].decode())
    elif name == "write":
        if int(result) != len(texts[1]):
            raise ValueError(f"a short write to {paths[0]}")
        yield Call(name, paths[:1], data=texts[1])
    elif name == "symlink":
        yield Call(name, paths[-1:], word=texts[0].decode())
    elif name == "unlink" and "AT_REMOVEDIR" in arguments:
        yield Call("rmdir", paths[-1:])
    elif name == "unlink":
        yield Call(name, paths[-1:])
    else:
        yield Call(name, paths[:2] if name == "rename" else paths[:1])
