"""The next shutdown and the next boot as they will happen: who, in which wave, how, and when. All pure."""

from lvg.timeline.types import Step, Timeline

__all__ = ["Step", "Timeline"]
