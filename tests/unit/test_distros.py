"""The table of distros, and reading os-release below a root."""

import pytest

from lvg import distros
from lvg.errors import LvgError, UsageError
from lvg.files import Root


def root_with(tmp_path, text, where="etc/os-release"):
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).write_bytes(text.encode())
    return Root(tmp_path)


@pytest.mark.parametrize(
    ("id_", "like", "family"),
    [
        ("debian", "", "debian"),
        ("DEBIAN", "", "debian"),
        ("mine", "strange suse debian", "suse"),
        ("mine", "Debian suse", "debian"),
        ("arch", "debian", "arch"),
        ("notarch", "debian-ish archlike", "unknown"),
        ("hyperbola", "arch", "unknown"),
        ("", "opensuse suse", "suse"),
        ("", "", "unknown"),
    ],
)
def test_first_known_whole_token_wins(id_, like, family):
    assert distros.lookup(id_, like.split()) == family


def test_etc_beats_usr_lib(tmp_path):
    root_with(tmp_path, "ID=fedora\n", "usr/lib/os-release")
    assert distros.read_os_release(root_with(tmp_path, "ID=arch\n")).id == "arch"


def test_a_link_is_followed_inside_the_root(tmp_path):
    root = root_with(tmp_path, "ID=fedora\nVERSION_ID=42\n", "usr/lib/os-release")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").symlink_to("/usr/lib/os-release")
    found = distros.read_os_release(root)
    assert (found.id, found.version, found.family) == ("fedora", "42", "fedora")


def test_a_link_that_leaves_the_root_is_not_followed(tmp_path):
    (tmp_path / "outside").write_text("ID=arch\n")
    root = root_with(tmp_path / "root", "ID=fedora\n", "usr/lib/os-release")
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "root/etc/os-release").symlink_to("../../outside")
    assert distros.read_os_release(root).id == "fedora"


@pytest.mark.parametrize("text", ["", 'NAME="never closed\nID=debian\n', "# ID=debian\n"])
def test_what_cannot_be_parsed_is_unknown_and_has_an_advice(tmp_path, text):
    found = distros.read_os_release(root_with(tmp_path, text))
    assert (found.family, found.supported) == ("unknown", False)
    assert "--distro" in found.advice
    assert "--config-file" in found.advice


def test_no_os_release_at_all_is_unknown(tmp_path):
    assert distros.read_os_release(Root(tmp_path)).family == "unknown"


def test_bytes_that_are_not_utf8_are_no_crash(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_bytes(b"ID=debian\nNAME=\xff\xfe\n")
    assert distros.read_os_release(Root(tmp_path)).family in ("unknown", "debian")


def test_a_name_cannot_spoil_the_terminal(tmp_path):
    found = distros.read_os_release(root_with(tmp_path, 'ID=x\nNAME="a\x1b[31mb\nc"\n'))
    assert found.name == "a?[31mb?c"


def test_a_folder_in_its_place_is_one_clear_error(tmp_path):
    (tmp_path / "etc/os-release").mkdir(parents=True)
    with pytest.raises(LvgError, match="not a regular file"):
        distros.read_os_release(Root(tmp_path))


def test_named_takes_the_row_of_that_id():
    found = distros.named("Ubuntu")
    assert (found.id, found.family, found.supported) == ("ubuntu", "debian", True)


def test_named_helps_with_a_slip_of_the_pen():
    with pytest.raises(UsageError, match='Did you mean "debian"') as error:
        distros.named("debain")
    assert error.value.code == 2


@pytest.mark.parametrize(
    ("distro", "package"),
    [
        (distros.Distro("debian", family="debian", version="12"), "libvirt-daemon-system"),
        (distros.Distro("rhel", family="rhel", version="7.9"), "libvirt-client"),
        (distros.Distro("rhel", family="rhel", version="8.10"), "libvirt-daemon"),
        (distros.Distro("rhel", family="rhel", version="9.2"), "libvirt-daemon"),
        (distros.Distro("rhel", family="rhel", version="9.3"), "libvirt-daemon-common"),
        (distros.Distro("rhel", family="rhel", version="10.0"), "libvirt-daemon-common"),
        (distros.Distro("rhel", family="rhel"), "libvirt-daemon-common"),
        (distros.Distro("fedora", family="fedora", version="38"), "libvirt-daemon"),
        (distros.Distro("fedora", family="fedora", version="42"), "libvirt-daemon-common"),
        (distros.Distro("artix", family="artix"), "libvirt-openrc"),
        (distros.Distro("foo"), ""),
    ],
)
def test_the_package_that_holds_libvirt_guests(distro, package):
    assert distros.package(distro) == package
    assert package in distros.install_command(distro)


def test_the_nix_snippet_has_the_values_of_the_graceful_profile():
    snippet = distros.named("nixos").advice
    for line in ('onBoot = "ignore"', 'onShutdown = "shutdown"', "parallelShutdown = 100", "shutdownTimeout = 240"):
        assert line in snippet


@pytest.mark.parametrize("id_", ["nixos", "guix", "void", "slackware", "chimera", "xcp-ng", "xenenterprise", "truenas"])
def test_where_lvg_is_no_use_it_says_what_to_do_in_one_line(id_):
    found = distros.named(id_)
    assert not found.supported
    assert found.advice
    assert "\n" not in found.advice
    assert found.advice != distros.named("hyperbola").advice
