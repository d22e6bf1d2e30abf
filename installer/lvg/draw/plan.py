"""The picture of the next shutdown: a table with bars, and what follows from it in words."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lvg.draw import boot as boots
from lvg.draw.bars import NAME, WORDS, Mark, Scale, Wide, bar_width, indented, listed, seconds, table
from lvg.draw.policies import policies
from lvg.draw.terminal import has_unicode, plain, words
from lvg.stopvm.policy import Policy
from lvg.timeline import Boot, Timeline

_MOST_SAID = 20  # guests about which something is said in one line


def pictures(rules: Policy, line: Timeline, boot: Boot, ups: float | None, verbose: bool) -> Iterator[RenderableType]:
    """Yield what `lvg plan` shows."""
    if not line.steps:
        yield Text("no guest runs: there is nothing to stop, and nothing to bring back")
        return
    count = "1 guest" if len(line.steps) == 1 else f"{len(line.steps)} guests"
    yield Text(f"Next shutdown: {count}, profile {plain(rules.profile, 30)}", style="bold")
    yield Wide(lambda width: _shutdown(line, ups, width))
    yield from _legend(line, ups)
    yield from _notes(line)
    yield Text()
    yield from boots.pictures(boot)
    if verbose:
        yield Text()
        yield from policies(rules, line)
    yield Text()
    yield from _verdict(line, ups)


def _shutdown(line: Timeline, ups: float | None, width: int) -> Table:
    name = max(*(cell_len(plain(step.name, NAME)) for step in line.steps), len("guest"))
    how = min(max(*(len(step.what) for step in line.steps), len("libvirt-guests")), WORDS)
    scale = Scale(_end(line, ups), bar_width(width, name, how), tuple(_marks(line, ups)))
    found = table(scale, name, ("asked by", how), ("expected", "at most"))
    for wave in line.waves():
        for place, step in enumerate(wave):
            number = "" if place else str(step.wave + 1)
            what = plain(step.what.removeprefix("left to "), how)
            expected = f"{seconds(step.ends)}{'?' if step.guessed else ' '}"
            bar = scale.bar(step.begins, step.ends, step.deadline)
            found.add_row(number, plain(step.name, NAME), what, expected, seconds(step.deadline), bar)
    if line.net:
        bar = scale.bar(line.stopped, line.stopped, line.worst)
        found.add_row("", "", "libvirt-guests", "", seconds(line.worst), bar, style="dim")
    return found


def _end(line: Timeline, ups: float | None) -> float:
    """Return the seconds that the whole scale is: the worst case, and the limits that are not far behind it."""
    ends = [each for each in (line.limit, line.delay + line.within, ups) if each and each < 2 * line.worst]
    return max(line.worst, *ends, 1.0) * 1.02


def _marks(line: Timeline, ups: float | None) -> Iterator[Mark]:
    yield Mark("B", line.delay + line.within, ends=False)
    if line.limit is not None:
        yield Mark("L", line.limit)
    if ups is not None:
        yield Mark("U", ups)


def _legend(line: Timeline, ups: float | None) -> Iterator[RenderableType]:
    """Yield what the signs in the table mean."""
    solid, light = ("█", "░") if has_unicode() else ("#", "-")
    yield Text(f"{solid} expected   {light} worst case   seconds from the order to go down", style="dim")
    shorter = f" (of {line.budget:.0f} s)" if line.within < line.budget else ""
    limits = [f"B stopvm's time ends: {line.delay + line.within:.0f} s{shorter}"]
    limits.append(f"L systemd cuts off: {line.limit:.0f} s" if line.limit is not None else "no limit of systemd's")
    limits += [f"U UPS: {ups:.0f} s"] if ups is not None else []
    yield Text("   ".join(limits), style="dim")
    if any(step.guessed for step in line.steps):
        yield Text("? no clean stop of it is on record yet: all the time that it gets is expected", style="dim")


def _notes(line: Timeline) -> Iterator[RenderableType]:
    """Yield what is to be said of some guests."""
    for forced in dict.fromkeys(step.forced for step in line.steps if step.forced):
        names = [step.name for step in line.steps if step.forced == forced]
        yield indented(f"at its deadline {forced}: {'all' if len(names) == len(line.steps) else listed(names)}")
    if line.net:
        yield indented(f"libvirt-guests has up to {line.net:.0f} s behind stopvm, for what could not be stopped")
    for text in line.wrong:
        yield words(text, style="yellow")
    cut = [step for step in line.steps if step.methods and step.granted < step.timeout - 0.5]
    if cut:
        times = [f"{plain(step.name, NAME)} {step.granted:.0f} of its {step.timeout:.0f} s" for step in cut]
        more = f" and {len(cut) - _MOST_SAID} more" if len(cut) > _MOST_SAID else ""
        said = f"less time than its timeout, if all goes badly: {', '.join(times[:_MOST_SAID])}{more}"
        yield Text(said, style="yellow")


def _verdict(line: Timeline, ups: float | None) -> Iterator[Text]:
    took = f"at most {_duration(line.worst)}, expected {_duration(line.expected)}"
    if line.fits(ups):
        yield Text(f"It fits: {took}.", style="green")
        return
    ends = [("the UPS lasts", ups), ("systemd cuts it off after", line.limit)]
    late = [f"{what} {_duration(end)}" for what, end in ends if end is not None and line.worst > end]
    yield Text(f"It does not fit: {took}; {', '.join(late)}.", style="bold red")
    yield Text("Make timeout, budget or SHUTDOWN_TIMEOUT smaller, or try: lvg-install --profile ups")


def _duration(value: float) -> str:
    minutes, rest = divmod(round(value), 60)
    return f"{value:.0f} s" + (f" ({minutes} min {rest} s)" if minutes else "")
