"""The trees that hosts and guests are made of: built once from Debian packages, then kept in a cache.

A cache entry is named by the hash of everything that it is made from, so a changed recipe builds anew. It is
built under another name and renamed when complete. Nobody ever writes to a finished entry: hosts run in an
overlay above it (machine.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
RELEASES = ("bookworm", "trixie")
UNUSED_DAYS = 14
PROGRAMS = {
    "cpio": "cpio",
    "e2fsck": "e2fsprogs",
    "git": "git",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "qemu-img": "qemu-utils",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
}

HOST_PACKAGES = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "procps",
    "libvirt-daemon-system",
    "libvirt-clients",
    "qemu-system-x86",
    "python3-libvirt",
]
LVG_PACKAGES = ["python3-typer", "python3-rich", "python3-distro", "python3-packaging"]
SLIM = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man", "info")]
GUEST_PACKAGES = ["linux-image-cloud-amd64", "busybox-static", "qemu-guest-agent"]
GUEST_FILES = tuple(f"guest/{name}" for name in ("init", "temper", "power-button", "shutdown", "go-down"))

# What a host in a container needs besides its packages. No controllers, no namespaces and no security driver:
# without these no guest starts there. Serial ports are written by QEMU itself, into a folder it can reach.
# libvirt notes the owner of each file that it hands to a guest, and throws the notes of an earlier boot away. In a
# container it takes this machine's boot for the host's, and a left-over note keeps a guest from starting: so no notes.
LIBVIRT_SETUP = r"""
set -eu
root=$1
head -c16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$root/etc/machine-id"
echo >>"$root/etc/machine-id"
echo lvg-test-host >"$root/etc/hostname"
cat >>"$root/etc/libvirt/qemu.conf" <<'EOF'
cgroup_controllers = []
security_driver = "none"
namespaces = []
remember_owner = 0
stdio_handler = "file"
EOF
"""
HOST_SETUP = (
    LIBVIRT_SETUP
    + r"""mkdir -p "$root/etc/systemd/journald.conf.d" "$root/var/log/journal" "$root/var/log/guests"
printf '[Journal]\nStorage=persistent\nRateLimitBurst=0\nSyncIntervalSec=1s\n' \
	>"$root/etc/systemd/journald.conf.d/test.conf"
