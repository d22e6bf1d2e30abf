"""What is cut off: each story is a host, what was done to it before, and the command that is struck."""

from dataclasses import dataclass
from pathlib import Path

import traced
from scratch import FakeHost, Tree, clear, copy, differences, host_at, is_temporary, look, outside, plant, timeless

Words = tuple[str, ...]
GRACEFUL: Words = ("lvg-install", "--profile", "graceful")
SUSPEND: Words = ("lvg-install", "--profile", "suspend")
OVERLAY: Words = ("lvg-install", "--profile", "graceful", "--overlay")
REMOVE: Words = ("lvg", "remove")
ROLLBACK: Words = ("lvg", "rollback")


@dataclass(frozen=True)
class Story:
    """`first` runs undisturbed, `killed` is killed, then `command` is struck.

    `again` is the next run that leads to where `command` wanted to; `back` the one that leads to where it began.
    `exact`: `again` leaves the very state folder that an undisturbed run leaves. `killed_at` counts calls from the one
    that marks the run as done.
    """

    name: str
    kind: str
    first: tuple[Words, ...]
    command: Words
    again: Words
    back: Words = ()
    exact: bool = True
    killed: Words = ()
    killed_at: int = 0


STORIES = (
    Story("apply", "debian", (), GRACEFUL, GRACEFUL, REMOVE),
    Story("apply over an apply", "debian", (GRACEFUL,), SUSPEND, SUSPEND, GRACEFUL),
    Story("rollback of the second apply", "debian", (GRACEFUL, SUSPEND), ROLLBACK, GRACEFUL, SUSPEND, exact=False),
    Story("remove", "debian", (GRACEFUL,), REMOVE, REMOVE, GRACEFUL),
    Story("remove of two applies", "debian", (GRACEFUL, SUSPEND), REMOVE, REMOVE, SUSPEND),
    Story("apply as an overlay", "debian", (), OVERLAY, OVERLAY, REMOVE),
    Story("apply on OpenRC", "openrc", (), GRACEFUL, GRACEFUL, REMOVE),
    Story("remove on OpenRC", "openrc", (GRACEFUL,), REMOVE, REMOVE, GRACEFUL),
    Story("the run after a killed apply", "debian", (GRACEFUL,), GRACEFUL, GRACEFUL, killed=SUSPEND),
    Story("the run after a killed remove", "debian", (GRACEFUL,), REMOVE, REMOVE, killed=REMOVE),
    Story("the run after a marked remove", "debian", (GRACEFUL,), GRACEFUL, GRACEFUL, killed=REMOVE, killed_at=2),
)


@dataclass(frozen=True)
class Scene:
    """A story on disk: where it plays, the tree that it begins with, and what its undisturbed course leads to."""

    story: Story
    folder: Path
    pristine: Tree
    before: Tree
    after: Tree
    earlier: tuple[Tree, ...]  # before a killed run, and what it would have made

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def log(self) -> Path:
        return self.folder / "strace.log"

    def words(self) -> list[str]:
        return [*self.story.command, "--root", str(self.root)]

    def rewind(self) -> None:
        """Make the root what it is before the command."""
        copy(self.folder / "start", self.root)


def stage(story: Story, folder: Path) -> Scene:
    """Play a story once without a disturbance, below `folder`."""
    root, start = folder / "root", folder / "start"
    clear(root)
    plant(root, story.kind)
    pristine = look(root)
    for command in story.first:
        must(host_at(root), command)
    earlier = _kill(story, root, start, folder / "strace.log") if story.killed else ()
    copy(root, start)
    before = look(root)
    must(host_at(root), story.command)
    return Scene(story, folder, pristine, before, look(root), earlier)


def _kill(story: Story, root: Path, start: Path, log: Path) -> tuple[Tree, ...]:
    """Kill a run; return the tree before it, and the one that it would have made."""
    words, before = [*story.killed, "--root", str(root)], look(root)
    copy(root, start)
    points = traced.points(words, root, log)
    after = look(root)
    marks = [number for number, point in enumerate(points) if point.marks]
    copy(start, root)
    struck = traced.strike(words, root, points[marks[-1] + story.killed_at], "signal=SIGKILL", log)
    if not struck.hit or struck.code != -9:
        raise AssertionError(f"{' '.join(words)} was not killed")
    return before, after


def must(host: FakeHost, command: Words, also: int = 0) -> None:
    """Run a command, which has to end well; `also` is an exit code that is as good as 0."""
    done = host.run(*command)
    if done.code not in (0, also):
        raise AssertionError(f"{' '.join(command)} ended with {done.code}: {done.err.strip()}")


def torn(scene: Scene, now: Tree, *, parts: bool = False) -> list[str]:
    """Return what is neither as before nor as after, file by file, right after the stroke; and what leads nowhere.

    The latter not if `parts` were left out, and the run said so.
    """
    now, known = outside(now), [outside(tree) for tree in (scene.before, scene.after, *scene.earlier)]
    said = []
    for path in sorted({*now, *scene.before, *scene.after}):
        if now.get(path) not in [tree.get(path) for tree in known] and not is_temporary(path):
            said.append(f"{path} is neither as before nor as after")
    return said if parts else said + headless(now)


def headless(tree: Tree) -> list[str]:
    """Return what of ours would be called and is not there: a link without its unit, a unit without its program."""
    said = []
    for path, item in tree.items():
        name = path.rsplit("/", 1)[-1]
        if item.kind == "link" and name.startswith("graceful-") and item.data.decode().lstrip("/") not in tree:
            said.append(f"{path} is enabled without its unit")
        calls = name in ("graceful-shutdown.service", "graceful-restore.service", "graceful-shutdown")
        if item.kind == "file" and calls and not {"usr/local/bin/stopvm", "etc/lvg/policy.json"} <= {*tree}:
            said.append(f"{path} calls a program that is not there, or has no policy")
    return said


def mended(scene: Scene) -> list[str]:
    """Let the next run come, each that there may be, and return what is then not as it was before or after."""
    said, struck = [], scene.folder / "struck"
    copy(scene.root, struck)
    for word, next_run, wanted in (("again", scene.story.again, scene.after), ("back", scene.story.back, scene.before)):
        if not next_run:
            continue
        copy(struck, scene.root)
        said += [f"{word}: {text}" for text in _next(scene, scene.root, next_run, wanted, word == "again")]
    return said


def _next(scene: Scene, root: Path, command: Words, wanted: Tree, again: bool) -> list[str]:
    host = host_at(root)
    try:
        must(host, command, also=6 if command == REMOVE else 0)
    except AssertionError as error:
        return [str(error)]
    now = look(root)
    exact = scene.story.exact and (again or command == REMOVE)
    said = differences(timeless(wanted), timeless(now)) if exact else differences(outside(wanted), outside(now))
    if command != REMOVE:
        status = host.run("lvg", "status", "--quiet").code
        said += [f"lvg status ended with {status}"] if status else []
        try:
            must(host, REMOVE)
        except AssertionError as error:
            return [*said, str(error)]
    return said + [f"after lvg remove: {text}" for text in differences(scene.pristine, look(root))]
