"""The rooms of lvg in which tests/proof/mutants breaks things, and the tests that have to notice."""

from dataclasses import dataclass

LEAST = 85  # per cent of the mutants of each room that have to be killed


@dataclass(frozen=True)
class Room:
    """`sources` are below src, which is installer in the checkout; `tests` are words for pytest."""

    name: str
    sources: tuple[str, ...]
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()  # tests that take seconds: for thousands of mutants that is too long
    plugin: str = ""  # one of pytest, in tests/proof


def _unit(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/unit/test_{name}.py" for name in names)


def _runtime(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/runtime/test_{name}.py" for name in names)


_HARMLESS = (
    *_unit("shell_answers", "sandbox"),
    *(
        f"tests/unit/test_shell.py::test_{name}"
        for name in (
            "values",
            "bytes_that_are_not_utf8_survive",
            "keys_without_a_default_are_unset_before",
            "what_sh_cannot_read_is_refused_with_line_and_reason",
            "a_huge_file_is_refused",
            "that_wait_has_an_end",
            "what_a_file_prints_is_not_taken_for_values",
            "the_caller_is_not_changed",
            "without_landlock_only_plain_files_are_read",
        )
    ),
)
ROOMS = (
    Room(
        "policy",
        tuple(f"src/lvg/stopvm/{name}.py" for name in ("policy", "checks", "decide", "order", "timing")),
        _runtime("policy", "policy_values", "summary", "saving"),
    ),
    Room(
        "timeline",
        ("src/lvg/timeline/*.py",),
        (*_unit("timeline", "timeline_sums"), *_runtime("plan_holds")),
        (
            "tests/runtime/test_plan_holds.py::test_no_guest_ends_later_than_its_deadline",
            "tests/unit/test_timeline.py::test_plans_keep_what_stopvm_keeps",
        ),
    ),
    Room(
        "envfile",
        tuple(f"src/lvg/envfile/{name}.py" for name in ("edit", "read", "sdenv", "shtext", "shword")),
        _unit("envfile", "envfile_edges", "shtext", "sdenv"),
        plugin="sh_once",
    ),
    # The cage around sh is left out, and so are the files that try to get out of it: a hole in it would be a real one.
    Room("sh", ("src/lvg/envfile/shell.py",), _HARMLESS),
    Room("checkpoint", ("src/lvg/checkpoint.py",), _unit("checkpoint")),
    Room("changes", ("src/lvg/changes/*.py",), _unit("changes")),
)
