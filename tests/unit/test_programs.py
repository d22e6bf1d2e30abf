"""Every program that is started: a list of words, no shell, and a first word that nobody else can bend."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from lvg import bundle
from lvg.envfile import sandbox

SOURCE = Path(__file__).resolve().parents[2] / "installer/lvg"
STARTERS = {"run", "Popen", "call", "check_call", "check_output", "create_subprocess_exec", "execve", "posix_spawn"}
STARTERS |= {"subprocess_exec"}
FORBIDDEN = {
    "system",
    "popen",
    "getoutput",
    "getstatusoutput",
    "create_subprocess_shell",
    "subprocess_shell",
    "execvp",
    "execlp",
    "execvpe",
    "execlpe",
    "spawnvp",
    "spawnlp",
    "posix_spawnp",
    "startfile",
    "execv",
    "execl",
}
MODULES = {"subprocess", "os", "asyncio", "pty"}
OF_A_LOOP = {"subprocess_exec", "subprocess_shell"}  # whatever the loop is called
# What was looked at elsewhere before it is started, with where.
CHECKED = {
    "rehearsal/work.py": ("self.program", "commands/rehearse.py took it from lvg's own record, and ran it once"),
    "commands/rehearse.py": (
        "str(self.root.real(record.program))",
        "lvg's own record, which only root can read or write",
    ),
    "guests/look.py": ("interpreter", "sys.executable or bundle.INTERPRETER"),
    "bundle.py": ("interpreter", "INTERPRETER, a path of the distro's"),
    "stopvm/hooks.py": ("*command", "the admin's own word in policy.json, which is root's and nobody else's to write"),
    "envfile/shell.py": ("sandbox.SHELL", "a path, see below"),
}
FIXED_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@functools.cache
def sources() -> dict[Path, tuple[ast.Module, tuple[ast.AST, ...]]]:
    """Return what each file is, and every node of it: both take time."""
    trees = {path: ast.parse(path.read_bytes()) for path in sorted(SOURCE.rglob("*.py"))}
    return {path: (tree, tuple(ast.walk(tree))) for path, tree in trees.items()}


def calls() -> Iterator[tuple[str, ast.Module, ast.Call, str]]:
    for path, (tree, nodes) in sources().items():
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if node.func.attr in OF_A_LOOP or (isinstance(owner, ast.Name) and owner.id in MODULES):
                    yield str(path.relative_to(SOURCE)), tree, node, node.func.attr


STARTS = [
    (name, tree, call)
    for name, tree, call, what in calls()
    if what in STARTERS
    and (what, call.args)
    and not (what == "run" and isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "asyncio")
]


def first_word(tree: ast.Module, call: ast.Call) -> ast.expr:
    """Return the expression of the program: in the list that is given, or in the variable that holds it."""
    protocol = ast.unparse(call.func).endswith(".subprocess_exec")  # which a loop takes first
    words = call.args[1 if protocol else 0]
    if isinstance(words, ast.Name):
        found = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign | ast.AnnAssign)
            and node.value
            and any(isinstance(each, ast.Name) and each.id == words.id for each in targets(node))
            and isinstance(node.value, ast.List)
        ]
        assert len(found) == 1, f"{ast.unparse(call)[:80]}: which list is it?"
        words = found[0]
    return words.elts[0] if isinstance(words, ast.List) else words


def targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def is_fixed(tree: ast.Module, call: ast.Call) -> bool:
    """True if the program is looked for in the distro's folders alone, whatever PATH the caller has."""
    return any(word.arg == "env" for word in call.keywords) and FIXED_PATH in ast.unparse(tree)


def why_safe(name: str, tree: ast.Module, call: ast.Call) -> str:
    program = first_word(tree, call)
    text = ast.unparse(program)
    if isinstance(program, ast.Constant) and isinstance(program.value, str):
        if program.value.startswith("/"):
            return "a path"
        return "looked for in fixed folders" if is_fixed(tree, call) else ""
    if isinstance(program, ast.JoinedStr) and isinstance(program.values[0], ast.Constant):
        return "a path" if str(program.values[0].value).startswith("/") else ""
    if text == "sys.executable" or text.startswith("trusted("):
        return text
    return CHECKED[name][1] if CHECKED.get(name, ("",))[0] == text else ""


def test_every_program_is_a_path_or_was_checked() -> None:
    assert len(STARTS) > 8
    assert CHECKED.keys() <= {name for name, _, _ in STARTS}
    unsafe = {
        f"{name}:{call.lineno}: {ast.unparse(call)[:80]}"
        for name, tree, call in STARTS
        if not why_safe(name, tree, call)
    }
    assert unsafe == set()


def test_nothing_goes_through_a_shell() -> None:
    found = [f"{name}:{call.lineno} {what}" for name, _, call, what in calls() if what in FORBIDDEN]
    assert found == []
    for name, _, call in STARTS:
        assert not any(word.arg == "shell" for word in call.keywords), name
        assert not any(word.arg is None for word in call.keywords), f"{name}: what is in **it?"


def test_a_script_for_sh_holds_no_text_of_others() -> None:
    """What sh gets to read is a constant, or made of names and tokens of ours (envfile.shell)."""
    for name, tree, call in STARTS:
        text = ast.unparse(first_word(tree, call))
        if text == "'/bin/sh'":
            words = call.args[0]
            assert isinstance(words, ast.List)
            script = words.elts[-1]
            assert isinstance(script, ast.Name)
            (value,) = [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Assign)
                and ast.unparse(node.targets[0]) == script.id
                and isinstance(node.value, ast.Constant)
            ]
            assert isinstance(value.value, str), name


def test_the_paths_are_those_of_the_distro() -> None:
    assert sandbox.SHELL == "/bin/sh"
    assert bundle.INTERPRETER.startswith("/usr/bin/python")


def test_nothing_is_imported_under_another_name() -> None:
    """Else the tests above would miss a call."""
    for path, (_, nodes) in sources().items():
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module in MODULES:
                assert not {alias.name for alias in node.names} & (STARTERS | FORBIDDEN), path
            if isinstance(node, ast.Import):
                assert not [alias for alias in node.names if alias.name in MODULES and alias.asname], path
