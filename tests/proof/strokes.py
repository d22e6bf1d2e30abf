"""One stroke and its judgement: a run is killed, or one of its calls fails, and then what is the host?"""

from collections.abc import Callable
from dataclasses import dataclass

import traced
from scratch import STATE, Tree, differences, look, outside, timeless
from stories import Scene, mended, torn
from traced import Point, Struck

KILL = "signal=SIGKILL"
ERRORS = ("ENOSPC", "EIO", "EROFS", "EACCES", "EINTR")

# How a stroke may end, in the words of the table.
BEFORE, AFTER = "as before", "as after"
BETWEEN = "in between"  # the next run makes it whole
LATER = "said"  # the run said what it could not put back; the next run does


@dataclass(frozen=True)
class Outcome:
    """What came of a stroke. `wrong` is empty if nothing was lost."""

    state: str
    wrong: tuple[str, ...] = ()


def kill(scene: Scene, point: Point) -> Outcome:
    """Kill the run just before this call; judge the host at once, and after each next run there may be."""
    scene.rewind()
    struck = traced.strike(scene.words(), scene.root, point, KILL, scene.log)
    wrong = [] if struck.hit and struck.code == -9 else [f"the stroke missed, exit code {struck.code}"]
    now = look(scene.root)
    return Outcome(_state(scene, now), (*wrong, *torn(scene, now), *mended(scene)))


def fail(scene: Scene, point: Point, error: str) -> Outcome:
    """Let this one call fail: the run has to end well, or to put everything back and say so."""
    scene.rewind()
    return judged(scene, traced.strike(scene.words(), scene.root, point, f"error={error}", scene.log))


def judged(scene: Scene, struck: Struck, ease: Callable[[], None] = lambda: None) -> Outcome:
    """Judge a run of which calls failed. `ease` is called before a next run: what made them fail is over then."""
    wrong = [] if struck.hit else ["the stroke missed"]
    now = look(scene.root)
    ease()
    if struck.code not in (0, 1):
        wrong.append(f"exit code {struck.code}")
    if struck.code:
        wrong += _unkind(scene, struck)
    whole, word = ((scene.after,), AFTER) if struck.code == 0 else ((scene.before, *scene.earlier), BEFORE)
    left = min((differences(timeless(tree), timeless(now)) for tree in whole), key=len)
    if not left:
        return Outcome(word, tuple(wrong))
    honest = struck.code == 1 and ("NOT put back" in struck.err or scene.story.killed)
    if honest:
        return Outcome(LATER, (*wrong, *torn(scene, now, parts=True), *mended(scene)))
    litter = [path for path, item in now.items() if item.kind == "folder" or path.startswith(STATE)]
    wrong += [f"exit code {struck.code}, and {text}" for text in left if text.split(": ")[0] not in litter]
    return Outcome(f"{word}, litter", (*wrong, *mended(scene)))


def _state(scene: Scene, now: Tree) -> str:
    if not differences(outside(scene.before), outside(now)):
        return BEFORE
    return BETWEEN if differences(outside(scene.after), outside(now)) else AFTER


def _unkind(scene: Scene, struck: Struck) -> list[str]:
    """Return what is wrong with what the run said to people: one line what happened, one what to do."""
    said, lines = [], struck.err.splitlines()
    if any(word in struck.err for word in ("Traceback", "unexpected")):
        said.append(f"it says: {struck.err.strip()}")
    if not lines or not any(
        line.startswith(f"{name}: ") for name in ("lvg-install", "lvg remove", "lvg rollback") for line in lines
    ):
        said.append(f"it says nothing of use: {struck.err!r}")
    return said
