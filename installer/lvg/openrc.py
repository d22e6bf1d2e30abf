"""The init script that OpenRC hosts get in place of units, the settings there, and the one act: starting it.

What OpenRC does was read in its rc.c, openrc-run.c and openrc-run.sh.in, and seen at real shutdowns under 0.45.
"""

import shlex
import subprocess
from collections.abc import Mapping

from lvg.errors import LvgError
from lvg.files import Root

SERVICE = "graceful-shutdown"
GUESTS = "libvirt-guests"

_STARTED = "/run/openrc/started"
_SECONDS = 60.0
_SPARE = 120  # seconds over the budget: last saves, and the end of the program

# What guests may live on: all of this is stopped after them. OpenRC passes over names that are not installed.
_DAEMONS = "libvirtd virtqemud virtlxcd virtxend virtlogd virtlockd dbus elogind"
_STORAGE = (
    "localmount netmount nfsmount nfsclient mountall mountnfs.sh iscsid open-iscsi multipathd rbdmap ceph drbd "
    "glusterd lvm dmcrypt zfs-import zfs-mount"
)
_NETWORK = "net networking dns ovsdb-server ovs-vswitchd openvswitch openvswitch-switch firewall"

_SCRIPT = """\
#!/sbin/openrc-run
# Installed by lvg-install
# Stops the guests of this host cleanly when the host goes down, and does nothing at any other time.
# libvirt-guests is stopped after it and takes what is left.
# Stop guests by hand: stopvm stop --now
# Undo without lvg: rc-update del graceful-shutdown; rm this file (libvirt-guests then works alone)

description="Stops guests cleanly when the host goes down"
program={program}
pidfile=/run/graceful-restore.pid

depend() {{
	{bond} libvirt-guests
	after {daemons}
	after {storage}
	after {network}
	# Whatever waits for this service (rc_parallel) would go on after 60 s, with guests still on their way down.
	keyword -timeout
}}

start() {{
	ebegin "Guests will be stopped cleanly when the host goes down"
	# At boot, not by hand. In the background: it may take minutes, and nothing else has to wait for it.
	[ -d "${{RC_SVCDIR:-/run/openrc}}/rc.starting" ] && begin_restore
	eend 0
}}

begin_restore() {{
	(
		trap '' HUP
		# shellcheck disable=SC2016 # the inner shell expands it
		sh -c 'echo $$ >"$1"; exec "$0" restore' "$program" "$pidfile" 2>&1 | logger -t stopvm -p daemon.notice
	) </dev/null >/dev/null 2>&1 &
}}

# Guests that are not back yet are brought back after the next boot.
end_restore() {{
	local pid='' waited=0
	[ -r "$pidfile" ] && read -r pid <"$pidfile"
	rm -f "$pidfile"
	while [ -n "$pid" ] && grep -qs stopvm "/proc/$pid/cmdline" && [ "$waited" -lt 5 ]; do
		kill "$pid"
		sleep 1
		waited=$((waited + 1))
	done
}}

stop() {{
	if [ ! -d "${{RC_SVCDIR:-/run/openrc}}/rc.stopping" ]; then
		by_hand
		return
	fi
	end_restore
	ebegin "Stopping guests"
	# stopvm leaves guests alone unless OpenRC shuts the host down. It keeps its own time, and ends itself if it hangs
	# for so many seconds; libvirt-guests then takes over. OpenRC itself has no limit and would wait for ever.
	STOPVM_WATCHDOG=15 timeout -s KILL {limit} "$program" stop
	eend $? "Some guests were forced or left to libvirt-guests: stopvm status"
	return 0
}}

by_hand() {{
{by_hand}
}}
"""
_REFUSED = """\
	eerror "Not stopped: guests run on, and this service has to be there when the host goes down."
	eerror "To stop guests: stopvm stop --now. To stop another service in spite of it: rc-service --nodeps NAME stop"
	return 1"""
_ALLOWED = """\
	ewarn "Guests run on, and nothing but libvirt-guests stops them when the host goes down."
	ewarn "To stop guests: stopvm stop --now. To protect them again: rc-service graceful-shutdown start"
	return 0"""


def graceful_shutdown(program: str, protect: bool, budget: int) -> str:
    """Return the init script that runs `program stop` when the host goes down, and `program restore` at boot.

    With `protect`, a stop or restart by hand is refused; of libvirt-guests too, since this service then needs it
    (OpenRC stops nothing that a started service needs). `budget` is the policy's, in seconds.
    """
    return _SCRIPT.format(
        program=shlex.quote(program),
        bond="need" if protect else "want",
        daemons=_DAEMONS,
        storage=_STORAGE,
        network=_NETWORK,
        limit=budget + _SPARE,
        by_hand=_REFUSED if protect else _ALLOWED,
    )


def to_upstream(in_force: Mapping[str, str], dialect: str) -> dict[str, str]:
    """Return what the settings in force mean in upstream's keys; what OpenRC's service does unasked is in them.

    It asks all guests at once, for 500 s unless LIBVIRT_MAXWAIT says otherwise; unknown values of LIBVIRT_SHUTDOWN mean
    managedsave, and everything but LIBVIRT_START=no means start (its init script).
    """
    if dialect == "upstream":
        return dict(in_force)
    return {
        "URIS": in_force.get("LIBVIRT_URIS") or "qemu:///system",
        "ON_BOOT": "ignore" if in_force.get("LIBVIRT_START") == "no" else "start",
        "ON_SHUTDOWN": "suspend" if in_force.get("LIBVIRT_SHUTDOWN") not in ("shutdown", "destroy") else "shutdown",
        "SHUTDOWN_TIMEOUT": in_force.get("LIBVIRT_MAXWAIT") or "500",
        "PARALLEL_SHUTDOWN": "100",
    }


def running(root: Root) -> bool:
    """True if this is the live host and OpenRC manages its services."""
    return root.live and root.exists("/run/openrc") and not root.exists("/run/systemd/system")


def started(root: Root) -> frozenset[str]:
    """Return the services that a live OpenRC holds for started."""
    return frozenset(root.listdir(_STARTED)) if running(root) else frozenset()


def start(service: str) -> None:
    """Start a service, without those that it needs. Raises LvgError with OpenRC's own words."""
    command = [f"/etc/init.d/{service}", "--nodeps", "--nocolor", "start"]
    environment: Mapping[str, str] = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LvgError(f"{service} cannot be started: {error}", "Look at: rc-status") from None
    if done.returncode != 0:
        said = " ".join((done.stderr + done.stdout).split()) or f"exit {done.returncode}"
        raise LvgError(f"{service} cannot be started: {said}", f"Look at: rc-service {service} status")
