"""Changes: a wish and a survey of the host in, everything that has to change out. Pure."""

from lvg.changes.compute import compute
from lvg.changes.net import Net
from lvg.changes.types import Action, Changes, Conflict, FileChange, UnitAct, Wish

__all__ = ["Action", "Changes", "Conflict", "FileChange", "Net", "UnitAct", "Wish", "compute"]
