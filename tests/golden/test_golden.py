"""Every shipped profile on every kind of host: the settings file, byte by byte, and the paths that come.

After a wanted change of a profile or a text, write the files anew: LVG_REGENERATE_GOLDEN=1.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
PROFILES = ("graceful", "graceful-240s", "suspend", "ups")
SUSE = '## Type: string\n## Default: "ignore"\n#ON_BOOT=ignore\n\n## Default: 300\n#SHUTDOWN_TIMEOUT=300\n'
GENTOO = '#LIBVIRT_URIS="qemu:///system"\n\n#LIBVIRT_SHUTDOWN="managedsave"\n\n#LIBVIRT_MAXWAIT="500"\n'


class Kind(NamedTuple):
    os_release: str
    config: str
    text: str | None
    init: str = "systemd"


KINDS = {
    "debian-12": Kind(
        'ID=debian\nVERSION_ID="12"\n', "/etc/default/libvirt-guests", "#ON_BOOT=ignore\n#ON_SHUTDOWN=shutdown\n"
    ),
    "ubuntu-24.04": Kind(
        'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "/etc/default/libvirt-guests", "#ON_BOOT=ignore\n"
    ),
    "arch": Kind("ID=arch\n", "/etc/conf.d/libvirt-guests", None),
    "fedora-43": Kind("ID=fedora\nVERSION_ID=43\n", "/etc/sysconfig/libvirt-guests", None),
    "opensuse-leap-15.6": Kind(
        'ID=opensuse-leap\nID_LIKE="suse opensuse"\nVERSION_ID=15.6\n', "/etc/sysconfig/libvirt-guests", SUSE
    ),
    "gentoo-systemd": Kind("ID=gentoo\n", "/etc/libvirt/libvirt-guests.conf", None),
    "gentoo-openrc": Kind("ID=gentoo\n", "/etc/conf.d/libvirt-guests", GENTOO, "openrc"),
    "alpine-3.22": Kind("ID=alpine\nVERSION_ID=3.22.1\n", "/etc/conf.d/libvirt-guests", GENTOO, "openrc"),
}


def _as_openrc(host: Any) -> None:
    shutil.rmtree(host.root / "usr/lib/systemd")
    host.put("/sbin/openrc", "", 0o755)
    host.put("/etc/init.d/libvirt-guests", '#!/sbin/openrc-run\nstop() { echo "$LIBVIRT_SHUTDOWN"; }\n', 0o755)


def _seen(host: Any, before: dict[str, Any]) -> str:
    """Return the settings file, then every path that came, with its mode."""
    lines = [
        f"{mode:04o} /{path}{' -> ' + data.decode() if kind == 'link' else ''}"
        for path, (kind, data, mode) in host.tree().items()
        if path not in before and kind != "folder" and not path.startswith("var/lib/lvg")
    ]
    return f"{host.config.read_text()}---\n" + "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("distro", KINDS)
def test_profile_on_distro(fake_host: Callable[..., Any], distro: str, profile: str) -> None:
    kind = KINDS[distro]
    host = fake_host(kind.os_release, kind.config, kind.text)
    if kind.init == "openrc":
        _as_openrc(host)
    before = host.tree()
    done = host.install("--profile", profile)
    assert done.code == 0, done.err
    golden = HERE / distro / f"{profile}.txt"
    if os.environ.get("LVG_REGENERATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(_seen(host, before))
    assert _seen(host, before) == golden.read_text()
    assert host.run("lvg", "remove").code == 0
    assert host.tree() == before
