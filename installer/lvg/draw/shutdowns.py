"""Pictures of past stops: each guest with its verdict, and its time as a bar against the time it has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lvg.draw.terminal import NARROW, has_unicode, plain, words
from lvg.outcomes import (
    KINDS,
    LOST_POWER,
    Memory,
    came_back,
    how_it_ended,
    how_long,
    is_bad,
    is_lost,
    local_time,
    outcome,
)
from lvg.shutdowns import Past
from lvg.stopvm.history import GIVEN_UP, Entry, Record
from lvg.trend import Warned

_NAME = 20  # columns at most
_OTHERS = 46  # columns of everything but the name and the bar
_COLOURS = {"clean": "green", "saved": "cyan"}
_MOST = 20  # guests that are named in one line, or complaints of one stop


def pictures(pasts: Sequence[Past], memory: Memory, warned: Sequence[Warned]) -> Iterator[RenderableType]:
    """Yield what `lvg report` shows: each stop, and then the guests that need more time."""
    if not pasts:
        yield Text("no shutdown is recorded yet: stopvm writes it down when this host goes down")
    for place, each in enumerate(pasts):
        if place:
            yield Text()
        yield Group(*_stop(each, memory))
    if pasts and warned:
        yield Text()
        yield Group(*(_warning(each) for each in warned))


def _stop(past: Past, memory: Memory) -> Iterator[RenderableType]:
    record = past.record
    yield from _heading(past, memory.boot)
    if not record.guests:
        yield Text("  no guest ran")
    else:
        yield _table(record, memory)
    notes = [*_notes(record.guests), *_carried(record)]
    if notes:
        yield Text()
    for note in notes:
        yield Padding(note, (0, 0, 0, 2))


def _heading(past: Past, boot: str) -> Iterator[Text]:
    record = past.record
    kind = plain(KINDS.get(record.kind, f"stop ({record.kind})"), 30)
    began = "noticed " if record.kind == "cut" else ""
    seconds = how_long(record)
    parts = [f"{began}{plain(local_time(record.started), 30)}"]
    parts += [_duration(seconds)] if seconds is not None else []
    parts += [f"profile {plain(record.profile, 30)}"] if record.profile else []
    yield Text(f"{kind[:1].upper()}{kind[1:]}, {', '.join(parts)} (id {past.number})", style="bold")
    lost = any(is_lost(entry, record.at_work(boot)) for entry in record.guests)
    bad = lost or record.exit_code not in (0, None) or not (record.ended or record.at_work(boot))
    yield words(how_it_ended(record, boot), style="bold red" if lost else "yellow" if bad else "green")
    for text in [text for text in record.complaints if not text.startswith(GIVEN_UP)][:_MOST]:
        yield words(f"problem: {text}", style="yellow")


def _table(record: Record, memory: Memory) -> Table:
    at_work = record.at_work(memory.boot)
    entries = sorted(record.guests, key=lambda entry: (not is_bad(entry, at_work), -entry.seconds, entry.name))
    wide = max(len("guest"), *(cell_len(plain(entry.name, _NAME)) for entry in entries))
    bar = NARROW - _OTHERS - wide
    longest = max(max(entry.seconds, memory.timeout[entry.name]) for entry in entries)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for title, width in (("  guest", wide + 2), ("verdict", 10), ("method", 9)):
        table.add_column(title, width=width, no_wrap=True, overflow="crop")
    for title in ("time", "usual"):
        table.add_column(title, width=6, no_wrap=True, justify="right", overflow="crop")
    for title, width in (("of its timeout", bar), ("back", 7)):
        table.add_column(title, width=width, no_wrap=True, overflow="crop")
    for entry in entries:
        table.add_row(*_cells(entry, at_work, memory, bar / max(longest, 1.0)))
    return table


def _cells(entry: Entry, at_work: bool, memory: Memory, scale: float) -> Iterator[Text]:
    """Yield the cells of one guest; `scale` is columns a second."""
    word, back = outcome(entry, at_work), came_back(entry)
    bad = is_bad(entry, at_work)
    colour = "bold red" if is_lost(entry, at_work) else "bold yellow" if bad else _COLOURS.get(word, "")
    yield Text(f"{'!' if bad else ' '} {plain(entry.name, _NAME)}", style=colour if bad else "")
    yield Text(plain(word.partition(" to ")[0], 10), style=colour)
    yield Text(plain(entry.method, 9))
    yield Text(_seconds(entry.seconds))
    yield Text(_seconds(memory.usual.get(entry.name, 0)))
    yield _bar(entry.seconds * scale, memory.timeout[entry.name] * scale, colour)
    yield Text(plain(back, 7), style="bold red" if back == "failed" else "")


def _bar(taken: float, most: float, colour: str) -> Text:
    """Return the time that a guest took, and what was left to it, in columns; as text, for a terminal of any locale."""
    full, rest = ("█", "░") if has_unicode() else ("#", "-")
    filled = max(round(taken), 1) if taken else 0
    return Text(full * filled, style=colour).append(rest * (round(most) - filled), style="dim")


def _seconds(seconds: float) -> str:
    if seconds <= 0:
        return ""
    if seconds < 6000:
        return f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds:.0f} s"
    return f"{seconds / 3600:.0f} h"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _notes(guests: Iterable[Entry]) -> Iterator[Text]:
    """Yield what is to be said of single guests, besides the table."""
    for entry in guests:
        back = f"not back: {entry.restored.partition(': ')[2]}" if came_back(entry) == "failed" else ""
        detail = "" if entry.detail == LOST_POWER else entry.detail
        for text in filter(None, (detail, back)):
            yield Text.assemble((plain(entry.name, _NAME), "bold"), ": ", words(text))


def _carried(record: Record) -> Iterator[Text]:
    """Yield one line about the guests that an earlier stop ended, and what came of them."""
    said = [f"{plain(each.name, _NAME)} ({words(each.restored or 'still to come back')})" for each in record.carried]
    more = f" and {len(said) - _MOST} more" if len(said) > _MOST else ""
    if said:
        yield Text(f"stopped earlier: {', '.join(said[:_MOST])}{more}")


def _warning(warned: Warned) -> Text:
    said = f"{plain(warned.guest, _NAME)} {warned.what}; {warned.remedy}"
    return Text.assemble(("slow: ", "bold yellow"), words(said))
