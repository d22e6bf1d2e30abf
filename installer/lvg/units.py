"""The texts of the units and drop-ins that lvg installs. Pure: strings in, strings out.

Every text says what it does, how to stop guests by hand and how to undo it without lvg. What the
directives do on systemd 252 and 257 was measured at real shutdowns; the comments name the trap
that each one avoids.
"""

from collections.abc import Mapping, Sequence

from lvg.layout import PACKAGED_PROGRAM

SHUTDOWN = "graceful-shutdown.service"
RESTORE = "graceful-restore.service"
GUESTS = "libvirt-guests.service"
TARGET = "virt-guest-shutdown.target"

# The daemons that libvirt-guests may ask, and those that they need to note a guest's end and to give its locks back.
_DAEMONS = (
    "libvirtd.service virtqemud.service virtlxcd.service virtxend.service virtvzd.service virtvboxd.service "
    "virtlogd.service virtlockd.service"
)

# File names of the drop-ins, in the folder UNIT.d. They are three files, so that each comes and goes by itself.
DROP_IN = "50-lvg.conf"
OVERLAY_DROP_IN = "50-lvg-overlay.conf"
LIFT_DROP_IN = "50-lvg-sandbox.conf"

_STORAGE_AND_NETWORK = (
    "network.target network-online.target remote-fs.target iscsid.service rbdmap.service zfs.target "
    "openvswitch-switch.service"
)

# No PrivateTmp: its folder is made at boot and needed months later, at the stop; a cleaner of /tmp that took
# it away would keep systemd from running ExecStop. No ProtectProc: QEMU runs as another user, and we look for it.
_SANDBOX = """\
UMask=0077
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
InaccessiblePaths=-/tmp -/var/tmp
PrivateDevices=yes
PrivateMounts=yes
PrivateNetwork=yes
IPAddressDeny=any
RestrictAddressFamilies=AF_UNIX
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
"""

# What a command of the admin's may need cannot be known, so all of the sandbox goes but the two that only
# concern this process. An empty value resets a list; "~" alone means "everything" for capabilities.
_FOR_COMMANDS: tuple[str, ...] = (
    "NoNewPrivileges=no",
    "ProtectSystem=no",
    "ProtectHome=no",
    "InaccessiblePaths=",
    "PrivateDevices=no",
    "PrivateMounts=no",
    "PrivateNetwork=no",
    "IPAddressDeny=",
    "RestrictAddressFamilies=",
    "ProtectClock=no",
    "ProtectControlGroups=no",
    "ProtectHostname=no",
    "ProtectKernelLogs=no",
    "ProtectKernelModules=no",
    "ProtectKernelTunables=no",
    "MemoryDenyWriteExecute=no",
    "RestrictNamespaces=no",
    "RestrictRealtime=no",
    "RestrictSUIDSGID=no",
    "RemoveIPC=no",
    "SystemCallArchitectures=",
    "SystemCallFilter=",
    "CapabilityBoundingSet=~",
)
_FOR_NETWORK: tuple[str, ...] = ("PrivateNetwork=no", "IPAddressDeny=", "RestrictAddressFamilies=AF_INET AF_INET6")
_FOR_SSH = ("ProtectHome=read-only",)  # the keys lie in /root/.ssh


def graceful_shutdown(program: str) -> str:
    """Return the unit that runs `program stop` when the host goes down. `program` is an absolute path.

    It stops before libvirt-guests.service, its net. It is not ordered by a libvirt daemon: with socket
    activation that deadlocks a stop while the daemon is down, or stops guests when the daemon restarts.
    """
    header = _header(
        "Stops the guests of this host cleanly when the host goes down, and does nothing at any other time.",
        "libvirt-guests.service is stopped after it and takes what is left.",
        undo=f"systemctl disable {SHUTDOWN}; {_away(program)}; systemctl daemon-reload"
        " (libvirt-guests then works alone)",
    )
    return f"""\
{header}
[Unit]
Description=Stop guests cleanly when the host goes down
Documentation=man:stopvm(8)
Wants={GUESTS} {TARGET}
After={GUESTS} {TARGET}
After={_STORAGE_AND_NETWORK}
RequiresMountsFor=/var/lib/libvirt
# "systemctl isolate rescue.target" would end this protection while the guests run on.
IgnoreOnIsolate=yes

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop={program} stop
# stopvm asks for more time while it works. If it hangs, systemd ends it soon and libvirt-guests takes over.
TimeoutStopSec=15
# 1: guests were forced, as the policy says. 2 and above, guests that are left or an error, are failures.
SuccessExitStatus=1
NotifyAccess=exec
StandardOutput=journal+console
StandardError=journal+console
StateDirectory=lvg
StateDirectoryMode=0700
# An old list of libvirt-guests there keeps it from stopping anything: it is moved aside.
ReadWritePaths=-/var/lib/libvirt
# For the folders and sockets of QEMU, when libvirt is gone: a guest agent's socket belongs to QEMU's user.
CapabilityBoundingSet=CAP_DAC_OVERRIDE
{_SANDBOX}
[Install]
WantedBy=multi-user.target
"""


