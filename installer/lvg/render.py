"""Text for people: what was found, what changes, what will happen. Plain lines, 80 columns where it can."""

import shlex
from collections.abc import Iterable, Sequence

from lvg.changes import Changes, Net
from lvg.colours import CYAN, GREEN, RED, coloured, one_line
from lvg.detect import Host
from lvg.documents import diff_of
from lvg.outcomes import last_line
from lvg.profiles import Profile, explain
from lvg.record import Record
from lvg.shutdowns import Past
from lvg.systemd import Unit
from lvg.verify import Row

_COLUMNS = 80
_PATH_WIDTH = 32
_SHUTDOWN = {
    "shutdown": "asks every guest to shut down",
    "suspend": "saves every guest to disk",
    "destroy": "switches every guest off",
}
_BOOT = {"start": "libvirt-guests starts the guests that ran", "ignore": "only guests with autostart come up"}
_NAMES = {"systemctl": "units", "rc-service": "services"}


def host_lines(host: Host) -> list[str]:
    """Return two lines: what the host is, and which file counts there."""
    service = host.service
    version = f", libvirt {service.version}" if service.version else ""
    name = host.distro.name or host.distro.id or "unknown distro"
    version_id = f" {host.distro.version}" if host.distro.version and host.distro.version not in name else ""
    lines = [f"{name}{version_id}{version}, {host.init}"]
    if host.config_file:
        exists = "" if host.config_exists else " (not there yet)"
        source = f", says {host.evidence[0].source}" if host.evidence else ""
        lines.append(f"libvirt-guests reads {host.config_file}{exists}{source}")
    return lines


def detect_lines(host: Host) -> list[str]:
    """Return the whole answer of `lvg detect`."""
    service = host.service
    preset = f"preset {service.preset}" if service.preset else ""
    words = ", ".join(filter(None, [service.enabled, preset, service.active]))
    installed = f"{service.unit} ({words})" if service.installed else "not installed"
    lines = [*host_lines(host), f"libvirt-guests: {installed}", f"keys: {host.dialect}", "evidence:"]
    lines += [f"  {fact.source}: {fact.says}" for fact in host.evidence]
    lines += [f"warning: {text}" for text in host.disagreements]
    if not host.supported:
        lines.append("not supported here")
    if host.advice:
        lines += ["what to do:", *(f"  {line}" for line in host.advice.splitlines())]
    return lines


def change_lines(changes: Changes, *, full: bool) -> list[str]:
    """Return every change; with `full` the diff of each file, else only that of the settings file."""
    lines: list[str] = []
    for change in changes.files:
        if full or change.reason.startswith("the settings"):
            lines += [*diff_lines(diff_of(change)), ""]
    lines += [_table_line(change.action, change.unit or change.path, change.reason) for change in changes.files]
    return lines + [_table_line(act.action, act.unit or "systemd", act.reason) for act in changes.acts]


def _table_line(action: str, what: str, reason: str) -> str:
    """Return a line of the table; a path that is too long for a terminal of 80 columns goes without its reason."""
    return f"  {action:<8} {what:<{_PATH_WIDTH}} {reason}" if len(what) <= _PATH_WIDTH else f"  {action:<8} {what}"


def diff_lines(diff: str) -> list[str]:
    """Return a diff line by line, coloured on a terminal."""
    colours = {"+": GREEN, "-": RED, "@": CYAN}
    return [coloured(line, colours[line[0]]) if line[:1] in colours else line for line in diff.splitlines()]


def outlook_lines(changes: Changes) -> list[str]:
    """Return, in a few lines, what will happen at the next shutdown and the next boot."""
    profile, stop, record = changes.profile, changes.profile.stop, changes.record
    by_hand = "Stop guests by hand: stopvm stop --now"
    if not record.program:
        return _net_lines(changes.net)
    if record.live and not (record.start and record.enable):
        return [f"stopvm does nothing at a shutdown until you run: {_to_start(record)}"]
    if stop["action"] == "none":
        return [*_net_lines(changes.net), by_hand]
    if stop["action"] == "save":
        first = "every guest is saved to disk"
    else:
        again = f", again every {stop['resend']} s" if stop["resend"] else ""
        first = f"every guest is asked to shut down\n  ({_words(stop['methods'])}{again})"
    after = _words(stop["on_timeout"], ", else ").replace("leave", "left to libvirt-guests").replace("save", "saved")
    lines = [
        f"At the next shutdown {first}, for up to {stop['timeout']} s",
        f"  each and {stop['budget']} s in all. One that does not end is {after.replace('destroy', 'switched off')}.",
    ]
    if profile.guests:
        lines.append(f"  Rules for single guests: {len(profile.guests)}; lvg profiles {profile.name} shows them.")
    boot = "the guests that ran come back" if stop["boot"] == "restore" else _BOOT[changes.net.boot]
    return ["\n".join(lines), f"At the next boot {boot}.", by_hand]


