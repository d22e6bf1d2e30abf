"""What the policy says for each guest, and which rule each value comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.text import Text

from lvg.draw.bars import indented
from lvg.draw.terminal import plain, words
from lvg.stopvm.policy import Policy
from lvg.timeline import Step, Timeline
from lvg.timeline.effective import Value, effective

_NAME = 60


def policies(rules: Policy, line: Timeline) -> Iterator[RenderableType]:
    """Yield every guest with its values, those of one rule together; guests of the same policy stand together."""
    yield Text("Policy of each guest", style="bold")
    alike = sorted(line.steps, key=lambda step: repr(effective(rules, step.name)))
    for _, group in groupby(alike, key=lambda step: repr(effective(rules, step.name))):
        steps = list(group)
        yield words(", ".join(plain(step.name, _NAME) for step in steps), style="bold")
        yield from _values(effective(rules, steps[0].name))
        yield from _order(steps)


def _values(values: Sequence[Value]) -> Iterator[RenderableType]:
    for match in dict.fromkeys(["", *(value.match for value in values)]):
        said = [f"{value.key} = {json.dumps(value.value)}" for value in values if value.match == match]
        source = f'[[guest]] match = "{plain(match, _NAME)}"' if match else "[stopvm]"
        if said:
            yield indented(f"{source}: {', '.join(said)}")


def _order(steps: Sequence[Step]) -> Iterator[RenderableType]:
    for step in steps:
        if step.after:
            yield indented(f"{plain(step.name, _NAME)} stops after {', '.join(step.after)}")
