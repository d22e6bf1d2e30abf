"""What a boot makes of the last record, before anybody is brought back; and in which order that is done."""

from collections.abc import Callable, Mapping, Sequence

from . import order
from .history import Entry, Record
from .policy import Policy
from .report import Report
from .verdict import MOVED

CUT = "cut"  # how a guest ended of which libvirt's log has no end


def same_boot(record: Record, this_boot: str) -> bool:
    """True if the record is surely of this boot; an unknown boot id is another boot's."""
    return bool(this_boot) and record.boot_id == this_boot


def settle(
    record: Record,
    this_boot: str,
    report: Report,
    said: Callable[[Entry], str] = lambda _: "",
    chosen: Sequence[Entry] | None = None,
) -> None:
    """Deal with what cannot be brought back: give verdicts to guests that have none, pass over the rest.

    `said` returns how a guest ended by libvirt's own account: a verdict, "moved", CUT, or "" if there is none.
    `chosen` are those that are about to be brought back, if not all of the record.
    """
    for entry in record.guests:
        if not entry.verdict and not same_boot(record, this_boot):
            _judge(entry, said(entry), report)
    for entry in record.pending() if chosen is None else chosen:
        if entry.method == MOVED:
            entry.restored = "moved"
        elif not entry.persistent:
            entry.restored = "failed: it was transient"
            report.warning(f"{entry.name} is not brought back: it was transient, libvirt forgot it")


def _judge(entry: Entry, how: str, report: Report) -> None:
    """Give a verdict to a guest whose stop was cut short: by the power, or it was stopvm that was killed."""
    if how in ("", CUT):
        entry.verdict, entry.wanted, entry.detail = "lost", False, "lost power"
        unless = "" if how else ", unless libvirt-guests stopped it"
        report.err(f"{entry.name} lost power{unless}: its stop was cut short")
        return
    entry.method = MOVED if how == "moved" else entry.method
    entry.verdict, entry.wanted = ("clean" if how == "moved" else how), how in ("clean", "moved")
    entry.detail = "after its stop was cut short, as libvirt's log says"
    report.warning(f"{entry.name}: {how} {entry.detail}")


def whether(policy: Policy, record: Record, this_boot: str, by_hand: bool) -> str:
    """Return "restore", "ignore" (this boot is over with the record) or "keep" (a boot to come may need it)."""
    if by_hand:
        return "restore"
    if record.kind == "now" and same_boot(record, this_boot):
        return "keep"  # stopped by hand in this boot: on purpose
    return "restore" if policy.boot == "restore" else "ignore"


def needed(policy: Policy, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return for each guest those of `names` that it needs; a need that closes a circle is dropped."""
    after = order.dependants(names, {name: policy.for_guest(name).needs for name in names})[0]
    return {name: sorted(other for other, dependants in after.items() if name in dependants) for name in after}


def start_order(policy: Policy, pending: Sequence[Entry]) -> list[Entry]:
    """Return the guests to start, those first that others need."""
    names = [entry.name for entry in pending]
    needs = {name: policy.for_guest(name).needs for name in names}
    waves = order.waves(order.dependants(names, needs)[0])
    return sorted(pending, key=lambda entry: -waves[entry.name])