def graceful_restore(program: str) -> str:
    """Return the unit that runs `program restore` at boot. `program` is an absolute path.

    It is a unit of its own, and not a oneshot: a unit whose ExecStart failed or still runs when the
    host goes down never gets its ExecStop, and a oneshot that waits would hold up multi-user.target.
    """
    header = _header(
        "Brings back, after a boot, the guests that ran when the host went down, if the profile says so.",
        undo=f"systemctl disable {RESTORE}; {_away(program)}; systemctl daemon-reload",
    )
    return f"""\
{header}
[Unit]
Description=Bring back the guests that ran when the host went down
Documentation=man:stopvm(8)
After={SHUTDOWN} {GUESTS}
After={_STORAGE_AND_NETWORK}
RequiresMountsFor=/var/lib/libvirt

[Service]
Type=exec
RemainAfterExit=yes
ExecStart={program} restore
TimeoutStopSec=15
NotifyAccess=main
StateDirectory=lvg
StateDirectoryMode=0700
# An old list of libvirt-guests there keeps it from stopping anything: it is moved aside.
ReadWritePaths=-/var/lib/libvirt
CapabilityBoundingSet=
{_SANDBOX}
[Install]
WantedBy=multi-user.target
"""


def dropin(unit: str, protect: bool) -> str:
    """Return the text of UNIT.d/50-lvg.conf, or "" if `unit` needs none.

    `protect` refuses a stop or restart by hand (systemctl, a package's script); the host's own
    shutdown is not refused. libvirt-guests and the target also stay when rescue.target is isolated,
    whatever `protect` says: else the guests run on without anybody to stop them.

    The target stops before libvirt's daemons do. By itself a daemon waits for the scopes of the guests only, so that
    it may be gone the moment the last guest is off, before it noted how that one ended; virtlogd of 11.3, which writes
    that down, waits for nothing. libvirt-guests itself must not be ordered so: a stop of it by hand would wait for a
    daemon whose start waits for that stop. So the target, too, is never stopped by hand.
    """
    # A stop of the target by hand would stop libvirt-guests, which could wake a daemon that waits for that stop.
    lines = ["RefuseManualStop=yes"] if protect or unit == TARGET else []
    if unit in (GUESTS, TARGET):
        lines.append("IgnoreOnIsolate=yes")
    if unit == TARGET:
        lines += ["# libvirt's daemon stays until nobody needs it any more to stop guests.", f"After={_DAEMONS}"]
    if not lines:
        return ""
    does = "Keeps guests from being stopped by accident: systemd refuses to stop or restart this unit by hand."
    if not protect:
        does = "Keeps this unit in place when rescue.target is isolated, so that a later shutdown still stops guests."
    return "\n".join([_header(does), "[Unit]", *lines, ""])


def overlay_dropin(config_file: str) -> str:
    """Return the drop-in that makes libvirt-guests see /etc/lvg/libvirt-guests in place of `config_file`.

    Without the leading "-" a missing source would keep the service from starting at all.
    """
    header = _header(f"Makes libvirt-guests read /etc/lvg/libvirt-guests in place of {config_file}, which stays.")
    return f"{header}\n[Service]\nBindReadOnlyPaths=-/etc/lvg/libvirt-guests:{config_file}\n"


def lift_dropin(policy: Mapping[str, object], unit: str = SHUTDOWN) -> str:
    """Return the drop-in that lifts of the sandbox what `policy` needs in `unit`; "" if nothing.

    Libvirt over the network needs network sockets (and, by ssh, the keys in /root); commands on the
    host may need anything, but they only run in graceful-shutdown.service.
    """
    remote = [uri for uri in map(str, _list(policy.get("uris"))) if _is_remote(uri)]
    why, lines = "", tuple[str, ...]()
    if unit == SHUTDOWN and _has_host_commands(policy):
        why, lines = "before_stop_host commands run in this service and may need anything", _FOR_COMMANDS
    elif remote:
        why, lines = f"libvirt is reached over the network ({', '.join(remote)})", _FOR_NETWORK
        lines += _FOR_SSH if any("ssh" in _transport(uri) for uri in remote) else ()
    if not lines:
        return ""
    header = _header(f"Lifts what the profile needs from the sandbox of {unit}: {why}.")
    return "\n".join([header, "[Service]", *lines, ""])


def _header(*does: str, undo: str = "rm this file; systemctl daemon-reload") -> str:
    """Return the comment that every file of ours begins with; control characters cannot break out of it."""
    lines = ["Installed by lvg-install", *does, "Stop guests by hand: stopvm stop --now", f"Undo without lvg: {undo}"]
    return "\n".join("# " + "".join(char if char.isprintable() else "?" for char in line) for line in lines)


def _away(program: str) -> str:
    return "remove the package lvg" if program == PACKAGED_PROGRAM else "rm this file"


def _has_host_commands(policy: Mapping[str, object]) -> bool:
    rules = [rule for rule in _list(policy.get("guests")) if isinstance(rule, Mapping)]
    return any(rule.get("before_stop_host") for rule in [policy, *rules])


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _transport(uri: str) -> str:
    return uri.partition("://")[0].partition("+")[2]


def _is_remote(uri: str) -> bool:
    """Tell a URI that names a host or a network transport from a local one (libvirt.org/uri.html)."""
    driver, found, rest = uri.partition("://")
    if not found:
        return False
    host = rest.partition("/")[0].partition("?")[0]
    return bool(host) or _transport(driver + "://") in ("ssh", "libssh", "libssh2", "tcp", "tls", "ext")
