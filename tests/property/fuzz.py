#!/usr/bin/python3
"""Edits thousands of generated libvirt-guests files, with a real dash outside any sandbox as the judge.

    tests/property/fuzz.py [--cases 100000] [--seed 0] [--shell "busybox sh"] [--record]

A run of so many cases is a row of rounds of ROUND cases, each with a seed of its own, the next number: a failure names
the seed, and `--cases 500 --seed THAT` is the same round again (with the same hypothesis). One process of the shell
reads all files of a round, each in a subshell. `--record` notes the result in docs/RELIABILITY.md.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "installer"), str(CHECKOUT / "tests/property"), str(CHECKOUT / "bench")]

from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from lvg.envfile import assignments, checked_edit, edit, notes, sdenv  # noqa: E402
from lvg.envfile.shell import tame  # noqa: E402
from lvg.errors import LvgError  # noqa: E402
from lvg.settings import SETTINGS  # noqa: E402
from test_envfile import KEYS, script_bytes, tame_files, wild_files, wishes  # noqa: E402

ROUND = 500
NOBODY = 65534
SECONDS = 60.0  # for one shell to read all files of a round
EACH = 40  # of so many cases one goes the whole way, with the sandbox
OUTCOMES = ("edited", "refused by its text", "refused because of what sh sees")
Reading = dict[str, bytes] | None
Case = tuple[str, bytes, dict[str, str]]

CORPUS = [path.read_bytes()[:6000] for path in sorted((CHECKOUT / "tests/data/configs").glob("*.conf"))]
SNIPPETS = [
    b"\n",
    b"\\",
    b"\\\n",
    b"'",
    b'"',
    b"#",
    b" ",
    b"\t",
    b"\r",
    b";",
    b"=",
    b"$",
    b"${",
    b"}",
    b"(",
    b")",
    b"`",
    b"&&",
    b"||",
    b"<<E\n",
    b"E\n",
    b"\0",
    b"\xff",
    b"\xe9",
    b"\xe2\x80\xa8",
    b"export ",
    b"URIS=",
    b"ON_BOOT=start",
    b"ON_SHUTDOWN='a\nb'",
    b"if :; then",
    b"fi",
    b"\nfi\n",
    b"unset URIS\n",
    b"return",
    b"readonly ",
    b"~",
    b"!",
    b"URIS+=x",
    b"case x in x)",
    b";;",
    b"esac",
    b"$'a\\nb'",
    b"$((",
    b"))",
    b"<<-'E'\n",
    b"# ",
]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Return a file of the corpus with some places cut out, doubled, or filled with what means something to sh."""
    data = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 0, 1, 2, 10]))
        new = draw(st.one_of(st.sampled_from(SNIPPETS), st.just(data[at : at + 30])))
        data = data[:at] + new + data[at + length :]
    return data


cases = st.one_of(
    st.tuples(st.just("tame"), tame_files, wishes),
    st.tuples(st.just("wild"), wild_files, wishes),
    st.tuples(st.just("spoilt"), spoilt(), wishes),
    st.tuples(st.just("bytes"), st.binary(max_size=60), wishes),
)


@dataclass
class Result:
    """What was counted, and what was wrong, with the case."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def blame(self, why: str, case: Case) -> None:
        self.wrong.append(f"{why}: {case!r}")


def drawn(number: int, count: int) -> list[Case]:
    """Return the cases of the round with this seed."""
    found: list[Case] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return found


def readings(files: Sequence[bytes], shell: Sequence[str]) -> list[Reading]:
    """Return what the shell has in each of KEYS after it sourced each file; None where it does not get to its end."""
    token = os.urandom(8).hex()
    defaults = "; ".join(f"{name}={SETTINGS[name].builtin}" for name in KEYS)
    shown = " ".join(f'"${{{name}-}}"' for name in KEYS)
    program = f"""\
