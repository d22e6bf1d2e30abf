"""A host that OpenRC runs: Debian's openrc, with sysvinit or openrc-init as the first process, and no systemd."""

from __future__ import annotations

import subprocess
from pathlib import Path

import roots
from machine import Machine
from roots import Recipe

# libvirt-guests with the same depend() and the same way of living as Gentoo's, Alpine's and Artix's. What it met
# when it was stopped tells whether stopvm came first.
NET = """\
#!/sbin/openrc-run
# Asks with LIBVIRT_SHUTDOWN, waits for LIBVIRT_MAXWAIT, starts unless LIBVIRT_START=no.
depend() {
	use libvirtd
}
start() {
	return 0
}
stop() {
	echo "met: $(virsh -q list --name | tr '\\n' ' ')" >>/var/log/net
	local left=120
	while guests=$(virsh -q list --name) && [ -n "$guests" ] && [ $((left -= 1)) -gt 0 ]; do
		for guest in $guests; do
			virsh -q shutdown "$guest"
		done
		sleep 1
	done
}
"""

SETUP = (
    roots.LIBVIRT_SETUP
    + r"""mkdir -p "$root/var/log/guests"
chmod 1777 "$root/var/log/guests"
# A container has no hardware, no clock and no terminals to look after.
sed -i '/getty/d' "$root/etc/inittab"
for name in hwclock.sh udev checkfs.sh checkroot.sh urandom kmod brightness cron elogind; do
	rm -f "$root"/etc/runlevels/*/"$name"
done
sed -i 's/^#rc_logger=.*/rc_logger="YES"/' "$root/etc/rc.conf"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
"""
)
PACKAGES = [
    "openrc",
    "sysvinit-core",
    "initscripts",
    "procps",
    "kmod",
    "udev",
    "libvirt-daemon-system",
    "libvirt-daemon-system-sysv",
    "libvirt-clients",
    "qemu-system-x86",
    "python3-libvirt",
    *roots.LVG_PACKAGES,
]


def tree() -> Path:
    """The cached tree of such a host."""
    options = ("--variant=minbase", "--include=" + ",".join(PACKAGES), *roots.SLIM)
    recipe = Recipe("host-openrc", "bookworm", options, SETUP)
    return roots.cached(recipe.name, recipe.key(), lambda out: roots.build_host(recipe, out))


class OpenRcMachine(Machine):
    """A machine that OpenRC boots and powers off."""

    poweroff_command = "poweroff"

    def as_openrc_init(self) -> None:
        """From the next boot on OpenRC's own init is the first process, as on Gentoo with openrc-init."""
        # Debian's last script mounts the root file system read-only, and that lasts from one boot to the next.
        subprocess.run(["mount", "-o", "remount,rw", str(self.root)], check=True)
        init = self.root / "sbin/init"
        init.unlink()
        init.symlink_to("openrc-init")
        self.poweroff_command = "openrc-shutdown --poweroff now"

    def with_openrc_net(self) -> None:
        """Put a libvirt-guests in place that speaks OpenRC, as everywhere but on Debian."""
        script = self.root / "etc/init.d/libvirt-guests"
        script.write_text(NET, encoding="utf-8")
        (self.root / "etc/conf.d").mkdir(exist_ok=True)
        (self.root / "etc/conf.d/libvirt-guests").write_text("#LIBVIRT_SHUTDOWN=managedsave\n", encoding="utf-8")

    def state(self) -> str:
        up = "cd /run/openrc && test -e started/libvirt-guests && test ! -e rc.starting"
        return "running" if self.run(up, check=False).returncode == 0 else "starting"

    def begin_poweroff(self) -> None:
        self.run(f"{self.poweroff_command} </dev/null >/dev/null 2>&1 &", check=False)

    def log(self) -> str:
        """What the services said, from all boots (rc_logger)."""
        path = self.root / "var/log/rc.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def evidence(self) -> str:
        return self.console() + self.log()[-6000:]
