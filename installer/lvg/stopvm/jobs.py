"""A job of somebody else's that holds a guest when it is to be stopped: a snapshot, a dump, a migration, a save.

libvirt then refuses every change, a shutdown included, after a wait of 30 s. A backup or a block job does not
stand in the way of a shutdown; they end with it.
"""

import asyncio

from .calls import CallTimeoutError
from .requests import Requests
from .session import LibvirtError

_ENDS_IT = ("save", "migration")  # the guest is gone when such a job is done, as it should be
_PATIENCE = 60.0  # seconds for a job that only holds the guest up
_LOOK_EVERY = 0.5  # seconds; libvirt has no event for the end of each kind of job


def patience(job: str, left: float) -> float:
    """Return the seconds that another's job gets if `left` seconds remain for the guest; pure."""
    if job in ("", "backup"):
        return 0.0
    return max(0.0, left / 2 if job in _ENDS_IT else min(_PATIENCE, left / 4))


async def wait_for_other(requests: Requests, until: float) -> None:
    """Return when no other job holds the guest; one that is not done in time is aborted. `until`: loop's clock."""
    clock = asyncio.get_running_loop().time
    job = await _job(requests)
    if job in ("", "backup"):
        return
    seconds = patience(job, until - clock())
    requests.warn(f"a {job} of it is at work: it gets up to {seconds:.0f} s")
    end = clock() + seconds
    while clock() < end and not requests.ending.stirred and await _job(requests) == job:
        await requests.ending.wait(_LOOK_EVERY)
    if not requests.ending.gone.is_set() and await _job(requests) == job:
        requests.warn(f"the {job} is aborted")
        await requests.taken("abort", lambda session: session.abort_job(requests.facts))


async def _job(requests: Requests) -> str:
    try:
        return await requests.session.job(requests.facts)
    except (LibvirtError, CallTimeoutError):
        return ""  # what is asked next will tell
