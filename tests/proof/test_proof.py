"""A small sample of what the programs in this folder do, and that what they look for is found.

.ci/run has larger samples made by the programs themselves.
"""

import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import lastwords
import recorded
import strokes
import traced
from disk import Call, Disk
from scratch import lay
from stories import STORIES, Scene, mended, stage, torn

RULES = ("journal", "strict")
BEFORE = Disk.holding({}).seen()


@pytest.fixture(scope="module", params=[STORIES[1], STORIES[3]], ids=lambda story: story.name)
def scene(request: Any, memory_folder: Path) -> Scene:
    return stage(request.param, Path(tempfile.mkdtemp(dir=memory_folder)))


@pytest.mark.strace
def test_struck_at_a_sample_of_calls_nothing_is_lost(scene: Scene) -> None:
    scene.rewind()
    points = traced.points(scene.words(), scene.root, scene.log)
    dice = random.Random(len(points))
    for point in dice.sample(points, 1):
        assert strokes.kill(scene, point).wrong == ()
    for point in dice.sample(points, 1):
        assert strokes.fail(scene, point, dice.choice(strokes.ERRORS)).wrong == ()


@pytest.mark.strace
def test_a_sample_of_what_a_power_cut_leaves_is_made_whole(scene: Scene) -> None:
    scene.rewind()
    calls = recorded.calls(traced.program(scene.words()), scene.root, scene.log)
    trees, disk, dice = [], Disk.holding(scene.before), random.Random(len(calls))
    for call in calls:
        disk.do(call)
        trees += [tree for rule in RULES for tree in disk.after_a_cut(rule)]
    for tree in dice.sample(trees, 2):
        lay(scene.root, tree)
        assert torn(scene, tree) + mended(scene) == []


@pytest.mark.strace
def test_no_guest_is_forgotten_whenever_the_power_goes_in_a_stop(tmp_path: Path) -> None:
    pytest.importorskip("libvirt")
    for name, before, calls, judge in lastwords.courses(tmp_path):
        disk = Disk.holding(before)
        for number, call in enumerate(calls, 1):
            disk.do(call)
            for rule in RULES:
                for tree in disk.after_a_cut(rule):
                    assert judge(tree, number, number == len(calls)) == [], f"{name}, after {number} calls"


def _left(rule: str, *calls: Call) -> list[dict[str, bytes]]:
    disk = Disk.holding(BEFORE)
    for call in calls:
        disk.do(call)
    return [{path: item.data for path, item in tree.items()} for tree in disk.after_a_cut(rule)]


WRITE = (Call("create", ("a",)), Call("write", ("a",), b"text"))
SYNC, RENAME, SYNC_FOLDER = Call("fsync", ("a",)), Call("rename", ("a", "b")), Call("fsync", ("",))


def test_without_fsync_a_renamed_file_may_be_empty() -> None:
    assert {"b": b""} in _left("journal", *WRITE, RENAME)
    assert _left("journal", *WRITE, SYNC, RENAME) == [{"b": b"text"}]


def test_without_fsync_of_the_folder_a_rename_may_not_have_been() -> None:
    left = _left("strict", *WRITE, SYNC, RENAME)
    assert {} in left
    assert {"b": b"text"} in left
    assert _left("strict", *WRITE, SYNC, RENAME, SYNC_FOLDER) == [{"b": b"text"}]


def test_what_is_safe_in_a_folder_that_is_not_may_be_gone() -> None:
    inside = [Call("mkdir", ("d",)), Call("create", ("d/a",)), Call("fsync", ("d/a",)), Call("fsync", ("d",))]
    assert {} in _left("strict", *inside)
    assert _left("strict", *inside, SYNC_FOLDER) == [{"d": b"", "d/a": b""}]


def test_a_call_that_nobody_thought_of_is_no_success() -> None:
    with pytest.raises(ValueError, match="copy_file_range"):
        _left("strict", Call("copy_file_range", ("a",)))
