"""A QEMU for tests: a process with a monitor and, if wanted, an agent's channel, on unix sockets.

Run as `fake_qemu.py -uuid UUID BEHAVIOUR STATUS MONITOR [AGENT]`. It writes what it is asked to MONITOR.log.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": []}}


class Qemu:
    def __init__(self, behaviour: str, status: str, log: Path) -> None:
        self.behaviour = behaviour
        self.status = status
        self.log = log
        self.presses = 0
        self.monitor: asyncio.StreamWriter | None = None

    def say(self, what: object) -> None:
        if self.monitor:
            self.monitor.write(json.dumps(what).encode() + b"\r\n")

    def note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(what + "\n")

    def end(self) -> None:
        """The guest shut itself down; with -no-shutdown the process stays."""
        self.status = "shutdown"
        self.say({"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 0}})
        if self.behaviour != "tells no end":
            self.say({"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-shutdown"}})

    def killed(self) -> None:
        self.say({"event": "SHUTDOWN", "data": {"guest": False, "reason": "host-signal"}})
        asyncio.get_running_loop().call_later(0.05, os._exit, 0)

    async def on_monitor(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.monitor or self.behaviour == "no greeting":
            return None  # it serves one client at a time
        self.monitor = writer
        self.note("connect")
        if self.behaviour == "closes":
            return writer.close()
        if self.behaviour == "garbage":
            writer.write(b"\x00\xff{[not json\n")
        if self.behaviour == "endless":
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()
            return None
        self.say(GREETING)
        while line := await reader.readline():
            request = json.loads(line)
            answer = self.obey(request["execute"])
            self.say({**answer, "id": request["id"]})
            if request["execute"] == "quit":
                await writer.drain()
                os._exit(0)
        return None

    def obey(self, command: str) -> dict[str, object]:
        self.note(command)
        loop = asyncio.get_running_loop()
        if command == "query-status":
            return {"return": {"running": self.status == "running", "status": self.status}}
        if command in ("cont", "system_wakeup"):
            self.status = "running"
        if command == "system_powerdown":
            self.presses += 1
            if self.behaviour == "dies":
                os._exit(1)
            if self.behaviour == "fails":
                return {"error": {"class": "GenericError", "desc": "no button"}}
            wanted = {"second press": 2, "deaf": 0}.get(self.behaviour, 1)
            if self.status == "running" and self.presses == wanted:
                loop.call_later(0.02, self.end)
        return {"return": {}}

    async def on_agent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"return": "late, for libvirtd"}\n')
        while line := await reader.readline():
            request = json.loads(line.lstrip(b"\xff"))
            command, arguments = request["execute"], request.get("arguments", {})
            self.note(f"agent {command}")
            if command == "guest-sync-delimited":
                writer.write(b"\xff" + json.dumps({"return": arguments["id"]}).encode() + b"\n")
            elif command == "guest-shutdown" and self.behaviour == "agent refuses":
                writer.write(b'{"error": {"class": "CommandNotFound", "desc": "disabled"}}\n')
            elif command == "guest-shutdown":
                asyncio.get_running_loop().call_later(0.02, self.end)
            elif command == "guest-exec":
                writer.write(b'{"return": {"pid": 7}}\n')
            elif command == "guest-exec-status":
                writer.write(b'{"return": {"exited": true, "exitcode": 3, "out-data": "aGVsbG8="}}\n')


async def main() -> None:
    behaviour, status, monitor, *agent = sys.argv[3:]
    qemu = Qemu(behaviour, status, Path(f"{monitor}.log"))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, qemu.killed)
    await asyncio.start_unix_server(qemu.on_monitor, monitor)
    for path in agent:
        await asyncio.start_unix_server(qemu.on_agent, path)
    sys.stdout.write("up\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
