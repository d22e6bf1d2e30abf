"""Where profiles are looked for, which one wins, and whose files are trusted."""

import os
from pathlib import Path

import pytest

from lvg import profiles
from lvg.errors import LvgError, UsageError
from lvg.files import Root
from lvg.profiles import reading

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "etc/lvg/profiles"
    folder.mkdir(parents=True)
    return folder


def put(folder: Path, name: str, text: str, mode: int = 0o644) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_local_profile_beats_the_shipped_one(local: Path, tmp_path: Path) -> None:
    put(local, "graceful", 'summary = "ours"\n[stopvm]\ntimeout = 30\n')
    profile = profiles.load("graceful", Root(tmp_path))
    assert (profile.summary, profile.settings, profile.stop["timeout"]) == ("ours", {}, 30)
    assert profile.origin["timeout"] == "/etc/lvg/profiles/graceful.toml"
    assert profile.files == ("/etc/lvg/profiles/graceful.toml",)


def test_local_profile_extends_the_shipped_one_of_its_name(local: Path, tmp_path: Path) -> None:
    put(local, "graceful", 'extends = "graceful"\n[stopvm]\ntimeout = 30\n')
    profile = profiles.load("graceful", Root(tmp_path))
    assert (profile.stop["timeout"], profile.stop["boot"]) == (30, "restore")
    assert profile.settings["ON_SHUTDOWN"] == "shutdown"
    assert profile.origin["boot"] == "graceful.toml"
    assert [Path(file).name for file in profile.files] == ["graceful.toml", "graceful.toml"]


def test_local_profile_extends_another_local_one(local: Path, tmp_path: Path) -> None:
    put(local, "graceful", 'extends = "graceful"\n[stopvm]\ntimeout = 30\n')
    put(local, "site", 'extends = "graceful"\n')
    assert profiles.load("site", Root(tmp_path)).stop["timeout"] == 30
    assert "site" in [profile.name for profile in profiles.available(Root(tmp_path))]


def test_local_profile_extends_its_own_name_though_nothing_is_shipped(local: Path, tmp_path: Path) -> None:
    put(local, "mine", 'extends = "mine"\n')
    said = r'/etc/lvg/profiles/mine\.toml, line 1: extends = "mine": There is no profile "mine"\.$'
    with pytest.raises(UsageError, match=said):  # and no hint that it means itself
        profiles.load("mine", Root(tmp_path))


def test_circle_of_extends_is_refused(local: Path, tmp_path: Path) -> None:
    put(local, "a", 'extends = "b"\n')
    put(local, "b", 'extends = "c"\n')
    put(local, "c", 'extends = "a"\n')
    with pytest.raises(UsageError) as caught:
        profiles.load("a", Root(tmp_path))
    assert caught.value.what.count("/etc/lvg/profiles/a.toml") == 2
    assert "circle" in caught.value.what


def test_profile_of_the_host_does_not_extend_a_path(local: Path, tmp_path: Path) -> None:
    put(local, "a", 'extends = "/tmp/x.toml"\n')
    with pytest.raises(UsageError, match=r"line 1: extends = .* is a path"):
        profiles.load("a", Root(tmp_path))