chmod 1777 "$root/var/log/guests"
# A container has no hardware to look after.
for unit in systemd-udev-trigger systemd-udev-settle e2scrub_reap apt-daily.timer apt-daily-upgrade.timer \
	fstrim.timer dpkg-db-backup.timer systemd-networkd-wait-online; do
	case $unit in *.timer) ;; *) unit=$unit.service ;; esac
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
"""
)

GUEST_SETUP = r"""
set -eu
packages=$1 out=$2 scripts=$3
ram=$packages/initramfs
mkdir -p "$ram/bin" "$ram/sbin" "$ram/dev" "$ram/proc" "$ram/sys" "$ram/modules" "$ram/etc/acpi/PWRF" "$out/srv/guest"
pack() { (cd "$ram" && find . | cpio --quiet -o -H newc) >"$out/srv/guest/$1"; }
modules() {
	for name; do
		cp "$(find "$packages/lib/modules" "$packages/usr/lib/modules" -name "$name.ko" | head -n1)" "$ram/modules"
	done
}
cp "$(find "$packages/bin" "$packages/usr/bin" -name busybox | head -n1)" "$ram/bin/busybox"
cp "$scripts/init" "$ram/init"
cp "$scripts/temper" "$ram/etc/temper"
cp "$scripts/power-button" "$ram/etc/acpi/PWRF/00000080"
cp "$scripts/shutdown" "$scripts/go-down" "$ram/sbin"
chmod 755 "$ram/init" "$ram/etc/acpi/PWRF/00000080" "$ram/sbin"/*
mknod -m 600 "$ram/dev/console" c 5 1
modules button evdev pvpanic pvpanic-mmio \
	virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk virtio_console
pack initramfs
for file in /usr/sbin/qemu-ga $(chroot "$packages" /lib64/ld-linux-x86-64.so.2 --list /usr/sbin/qemu-ga |
	grep -o '/[^ ]*') /lib64/ld-linux-x86-64.so.2; do
	mkdir -p "$ram/$(dirname "$file")"
	cp -L "$packages/$file" "$ram/$file"
done
pack initramfs-agent
cp "$packages"/boot/vmlinuz-* "$out/srv/guest/vmlinuz"
truncate -s 64M "$packages/disk"
mkfs.ext4 -q "$packages/disk"
qemu-img convert -O qcow2 "$packages/disk" "$out/srv/guest/disk.qcow2"
chmod 644 "$out"/srv/guest/*
rm -rf "$packages"
"""


@dataclass(frozen=True)
class Recipe:
    """How one tree is made: an mmdebstrap call into ROOT, then a script. The hash of all of it names the result."""

    name: str
    suite: str
    options: tuple[str, ...]
    script: str
    files: tuple[str, ...] = field(default=())

    def key(self) -> str:
        parts = [self.suite, *self.options, self.script]
        parts += [(HERE / name).read_text(encoding="utf-8") for name in self.files]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def host_recipe(release: str, *, plain: bool = False) -> Recipe:
    """A libvirt host of `release`. `plain`: without the packages that lvg needs, as an admin would have it."""
    packages = [*HOST_PACKAGES, *([] if plain else LVG_PACKAGES)]
    options = ("--variant=minbase", "--include=" + ",".join(packages), *SLIM)
    return Recipe(f"host-{release}" + ("-plain" if plain else ""), release, options, HOST_SETUP)


def guest_recipe() -> Recipe:
    """A tree with /srv/guest: a kernel, two initramfs and an empty file system on a disk, to be laid over a host."""
    options = ("--variant=extract", "--include=" + ",".join(GUEST_PACKAGES))
    return Recipe("guest", "bookworm", options, GUEST_SETUP, GUEST_FILES)


def cache_dir() -> Path:
    """$LVG_TEST_CACHE, or /var/cache/lvg-tests."""
    return Path(os.environ.get("LVG_TEST_CACHE") or "/var/cache/lvg-tests")


def missing() -> str:
    """One line that says what keeps these tests from running, or ''."""
    if os.geteuid() != 0:
        return "the host tests need root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    packages = sorted({pkg for program, pkg in PROGRAMS.items() if not shutil.which(program, path=path)})
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        packages.append("debian-archive-keyring")
    return f"the host tests need: apt-get install {' '.join(packages)}" if packages else ""


def host_root(release: str, *, plain: bool = False) -> Path:
    recipe = host_recipe(release, plain=plain)
    return cached(recipe.name, recipe.key(), lambda out: build_host(recipe, out))


def guest_layer() -> Path:
    recipe = guest_recipe()
    return cached(recipe.name, recipe.key(), lambda out: _build_guest(recipe, out))


def build_host(recipe: Recipe, out: Path) -> None:
    _mmdebstrap(recipe, out)
    _script(recipe.script, out)


def _build_guest(recipe: Recipe, out: Path) -> None:
    packages = out / "packages"
    _mmdebstrap(recipe, packages)
    _script(recipe.script, packages, out, HERE / "guest")


def _mmdebstrap(recipe: Recipe, out: Path) -> None:
    # Its own mount namespace: whatever it mounts is gone with it, however it ends.
    _quiet(["unshare", "--mount", "mmdebstrap", "--mode=root", "--quiet", *recipe.options, recipe.suite, str(out)])


def _script(text: str, *args: Path) -> None:
    _quiet(["sh", "-c", text, "sh", *map(str, args)])


def _quiet(argv: list[str]) -> None:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{argv[0]} failed ({done.returncode}):\n{done.stdout[-4000:]}")


def cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder NAME-KEY of the cache. If it is not there, `build` fills an empty folder that then becomes it."""
    final = cache_dir() / f"{name}-{key}"
    with _lock(name):
        if not final.exists():
            _fill(name, build, final)
        os.utime(final)
    return final


def _fill(name: str, build: Callable[[Path], None], final: Path) -> None:
    half = cache_dir() / f"building-{name}"
    remove_tree(half)
    half.mkdir()
    half.chmod(0o755)
    try:
        build(half)
        half.rename(final)
    finally:
        remove_tree(half)
    _forget_old(name, final)


def _forget_old(name: str, keep: Path) -> None:
    for entry in cache_dir().glob(f"{name}-" + "[0-9a-f]" * 16):
        if entry != keep and entry.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
            remove_tree(entry)


@contextmanager
def _lock(name: str) -> Iterator[None]:
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / f".lock-{name}").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def remove_tree(path: Path) -> None:
    """Remove a folder, never anything mounted below it."""
    if path.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=True)
