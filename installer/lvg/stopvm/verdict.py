"""What came of one guest, and the time it had."""

from typing import NamedTuple

MOVED = "migration"  # the method of a guest that went to another host: it is not brought back here


class Verdict(NamedTuple):
    """What became of a guest. `wanted`: the policy asks for it, so nobody need be alarmed."""

    verdict: str
    wanted: bool = False
    detail: str = ""
    method: str = ""
    seconds: float = 0.0


class Time(NamedTuple):
    """When to be done, on the loop's clock: the guest's wave, and everything."""

    wave: float
    all: float
    least_save: float = 30.0  # seconds a save gets, however late it is