ulimit -f 0
n=0
while [ $n -lt {len(files)} ]; do
printf '{token}%s\\0' $n
( {defaults}; . ./$n >/dev/null 2>&1; unset -f printf; printf '%s\\0' END {shown} )
n=$((n+1))
done
"""
    with tempfile.TemporaryDirectory(prefix="lvg-fuzz-") as folder:
        Path(folder).chmod(0o755)
        for number, data in enumerate(files):
            (Path(folder) / str(number)).write_bytes(data)
        command = [shutil.which(shell[0]) or shell[0], *shell[1:], "-c", program]
        try:
            done = _run(command, folder)
        except subprocess.TimeoutExpired:
            done = _run(command, folder)  # the machine may have been held up; what hangs does so again
    parts = re.split(rf"{token}\d+\0".encode(), done)[1:]
    assert len(parts) == len(files), "the shell ended before the last file"
    return [_reading(part) for part in parts]


def _run(command: Sequence[str], folder: str) -> bytes:
    user = NOBODY if os.geteuid() == 0 else None
    # without a time limit of its own a file that loops would hold the round up: SECONDS says so
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/nonexistent"},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        timeout=SECONDS,
        check=False,
    )
    return done.stdout


def _reading(part: bytes) -> Reading:
    head, *values = part.split(b"\0")
    return dict(zip(KEYS, values, strict=False)) if head == b"END" else None


def attempt(case: Case, result: Result) -> bytes | None:
    """Return the edited file, None if the text alone says no."""
    kind, data, values = case
    result.counts[kind] += 1
    if b"".join(script_bytes(data)) != data:
        result.blame("the chunks are not the file", case)
    if any("\n" in note for note in notes(data, values)):
        result.blame("a note of two lines", case)
    try:
        done = edit(data, values)
    except LvgError as error:
        result.counts[OUTCOMES[1]] += 1
        if kind == "tame":
            result.blame(f"a harmless file is refused ({error.what})", case)
        if not re.match(r"line \d+: ", error.what) or "\n" in error.what + error.todo:
            result.blame(f"a refusal without a line ({error.what})", case)
        return None
    return done.data


def judge(case: Case, new: bytes, old: Reading, seen: Reading, result: Result) -> None:
    """Hold an edited file against what the shell saw in it, and in the file before."""
    kind, data, values = case
    right = seen is not None and all(seen[name] == value.encode() for name, value in values.items())
    if not right:
        result.counts[OUTCOMES[2]] += 1
        if kind == "tame" or _accepted(case) is not None:
            result.blame(f"sh sees {seen}", case)
        return
    assert seen is not None
    result.counts[OUTCOMES[0]] += 1
    if old is not None and edit(new, values).data != new:
        result.blame("a second edit changes the file again", case)
    for reading in sdenv.read(new):
        if reading.whole and any(reading.values.get(name) != value for name, value in values.items()):
            result.blame("systemd would read another value", case)
    named = re.search("|".join(rf"\$\W?{name}" for name in values), data.decode("latin-1"))
    if old is not None and not named and any(seen[name] != old[name] for name in KEYS if name not in values):
        result.blame(f"another key changed ({old} -> {seen})", case)


def _accepted(case: Case) -> bytes | None:
    """Return the new file if the whole edit, with sh in its sandbox, takes it."""
    try:
        return checked_edit(case[1], case[2]).data
    except LvgError:
        return None


def judge_text(case: Case, old: Reading, result: Result) -> None:
    """Hold what is read from the text alone against what the shell saw: plain files can be understood in full."""
    if old is None or not tame(case[1]):
        return
    result.counts["understood without sh"] += 1
    found = {item.key: item.value for item in assignments(case[1])}
    for name in KEYS:
        value = found.get(name, SETTINGS[name].builtin)
        if value is not None and value.encode("utf-8", "surrogateescape") != old[name]:
            result.blame(f"{name} is read as {value!r}, and sh sees {old[name]!r}", case)


def one_round(number: int, count: int, shell: Sequence[str], result: Result) -> None:
    """Draw the cases with this seed, edit each, and let one shell read them all."""
    these = drawn(number, count)
    done = [(case, attempt(case, result)) for case in these]
    files = [data for case, new in done for data in (case[1], new or b"")]
    seen = readings(files, shell)
    for at, (case, new) in enumerate(done):
        old, now = seen[2 * at], seen[2 * at + 1]
        judge_text(case, old, result)
        if new is not None:
            judge(case, new, old, now, result)
            if at % EACH == 0 and (got := _accepted(case)) is not None and got != new:
                result.blame("the edit with sh makes another file", case)


def rounds(first: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield seed and size of each round."""
    for number in range(-(-count // ROUND)):
        yield first + number, min(ROUND, count - number * ROUND)


def table(result: Result, first: int, last: int) -> list[str]:
    """Return the lines of the result."""
    files = sum(result.counts[each] for each in ("tame", "wild", "spoilt", "bytes"))
    rows: list[tuple[str, object]] = [("seeds", f"{first} to {last}"), ("files", files)]
    rows += [(each, result.counts[each]) for each in (*OUTCOMES, "understood without sh")]
    rows += [("wrong values, crashes, hangs", len(result.wrong))]
    return [f"{name:<36} {value}" for name, value in rows]


def record(heading: str, lines: Sequence[str]) -> None:
    """Put the result into docs/RELIABILITY.md."""
    import results  # noqa: PLC0415

    file = CHECKOUT / "docs/RELIABILITY.md"
    if not file.exists():
        file.write_text("# What was tried to break it\n", encoding="utf-8")
    results.record(heading, lines, file)


def options() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shell", default="dash")
    parser.add_argument("--record", action="store_true")
    return parser.parse_args()


def main() -> int:
    """Run the rounds and return 0 if nothing was wrong."""
    given_words, result, number = options(), Result(), 0
    for number, count in rounds(given_words.seed, given_words.cases):
        before = len(result.wrong)
        try:
            one_round(number, count, shlex.split(given_words.shell), result)
        except AssertionError as error:
            result.wrong.append(str(error))
        except subprocess.TimeoutExpired:
            result.wrong.append(f"no end within {SECONDS:.0f} s")
        for why in result.wrong[before:]:
            print(f"seed {number}: {why}", flush=True)
    command = f"tests/property/fuzz.py --cases {given_words.cases} --seed {given_words.seed} --record"
    lines = [command, "", *table(result, given_words.seed, number)]
    print("\n".join(lines))
    if given_words.record:
        record(f"The editor, with {given_words.shell} as the judge", lines)
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
