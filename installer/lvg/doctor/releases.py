"""What single releases of libvirt get wrong."""

from __future__ import annotations

from collections.abc import Iterator

from lvg.doctor.types import Check, Finding, HostFacts
from lvg.errors import FRESH

# libvirt 11.2 to 11.5 end a guest's scope before the daemon that would shut it down (mended in 11.6.0: its NEWS).
_AUTO_BROKEN = range(11_002_000, 11_006_000)
# virsh 10.7 prints a table where libvirt-guests wants ids (mended in 10.8.0: its NEWS).
_VIRSH_BROKEN = range(10_007_000, 10_008_000)


def version_of(facts: HostFacts) -> int:
    """Return the version of the libvirt that runs here, 11.3.0 as 11_003_000; 0 if not known."""
    return max((answer.version for answer in facts.answers), default=0)


def _words(version: int) -> str:
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"


def _auto_shutdown_works(facts: HostFacts) -> Iterator[Finding]:
    version = version_of(facts)
    if facts.survey.auto_shutdown and version in _AUTO_BROKEN:
        what = f"with libvirt {_words(version)} systemd ends guests before auto_shutdown_* can stop them"
        yield Finding("A6", "failure", what, f'Set auto_shutdown_* to "none" in qemu.conf, then: {FRESH}')


def _release_is_sound(facts: HostFacts) -> Iterator[Finding]:
    version = version_of(facts)
    if version in _VIRSH_BROKEN:
        what = f"libvirt {_words(version)}: its virsh breaks libvirt-guests, which then finds no guests"
        yield Finding("A7", "warning", what, "Update libvirt to 10.8 or later.")


CHECKS = (
    Check("A6", "libvirt's own shutdown of guests works in this release", _auto_shutdown_works),
    Check("A7", "this release of libvirt does not break libvirt-guests", _release_is_sound),
)
