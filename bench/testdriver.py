"""Runs inside the throw-away tree of bench/stop: a libvirtd, guests of its test driver, and a clock.

Guests of the test driver go down at once, so what is measured is what stopping them costs by itself.
Prints one JSON object: for each measurement the seconds (and MB) of each run.

It is its own helper: the guests are held by a second process (`testdriver.py farm`), so that this
one stays small. For the peak of a child's memory the kernel counts what its parent had at the fork.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SOCKET = Path("/run/libvirt/libvirt-sock")
URI = f"test+unix:///default?socket={SOCKET}"
SETTINGS = Path("/etc/default/libvirt-guests")
LEFT_BY_STOCK = Path("/var/lib/libvirt/libvirt-guests")
SAID, LOG = Path("/run/said"), Path("/run/libvirtd.log")
STOCK = ["/usr/lib/libvirt/libvirt-guests.sh", "stop"]
STOPVM = ["/usr/local/bin/stopvm", "stop", "--now"]
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
XML = """<domain type='test'><name>{}</name><memory unit='MiB'>1</memory><vcpu>1</vcpu>
<os><type>hvm</type></os><on_poweroff>destroy</on_poweroff></domain>"""

Run = tuple[float, float]  # seconds, MB of memory at the peak


def farm() -> None:
    """For each number on standard input: let so many guests run, and answer how many do."""
    import libvirt  # noqa: PLC0415  # not in the process that measures

    connection = libvirt.open(URI)
    for domain in connection.listAllDomains():  # the test driver brings one along
        domain.destroy()
        domain.undefine()
    known = []
    for line in sys.stdin:
        while len(known) < int(line):
            known.append(connection.defineXML(XML.format(f"guest-{len(known):05}")))
        for domain in known[: int(line)]:
            domain.create()
        print(connection.numOfDomains(), flush=True)


class Bench:
    """A libvirtd that runs, and the guests in it."""

    def __init__(self, guests: "subprocess.Popen[str]") -> None:
        self._guests = guests

    def start(self, count: int) -> None:
        """Let `count` guests run; none did."""
        assert self._guests.stdin
        assert self._guests.stdout
        self._guests.stdin.write(f"{count}\n")
        self._guests.stdin.flush()
        if (running := int(self._guests.stdout.readline())) != count:
            sys.exit(f"{running} guests run, not {count}: somebody left some")

    def stopvm(self, count: int, *words: str) -> Run:
        """Stop `count` guests by stopvm."""
        self.start(count)
        return timed([*STOPVM, *words])

    def stock(self, count: int, uri: str = URI, *, tuned: bool = True) -> Run:
        """Stop `count` guests by libvirt-guests.sh: all at once if it is tuned, else one by one, as it comes.

        It reads its settings anew each time.
        """
        parallel = f"SHUTDOWN_TIMEOUT=600\nPARALLEL_SHUTDOWN={max(count, 2)}\n" if tuned else ""
        SETTINGS.write_text(f"URIS='{uri}'\nON_SHUTDOWN=shutdown\n{parallel}")
        self.start(count)
        found = timed(STOCK)
        LEFT_BY_STOCK.unlink(missing_ok=True)
        return found


def timed(command: Sequence[str]) -> Run:
    """Run a whole process to its end."""
    with SAID.open("wb") as said:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=ENVIRONMENT
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} ended with {code}: {SAID.read_text()[-2000:]}")
    return seconds, used.ru_maxrss / 1024


@contextmanager
def bench() -> Iterator[Bench]:
    conf = Path("/run/libvirtd.conf")
    conf.write_text('auth_unix_rw = "none"\nauth_unix_ro = "none"\n')
    with LOG.open("wb") as log:
        daemon = subprocess.Popen(["/usr/sbin/libvirtd", "-f", str(conf)], env=ENVIRONMENT, stdout=log, stderr=log)
    end = time.monotonic() + 30
    while not SOCKET.exists():
        if daemon.poll() is not None or time.monotonic() > end:
            sys.exit(f"libvirtd does not come up: {LOG.read_text()}")
        time.sleep(0.02)
    command = [sys.executable, __file__, "farm"]
    guests = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Bench(guests)
    finally:
        guests.kill()
        daemon.kill()


def main() -> None:
    """Words: how many runs, the number of guests for both programs, and those for stopvm alone."""
    runs, both, *alone = map(int, sys.argv[1:])
    found: dict[str, list[Run]] = {}

    def note(name: str, run: Run) -> None:
        found.setdefault(name, []).append(run)

    with bench() as it:
        it.stopvm(1, "--uri", URI)  # to warm up
        for _ in range(runs):
            note("stock 0", it.stock(0, "default"))
            note("stopvm 0", it.stopvm(0))
            note("stopvm 0 asked", it.stopvm(0, "--uri", URI))
            note(f"stopvm {both}", it.stopvm(both, "--uri", URI))
            note(f"stock {both}", it.stock(both))
        note(f"stock {both} as it comes", it.stock(both, tuned=False))  # takes minutes: once
        for count in alone:  # afterwards: a libvirtd that knows thousands of guests is slower with few, too
            for _ in range(runs):
                note(f"stopvm {count}", it.stopvm(count, "--uri", URI))
    print(json.dumps(found))


if __name__ == "__main__":
    farm() if sys.argv[1:] == ["farm"] else main()
