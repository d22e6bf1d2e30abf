"""Checkpoints by themselves: what is kept comes back whole, and a damaged one is never used."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lvg import checkpoint
from lvg.checkpoint import FOLDER, Checkpoint, Entry
from lvg.errors import LvgError
from lvg.files import Root
from lvg.filestate import ABSENT, FileState, Meta, file_state, link_state

MINE = FileState("file", b"ON_BOOT=start\n\xff\0", meta=Meta(0o640, 12, 34, (("user.a", b"\0\xff"), ("user.b", b""))))
OURS = file_state(b"ON_BOOT=ignore\n")
FIRST = Checkpoint(
    "0001",
    "open",
    "2024-05-06T07:08:09+00:00",
    ("lvg-install", "--profile", "graceful"),
    (
        Entry("/etc/new", ABSENT, file_state(b"1").digest),
        Entry("/etc/default/libvirt-guests", MINE, OURS.digest),
        Entry("/etc/link", link_state("/etc/other"), "absent"),
    ),
    ("/etc/lvg",),
)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / FOLDER.lstrip("/")).mkdir(parents=True)
    return Root(tmp_path)


def folder(root: Root) -> Path:
    return root.real(FOLDER)


def names(root: Root) -> list[str]:
    return sorted(os.listdir(folder(root)))


def spoil(root: Root, **changed: Any) -> None:
    manifest = folder(root) / "0001/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changed}))


def test_what_is_saved_is_loaded_whole(root: Root) -> None:
    checkpoint.save(root, FIRST)
    assert checkpoint.load_all(root) == (FIRST,)
    assert names(root) == ["0001"]


def test_what_is_saved_is_for_roots_eyes_only(root: Root) -> None:
    checkpoint.save(root, FIRST)
    saved = folder(root) / "0001"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in saved.iterdir()} == {
        "1": 0o600,
        "manifest.json": 0o600,
    }


def test_a_checkpoint_of_an_earlier_release_can_still_be_read(root: Root) -> None:
    """What is on disk outlives the program that wrote it."""
    saved = folder(root) / "0007"
    saved.mkdir()
    (saved / "0").write_bytes(MINE.data)
    (saved / "manifest.json").write_text(
        '{"schema": 1, "phase": "done", "when": "W", "command": ["lvg"], "folders": ["/etc/lvg"], "drops": ["0003"],'
        ' "entries": [{"path": "/etc/a\\udcff", "kind": "file", "target": "", "mode": "0640", "uid": 12, "gid": 34,'
        f' "xattrs": {{"user.b": "", "user.a": "AP8="}}, "before": "{MINE.digest}", "after": "absent"}}]}}\n'
    )
    assert checkpoint.load_all(root) == (
        Checkpoint("0007", "done", "W", ("lvg",), (Entry("/etc/a\udcff", MINE, "absent"),), ("/etc/lvg",), ("0003",)),
    )


def test_what_is_written_can_be_read_by_a_later_release(root: Root) -> None:
    checkpoint.save(root, replace(FIRST, drops=("0009",)))
    text = (folder(root) / "0001/manifest.json").read_text()
    found = json.loads(text)
    assert text.startswith('{\n "schema": 1,\n')
    assert text.endswith("}\n")
    assert {key: found[key] for key in ("phase", "when", "command", "folders", "drops")} == {
        "phase": "open",
        "when": "2024-05-06T07:08:09+00:00",
        "command": ["lvg-install", "--profile", "graceful"],
        "folders": ["/etc/lvg"],
        "drops": ["0009"],
    }
    assert found["entries"][1] == {
        "path": "/etc/default/libvirt-guests",
        "kind": "file",
        "target": "",
        "mode": "0640",
        "uid": 12,
        "gid": 34,
        "xattrs": {"user.a": "AP8=", "user.b": ""},
        "before": MINE.digest,
        "after": OURS.digest,
    }


def test_a_path_that_is_not_utf8_survives(root: Root) -> None:
    odd = replace(FIRST, entries=(Entry("/etc/\udcff", MINE, "absent"),))
    checkpoint.save(root, odd)
    assert checkpoint.load_all(root) == (odd,)


def test_how_far_a_run_got_is_kept_with_all_the_rest(root: Root) -> None:
    checkpoint.save(root, FIRST)
    done = checkpoint.mark(root, FIRST, "done")
    assert done == replace(FIRST, phase="done")
    assert checkpoint.load_all(root) == (done,)
    dropped = checkpoint.mark(root, done, "drop", ("0002", "0003"))
    assert checkpoint.load_all(root) == (dropped,) == (replace(FIRST, phase="drop", drops=("0002", "0003")),)
    assert stat.S_IMODE((folder(root) / "0001/manifest.json").stat().st_mode) == 0o600


def test_each_has_the_number_behind_the_last_one(root: Root) -> None:
    assert checkpoint.next_id(()) == "0001"
    assert checkpoint.next_id((FIRST, replace(FIRST, id="0009"))) == "0010"
    assert checkpoint.next_id((replace(FIRST, id="9999"),)) == "10000"


def test_they_are_read_by_their_numbers_and_nothing_else_is(root: Root) -> None:
    for name in ("10000", "9999", "0001"):
        checkpoint.save(root, replace(FIRST, id=name))
    for name in (".new-0002", ".old-0003", "notes", "²", "٣"):
        (folder(root) / name).mkdir()
    assert [each.id for each in checkpoint.load_all(root)] == ["0001", "9999", "10000"]


def test_without_checkpoints_there_are_none(tmp_path: Path) -> None:
    assert checkpoint.load_all(Root(tmp_path)) == ()


def test_a_rest_of_a_killed_run_does_not_stand_in_the_way(root: Root) -> None:
    rest = folder(root) / ".new-0001"
    rest.mkdir()
    (rest / "1").write_text("half")
    checkpoint.save(root, FIRST)
    assert checkpoint.load_all(root) == (FIRST,)
    assert names(root) == ["0001"]


def test_one_that_cannot_be_completed_leaves_nothing(root: Root) -> None:
    checkpoint.save(root, FIRST)
    with pytest.raises(OSError, match="not empty"):
        checkpoint.save(root, replace(FIRST, phase="done"))
    assert names(root) == ["0001"]
    assert checkpoint.load_all(root) == (FIRST,)


def test_only_the_named_ones_are_deleted_and_their_rests(root: Root) -> None:
    for number in ("0001", "0002", "0003"):
        checkpoint.save(root, replace(FIRST, id=number))
    for name in (".old-0009", ".new-0009", "kept", "x.old-1"):
        (folder(root) / name).mkdir()
    checkpoint.delete(root, ("0003", "0002", "0005"))
    assert names(root) == ["0001", "kept", "x.old-1"]


def test_the_newest_is_deleted_first(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in ("0002", "9999", "10000"):
        checkpoint.save(root, replace(FIRST, id=number))
    left = []
    rename = Path.rename

    def watched(path: Path, target: Path) -> Path:
        left.append(path.name)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", watched)
    checkpoint.delete(root, ("9999", "10000", "0002"))
    assert left == ["10000", "9999", "0002"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schema": 2}, "was written by a newer lvg"),
        ({"entries": [{}]}, "cannot be read: KeyError"),
        ({"entries": 7}, "cannot be read: TypeError"),
        ({"command": None}, "cannot be read: TypeError"),
    ],
)
def test_one_that_is_not_understood_is_no_ground_for_an_undo(root: Root, changed: dict[str, Any], said: str) -> None:
    checkpoint.save(root, FIRST)
    spoil(root, **changed)
    with pytest.raises(LvgError) as caught:
        checkpoint.load_all(root)
    assert said in caught.value.what
    assert str(folder(root) / "0001") in caught.value.what
    expected = {"schema": "Use that version of lvg to undo it."}
    backup = "Restore this folder from a backup, or move it away to give up that undo."
    assert caught.value.todo == expected.get(next(iter(changed)), backup)


@pytest.mark.parametrize("harm", ["blob changed", "blob gone", "manifest cut", "manifest gone"])
def test_a_damaged_one_is_refused(root: Root, harm: str) -> None:
    checkpoint.save(root, FIRST)
    what, how = harm.split()
    path = folder(root) / "0001" / {"blob": "1", "manifest": "manifest.json"}[what]
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(LvgError, match="cannot be read") as caught:
        checkpoint.load_all(root)
    if harm == "blob changed":
        assert "ValueError the saved copy of /etc/default/libvirt-guests is damaged" in caught.value.what


def test_what_is_no_file_is_not_waited_for(root: Root) -> None:
    checkpoint.save(root, FIRST)
    manifest = folder(root) / "0001/manifest.json"
    manifest.unlink()
    os.mkfifo(manifest)
    with pytest.raises(LvgError, match=r"ValueError .*regular file"):
        checkpoint.load_all(root)


def run(number: int, path: str, before: FileState, after: FileState) -> Checkpoint:
    return Checkpoint(f"{number:04d}", "done", "", (), (Entry(path, before, after.digest),))


A, B, C = (file_state(text) for text in (b"a", b"b", b"c"))


def test_the_first_state_is_the_original_and_the_last_the_rest() -> None:
    runs = (run(1, "/a", A, B), run(2, "/b", ABSENT, C), run(3, "/a", B, C))
    assert checkpoint.originals(runs) == {"/a": A, "/b": ABSENT}
    assert checkpoint.leftovers(runs) == {"/a": C.digest, "/b": C.digest}


@pytest.mark.parametrize(
    ("runs", "lost"),
    [
        ((run(1, "/a", A, B), run(2, "/a", B, C)), ()),
        ((run(1, "/a", A, B), run(2, "/a", C, B)), ("/a",)),
        ((run(1, "/a", A, B), run(2, "/a", A, C)), ()),
        ((run(1, "/a", A, B), run(2, "/b", C, B), run(3, "/a", B, C)), ()),
        ((run(1, "/a", A, B), run(2, "/a", C, B), run(3, "/a", C, B)), ("/a",)),
        ((run(1, "/a", A, B), run(2, "/b", A, B), run(3, "/b", C, A), run(4, "/a", C, A)), ("/b", "/a")),
    ],
)
def test_an_edit_between_two_runs_would_be_lost(runs: tuple[Checkpoint, ...], lost: tuple[str, ...]) -> None:
    assert checkpoint.edited_between(runs) == lost
