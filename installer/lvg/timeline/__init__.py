"""The next shutdown and the next boot as they will happen: who, in which wave, how, and when. All pure."""

from lvg.timeline.boot import Boot, Start, boot
from lvg.timeline.limit import limit_of
from lvg.timeline.shutdown import of
from lvg.timeline.types import Step, Timeline

__all__ = ["Boot", "Start", "Step", "Timeline", "boot", "limit_of", "of"]
