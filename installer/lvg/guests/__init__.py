"""Guests: what libvirt, and the guests' agents, say of those that run. Nothing is asked that changes anything."""

from lvg.guests.facts import Answer, Guest, running
from lvg.guests.look import look

__all__ = ["Answer", "Guest", "look", "running"]
