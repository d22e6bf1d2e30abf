"""The last shutdown as `lvg status` counts it."""

import json
from pathlib import Path

import pytest

from lvg.files import Root
from lvg.layout import HISTORY_DIR
from lvg.shutdowns import last_shutdown, verdicts

GUESTS = [
    {"verdict": "clean"},
    {"verdict": ""},
    {"verdict": "left", "wanted": True},
    {"verdict": "left", "wanted": False},
]


@pytest.mark.parametrize(
    ("boot", "ended", "this_boot", "without"),
    [
        ("b", "", "b", "not yet"),
        ("a", "", "b", "lost"),
        ("b", "then", "b", "lost"),
        ("", "", "", "lost"),
    ],
)
def test_a_guest_without_a_verdict_is_lost_only_after_this_boot(
    boot: str, ended: str, this_boot: str, without: str
) -> None:
    record = {"boot_id": boot, "ended": ended, "guests": GUESTS}
    assert verdicts(record, this_boot) == {"clean": 1, without: 1, "left to libvirt-guests": 1, "left": 1}


def write(root: Path, number: int, **record: object) -> None:
    folder = root / HISTORY_DIR.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number:08}-x.json").write_text(json.dumps({"started": f"s{number}", "guests": GUESTS[:2], **record}))


def test_a_root_that_does_not_run_has_no_stop_at_work(tmp_path: Path) -> None:
    this_boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    write(tmp_path, 1, kind="shutdown", boot_id=this_boot)
    write(tmp_path, 2, kind="now", boot_id=this_boot)
    found = last_shutdown(Root(tmp_path))
    assert found == {"when": "s1", "file": "00000001-x.json", "verdicts": {"clean": 1, "lost": 1}}


def test_a_power_cut_is_a_shutdown_too(tmp_path: Path) -> None:
    write(tmp_path, 1, kind="shutdown")
    write(tmp_path, 2, kind="cut", guests=[{"verdict": "lost"}, {"verdict": "lost"}])
    found = last_shutdown(Root(tmp_path))
    assert found == {"when": "s2", "file": "00000002-x.json", "verdicts": {"lost": 2}}
