"""A QEMU for tests: a process with a monitor and, if wanted, an agent's channel, on unix sockets.

Run as `fake_qemu.py -uuid UUID BEHAVIOUR STATUS MONITOR [AGENT]`. It writes what it is asked to MONITOR.log,
and there that its guest has ended.
Tests start dozens of it: threads and sockets are imported in a quarter of the time that asyncio takes.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": []}}


def later(seconds: float, act: Callable[..., object], *args: object) -> None:
    timer = threading.Timer(seconds, act, args)
    timer.daemon = True
    timer.start()


class Qemu:
    def __init__(self, behaviour: str, status: str, log: str) -> None:
        self.behaviour = behaviour
        self.status = status
        self.log = log
        self.presses = 0
        self.monitor: socket.socket | None = None
        self.others: list[socket.socket] = []

    def say(self, what: object) -> None:
        if self.monitor:
            self.monitor.sendall(json.dumps(what).encode() + b"\r\n")

    def note(self, what: str) -> None:
        with open(self.log, "a") as file:
            file.write(what + "\n")

    def end(self) -> None:
        """The guest shut itself down; with -no-shutdown the process stays."""
        self.status = "shutdown"
        self.say({"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 0}})
        if self.behaviour != "tells no end":
            self.say({"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-shutdown"}})
        self.note("ended")

    def killed(self, *_: object) -> None:
        self.say({"event": "SHUTDOWN", "data": {"guest": False, "reason": "host-signal"}})
        later(0.05, os._exit, 0)

    def on_monitor(self, client: socket.socket) -> None:
        if self.monitor or self.behaviour == "no greeting":
            self.others.append(client)  # it serves one client at a time
            return
        self.monitor = client
        self.note("connect")
        if self.behaviour == "closes":
            client.close()
            return
        if self.behaviour == "garbage":
            client.sendall(b"\x00\xff{[not json\n")
        while self.behaviour == "endless":
            client.sendall(b"x" * 65536)
        self.say(GREETING)
        for line in client.makefile("rb"):
            request = json.loads(line)
            answer = self.obey(request["execute"])
            self.say({**answer, "id": request["id"]})
            if request["execute"] == "quit":
                os._exit(0)

    def obey(self, command: str) -> dict[str, object]:
        self.note(command)
        if command == "query-status":
            return {"return": {"running": self.status == "running", "status": self.status}}
        if command in ("cont", "system_wakeup"):
            self.status = "running"
        if command == "system_powerdown":
            self.presses += 1
            if self.behaviour == "dies":
                os._exit(1)
            if self.behaviour == "panics":
                self.status = "guest-panicked"
                self.say({"event": "GUEST_PANICKED", "data": {"action": "pause"}})
            if self.behaviour == "fails":
                return {"error": {"class": "GenericError", "desc": "no button"}}
            wanted = {"second press": 2, "deaf": 0}.get(self.behaviour, 1)
            if self.status == "running" and self.presses == wanted:
                later(0.02, self.end)
        return {"return": {}}

    def on_agent(self, client: socket.socket) -> None:
        client.sendall(b'{"return": "late, for libvirtd"}\n')
        for line in client.makefile("rb"):
            request = json.loads(line.lstrip(b"\xff"))
            command, arguments = request["execute"], request.get("arguments", {})
            self.note(f"agent {command}")
            if command == "guest-sync-delimited":
                client.sendall(b"\xff" + json.dumps({"return": arguments["id"]}).encode() + b"\n")
            elif command == "guest-shutdown" and self.behaviour == "agent refuses":
                client.sendall(b'{"error": {"class": "CommandNotFound", "desc": "disabled"}}\n')
            elif command == "guest-shutdown":
                later(0.02, self.end)
            elif command == "guest-exec":
                client.sendall(b'{"return": {"pid": 7}}\n')
            elif command == "guest-exec-status":
                client.sendall(b'{"return": {"exited": true, "exitcode": 3, "out-data": "aGVsbG8="}}\n')


def listen(path: str, serve: Callable[[socket.socket], None]) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=_accept, args=(listener, serve), daemon=True).start()


def _accept(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_serve, args=(client, serve), daemon=True).start()


def _serve(client: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    try:
        serve(client)
    except OSError:
        client.close()  # the other end has gone


def main() -> None:
    behaviour, status, monitor, *agent = sys.argv[3:]
    qemu = Qemu(behaviour, status, f"{monitor}.log")
    signal.signal(signal.SIGTERM, qemu.killed)
    listen(monitor, qemu.on_monitor)
    for path in agent:
        listen(path, qemu.on_agent)
    sys.stdout.write("up\n")
    sys.stdout.flush()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
