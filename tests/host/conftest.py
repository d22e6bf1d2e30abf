"""Fixtures of the host tests. The helper modules in this folder are plain modules beside this file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

import ledger  # noqa: E402
import roots  # noqa: E402
from install import copy_checkout  # noqa: E402
from machine import Machine  # noqa: E402
from slowly import prepared  # noqa: E402

NO_DELAY = "[Login]\nInhibitDelayMaxSec=0\n"
# systemd 252 binds /proc/sys into a sandbox without what is mounted on it. In a container that is the id of this boot:
# there its units see the id of the machine around it, which stays the same over all the boots of these tests.
SEE_BOOT_ID = "[Service]\nProtectKernelTunables=no\nProtectControlGroups=no\n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.host)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test that failed shows what its machines' journals say about our units. One with faults goes to the ledger."""
    outcome = yield
    report = outcome.get_result()
    scenarios = [mark.args[0] for mark in item.iter_markers("fault")]
    if scenarios and (report.when == "call" or not report.passed):
        ledger.outcome(item.nodeid, scenarios, report.outcome)
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            machine = value if isinstance(value, Machine) else getattr(value, "machine", None)
            if isinstance(machine, Machine):
                report.sections.append(("journal of the last boot", machine.evidence()))


@pytest.fixture(scope="session", autouse=True)
def _prepared() -> Iterator[None]:
    with prepared():
        yield


@pytest.fixture(scope="session", params=roots.RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def layers(release: str) -> list[Path]:
    return [roots.guest_layer(), roots.host_root(release)]


@pytest.fixture
def bare(layers: list[Path]) -> Iterator[Machine]:
    """A host as Debian made it, switched off."""
    with Machine(layers) as machine:
        yield machine


@pytest.fixture
def host(bare: Machine) -> Machine:
    """A host that is up, with the checkout in /opt/lvg, nothing of it applied.

    Its logind does not wait 5 s before every power-off, as it does by default while guests run.
    """
    quick_poweroff(bare)
    copy_checkout(bare.root)
    return bare.boot()


def quick_poweroff(machine: Machine) -> None:
    folder = machine.root / "etc/systemd/logind.conf.d"
    folder.mkdir()
    (folder / "test.conf").write_text(NO_DELAY)


@pytest.fixture
def own_boots(host: Machine, release: str) -> Machine:
    """A host whose units can tell one boot of it from the next."""
    for unit in ("graceful-restore", "graceful-shutdown") if release == "bookworm" else ():
        folder = host.root / f"etc/systemd/system/{unit}.service.d"
        folder.mkdir()
        (folder / "99-boot-id.conf").write_text(SEE_BOOT_ID)
    return host
