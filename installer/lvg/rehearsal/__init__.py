"""A rehearsal: some guests are really stopped by the policy, now, and started again; everything else is left alone."""

from lvg.rehearsal.choose import chosen
from lvg.rehearsal.part import Outcome, Part, parts
from lvg.rehearsal.watching import Screen, Watch, interrupts
from lvg.rehearsal.work import Work, begin

__all__ = ["Outcome", "Part", "Screen", "Watch", "Work", "begin", "chosen", "interrupts", "parts"]
