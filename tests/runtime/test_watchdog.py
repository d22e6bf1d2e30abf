"""Without systemd nobody ends a stopvm that hangs: it does so itself, so that libvirt-guests can take over."""

import faulthandler
import subprocess
import sys
from pathlib import Path

import pytest

from lvg.stopvm.notify import Notifier

INSTALLER = Path(__file__).parents[2] / "installer"


def test_a_program_that_hangs_ends_itself():
    code = f"import sys, time; sys.path.insert(0, {str(INSTALLER)!r}); from lvg.stopvm.notify import Notifier; "
    code += "Notifier.from_environment(); time.sleep(600)"
    command, environment = [sys.executable, "-Ic", code], {"STOPVM_WATCHDOG": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 1
    assert "Timeout" in done.stderr


@pytest.mark.parametrize(("asked", "armed"), [("15", [15.0, 15.0]), ("", []), ("soon", []), ("0", [])])
def test_each_sign_of_life_gives_it_more_time(monkeypatch, asked, armed):
    seen = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda seconds, exit: seen.append(seconds))
    monkeypatch.setenv("STOPVM_WATCHDOG", asked)
    Notifier.from_environment().extend()
    assert seen == armed