def _to_start(record: Record) -> str:
    if record.init == "openrc":
        enable = "" if record.enable else "rc-update add graceful-shutdown; "
        return f"{enable}rc-service graceful-shutdown start"
    return f"systemctl {'start' if record.enable else 'enable --now'} graceful-shutdown.service"


def _net_lines(net: Net) -> list[str]:
    return [f"At the next shutdown libvirt-guests {_SHUTDOWN[net.shutdown]}.", f"At the next boot {_BOOT[net.boot]}."]


def _words(value: object, last: str = " then ") -> str:
    return last.join(str(item) for item in value) if isinstance(value, Sequence) else str(value)


def profile_list_lines(profiles: Iterable[Profile]) -> list[str]:
    """Return one line for each profile."""
    found = list(profiles)
    width = max((len(profile.name) for profile in found), default=0)
    return [f"  {profile.name:<{width}}  {one_line(profile.broken or profile.summary)}" for profile in found]


def profile_lines(profile: Profile) -> list[str]:
    """Return the merged profile, each value with where it comes from."""
    lines = [f"{profile.name}: {profile.summary}", *(f"  from {path}" for path in profile.files)]
    section = ""
    for row in explain(profile):
        if row.section != section:
            section = row.section
            lines += ["", f"[{section}]"]
        lines.append(f"{row.key + ' = ' + row.value:<50} # {row.origin}")
    return [one_line(line) for line in lines]


def _folded(head: str, rest: str, indent: int = 2) -> list[str]:
    """Return one line, or two if it is too long for a terminal of 80 columns."""
    return [f"{head} {rest}"] if len(f"{head} {rest}") <= _COLUMNS else [head, f"{' ' * indent}{rest}"]


def unit_lines(unit: Unit) -> list[str]:
    """Return libvirt-guests the way `systemctl status` shows a unit."""
    if unit.load != "loaded":
        return [f"{unit.name}: {unit.load}"]
    preset = f"; preset: {unit.preset}" if unit.preset else ""
    since = f" since {unit.since}" if unit.since else ""
    lines = [unit.name, *_folded(f"     Loaded: loaded ({unit.fragment};", f"{unit.enabled}{preset})", 13)]
    lines += [f"    Drop-In: {path}" for path in unit.drop_ins]
    return [*lines, f"     Active: {unit.active}{since}"] if unit.active else lines


def status_lines(record: Record, rows: Sequence[Row], net: Unit | None) -> list[str]:
    """Return the whole answer of `lvg status`. Links that are in place are told by their units' rows."""
    shown = [row for row in rows if row.state == "drift" or row.found != "enabled" or "/" not in row.what]
    width = min(max((len(row.what) for row in shown), default=0), 60)
    lines = _folded(f"profile {record.profile}:", one_line(record.summary))
    lines += [*_folded(f"applied {record.when} by:", shlex.join(record.command)), ""]
    for row in shown:
        mark = coloured("ok   ", GREEN) if row.state == "ok" else coloured("DRIFT", RED)
        note = row.found if row.state == "ok" else f"{row.found} (expected {row.expected})"
        lines.append(f"{mark} {row.what:<{width}}  {note}")
    lines += [f"kept  {key} = {value} (the admin's, not ours)" for key, value in record.kept.items()]
    lines += ["", *unit_lines(net)] if net else []
    if record.protect:
        what = "rc-service" if record.init == "openrc" else "systemctl"
        lines += ["", f"{what} stop and restart of these {_NAMES[what]} are refused, so that no guest goes"]
        lines.append("down by accident. To stop guests by hand: stopvm stop --now")
    return lines


def last_shutdown_line(past: Past | None, boot: str) -> str:
    """Return the last shutdown in one line, in red if guests were lost; or that none is recorded."""
    text, lost = last_line(past, boot)
    line = one_line(text)
    return coloured(line, RED) if lost else line
