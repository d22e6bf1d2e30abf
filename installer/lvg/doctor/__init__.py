"""The doctor: whether the guests of this host would end cleanly. Facts are read once; pure checks judge them."""

from lvg.doctor.types import Check, Finding, HostFacts, Qemu

__all__ = ["Check", "Finding", "HostFacts", "Qemu"]