def test_path_is_the_callers_not_the_roots(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "home"
    elsewhere.mkdir()
    put(elsewhere, "mine", "[stopvm]\ntimeout = 33\n")
    put(local, "mine", "[stopvm]\ntimeout = 44\n")
    root = Root(tmp_path)
    monkeypatch.chdir(elsewhere)
    assert profiles.load("mine.toml", root).stop["timeout"] == 33
    assert profiles.load("./mine.toml", root).stop["timeout"] == 33
    assert profiles.load(str(elsewhere / "mine.toml"), root).stop["timeout"] == 33
    assert profiles.load("mine", root).stop["timeout"] == 44


def test_missing_path_hints_at_the_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        profiles.load("graceful.toml", Root(tmp_path))
    assert "no profile file graceful.toml" in caught.value.what
    assert '"graceful"' in caught.value.todo


@pytest.mark.parametrize(
    ("wish", "hint"),
    [("gracefull", 'Did you mean "graceful"?'), ("UPS", 'Did you mean "ups"?'), ("sitte", 'Did you mean "site"?')],
)
def test_unknown_name_lists_what_there_is(local: Path, tmp_path: Path, wish: str, hint: str) -> None:
    put(local, "site", "")
    with pytest.raises(UsageError) as caught:
        profiles.load(wish, Root(tmp_path))
    assert f'"{wish}"' in caught.value.what
    assert hint in caught.value.what
    assert "graceful, graceful-240s, site, suspend, ups" in caught.value.todo


@pytest.mark.parametrize(("wish", "words"), [("x" * 300, "no profile"), ("./" + "x" * 300, "cannot be read")])
def test_name_that_no_file_can_have(tmp_path: Path, wish: str, words: str) -> None:
    with pytest.raises(LvgError, match=words):
        profiles.load(wish, Root(tmp_path))


@pytest.mark.parametrize("wish", ["", "."])
def test_odd_names_are_unknown(tmp_path: Path, wish: str) -> None:
    with pytest.raises(UsageError, match="There is no profile"):
        profiles.load(wish, Root(tmp_path))


def test_a_broken_local_profile_is_listed_with_its_reason(local: Path, tmp_path: Path) -> None:
    put(local, "ups", "[stopvm]\ntimout = 3\n")
    found = {profile.name: profile for profile in profiles.available(Root(tmp_path))}
    assert '"timout"' in found["ups"].broken
    assert "/etc/lvg/profiles/ups.toml" in found["ups"].broken
    assert found["graceful"].broken == ""


def test_reading_creates_nothing(tmp_path: Path) -> None:
    profiles.available(Root(tmp_path))
    profiles.load("graceful", Root(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_dangling_link_is_not_passed_over(local: Path, tmp_path: Path) -> None:
    (local / "graceful.toml").symlink_to("/nowhere")
    with pytest.raises(LvgError, match="dangling"):
        profiles.load("graceful", Root(tmp_path))


def test_link_of_the_host_is_followed_inside_the_root(local: Path, tmp_path: Path) -> None:
    put(tmp_path, "real", "[stopvm]\ntimeout = 77\n")
    (local / "site.toml").symlink_to("/real.toml")
    assert profiles.load("site", Root(tmp_path)).stop["timeout"] == 77


def test_what_is_no_regular_file_is_refused_at_once(local: Path, tmp_path: Path) -> None:
    os.mkfifo(local / "pipe.toml")
    (local / "folder.toml").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(UsageError, match="not a regular file"):
            profiles.load(name, Root(tmp_path))


def test_huge_file_is_refused(local: Path, tmp_path: Path) -> None:
    put(local, "huge", "#" * (1 << 20) + "\n")
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        profiles.load("huge", Root(tmp_path))


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_local_profile_that_others_may_write_is_refused(local: Path, tmp_path: Path, mode: int) -> None:
    put(local, "graceful", "", mode)
    with pytest.raises(UsageError) as caught:
        profiles.load("graceful", Root(tmp_path))
    assert "/etc/lvg/profiles/graceful.toml may be written by others" in caught.value.what
    assert "chmod go-w" in caught.value.todo


def test_folder_that_others_may_write_is_refused(local: Path, tmp_path: Path) -> None:
    put(local, "site", "")
    local.chmod(0o777)
    with pytest.raises(UsageError, match="/etc/lvg/profiles may be written by others"):
        profiles.load("site", Root(tmp_path))


@AS_ROOT
def test_local_profile_of_another_user_is_refused(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(put(local, "site", ""), 12345, 12345)
    monkeypatch.delenv("SUDO_UID", raising=False)
    with pytest.raises(UsageError, match="belongs to user 12345, not to root"):
        profiles.load("site", Root(tmp_path))


@AS_ROOT
def test_path_on_the_live_host_must_be_roots_or_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, "mine", "")
    os.chown(path, 12345, 12345)
    monkeypatch.delenv("SUDO_UID", raising=False)
    with pytest.raises(UsageError, match="belongs to user 12345"):
        profiles.load(str(path), Root())
    assert profiles.load(str(path), Root(tmp_path)).name == "mine"
    monkeypatch.setenv("SUDO_UID", "12345")
    assert profiles.load(str(path), Root()).name == "mine"
    path.chmod(0o666)
    with pytest.raises(UsageError, match="may be written by others"):
        profiles.load(str(path), Root())


@pytest.mark.parametrize(
    ("mode", "owner", "says"),
    [
        (0o100644, 0, ""),
        (0o100600, 7, ""),
        (0o100644, 8, "belongs to user 8, not to root"),
        (0o100664, 0, "may be written by others"),
        (0o100646, 0, "may be written by others"),
    ],
)
def test_distrust(mode: int, owner: int, says: str) -> None:
    assert reading.distrust(mode, owner, frozenset({0, 7})) == says


def test_variable_names_the_shipped_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "only", 'summary = "x"\n')
    monkeypatch.setenv("LVG_PROFILES_DIR", str(tmp_path))
    assert [profile.name for profile in profiles.available(Root(tmp_path))] == ["only"]
    monkeypatch.setenv("LVG_PROFILES_DIR", str(tmp_path / "none"))
    with pytest.raises(LvgError) as caught:
        profiles.load("graceful", Root(tmp_path))
    assert str(tmp_path / "none") in caught.value.what
    assert "LVG_PROFILES_DIR" in caught.value.todo
