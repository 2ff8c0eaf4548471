# SPDX-License-Identifier: Apache-2.0
"""
Debian's QEMU as the peer: two processes, a guest whose RAM is full of noise and which then sleeps,
and QMP to move it. Its guest runs in TCG, so that the measurement works on any machine; once it
sleeps it costs nothing.
"""

import contextlib
import json
import pathlib
import secrets
import socket
import subprocess
import tempfile
import time

from payload_vm import BUILD, MIB
from processes import Failure, Process, cpu_seconds, speed, wait_until

SLEEPER, TOUCHER = BUILD / "bench/qemu-guest", BUILD / "bench/qemu-guest-touch"
UNLIMITED = 1 << 50  # bytes a second

# name of the mode: multifd channels (0: without), TLS
MODES = {"plain": (0, False), "multifd 2": (2, False), "multifd 4": (4, False),
         "multifd 8": (8, False), "TLS": (0, True), "multifd 2+TLS": (2, True)}


class Monitor:
    """A QMP connection."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rw", encoding="utf-8")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        """A command's result; an error is a Failure."""
        json.dump({"execute": command, "arguments": arguments}, self.file)
        self.file.write("\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline() or "{}")
            if "return" in answer:
                return answer["return"]
            if "event" not in answer:
                raise Failure(f"QEMU: {command}: "
                              f"{answer.get('error', {}).get('desc', 'no answer')}")

    def close(self):
        self.file.close()
        self.socket.close()


class Machine:
    """One QEMU process."""

    def __init__(self, directory, command, environment, endpoint, *arguments):
        directory.mkdir()
        self.console = directory / "console"
        path = directory / "qmp"
        self.process = Process(
            [*command, "-nodefaults", "-display", "none",
             "-debugcon", f"file:{self.console}", "-qmp", f"unix:{path},server=on,wait=off",
             "-object", f"tls-creds-psk,id=tls0,dir={directory.parent},endpoint={endpoint}",
             *arguments], env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            wait_until("QEMU's start", lambda: self._connect(path), self.process)
        except Failure as failure:
            self.process.put_down()
            raise Failure(f"{failure}: {self.process.stderr.read()}") from failure

    def _connect(self, path):
        """Whether QEMU listens; its monitor then."""
        try:
            self.monitor = Monitor(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def set_up(self, channels, tls, downtime_ms, *capabilities):
        """Both sides alike."""
        wanted = [*capabilities, *(["multifd"] if channels else [])]
        self.monitor.call("migrate-set-capabilities",
                          capabilities=[{"capability": name, "state": True} for name in wanted])
        parameters = {"max-bandwidth": UNLIMITED, "downtime-limit": downtime_ms}
        if channels:
            parameters["multifd-channels"] = channels
        if tls:
            parameters["tls-creds"] = "tls0"
            parameters["tls-hostname"] = ""
        self.monitor.call("migrate-set-parameters", **parameters)

    def close(self):
        self.monitor.close()
        self.process.put_down()
        self.process.stderr.close()


def write_key(directory):
    """For TLS with a pre-shared key."""
    (directory / "keys.psk").write_text(f"qemu:{secrets.token_hex(32)}\n", encoding="ascii")


@contextlib.contextmanager
def pair(peer, guest, memory):
    """Source, with that much memory full of noise, and target."""
    with tempfile.TemporaryDirectory(prefix="sevmirror-bench-") as name:
        root = pathlib.Path(name)
        write_key(root)
        how = ([*peer.command, "-machine", "pc", "-accel", "tcg", "-m", f"{memory // MIB}M",
                "-kernel", guest], peer.environment)
        machines = []
        try:
            machines.append(Machine(root / "source", *how, "client"))
            machines.append(Machine(root / "target", *how, "server", "-incoming", "defer"))
            source = machines[0]
            wait_until("filling the memory of QEMU's guest", lambda: source.console.exists()
                       and source.console.read_bytes() == b"F", source.process)
            yield machines
        finally:
            for machine in machines:
                machine.close()


def start(source, target):
    """Begin to migrate."""
    target.monitor.call("migrate-incoming", uri="tcp:127.0.0.1:0")
    port = target.monitor.call("query-migrate")["socket-address"][0]["port"]
    source.monitor.call("migrate", uri=f"tcp:127.0.0.1:{port}")


def wait_for(source, status):
    """Until the migration is in that state; what QEMU says about it then."""
    state = {}

    def there():
        state.update(source.monitor.call("query-migrate"))
        return state.get("status") in (status, "completed", "failed", "cancelled")

    wait_until("QEMU's migration", there, source.process)
    if state["status"] not in (status, "completed"):
        raise Failure(f"QEMU's migration: {state.get('error-desc', state['status'])}")
    return state


def migrate(peer, memory, mode, downtime_ms):
    """Move a guest of that much memory; seconds, downtime in ms, CPU seconds of both sides, rounds.
    """
    channels, tls = MODES[mode]
    with pair(peer, SLEEPER, memory) as machines:
        source, target = machines
        for machine in machines:
            machine.set_up(channels, tls, downtime_ms)
        before = sum(cpu_seconds(machine.process.pid) for machine in machines)
        start(source, target)
        state = wait_for(source, "completed")
        wait_until("QEMU's target",
                   lambda: target.monitor.call("query-status")["status"] == "running",
                   target.process)
        after = sum(cpu_seconds(machine.process.pid) for machine in machines)
    return {"seconds": state["total-time"] / 1000, "downtime-ms": state["downtime"],
            "cpu-seconds": after - before,
            "rounds": state["ram"]["dirty-sync-count"]}


def _words(machine):
    """How many words the touching guest has written, modulo 2^32."""
    text = machine.monitor.call("human-monitor-command", **{"command-line": "xp /1wx 0x1ff000"})
    return int(text.split()[-1], 16)


def speeds(peer, memory, bandwidth, seconds):
    """Words a second that a guest writes before it is migrated at so many bytes a second, and
    meanwhile."""
    with pair(peer, TOUCHER, memory) as machines:
        source, target = machines
        for machine in machines:
            machine.set_up(0, False, 1)
        source.monitor.call("migrate-set-parameters", **{"max-bandwidth": bandwidth})
        before = speed(lambda: _words(source), seconds, 1 << 32)
        start(source, target)
        meanwhile = speed(lambda: _words(source), seconds, 1 << 32)
        source.monitor.call("migrate_cancel")
    return before, meanwhile


def postcopy(peer, memory, downtime_ms):
    """A guest that writes everywhere, post-copy at once: seconds until the last page, faults, their
    mean wait in ms, downtime in ms."""
    with pair(peer, TOUCHER, memory) as machines:
        source, target = machines
        for machine in machines:
            machine.set_up(0, False, downtime_ms, "postcopy-ram", "postcopy-blocktime")
        start(source, target)
        source.monitor.call("migrate-start-postcopy")
        wait_for(source, "postcopy-active")
        begin = time.monotonic()
        state = wait_for(source, "completed")
        seconds = time.monotonic() - begin
        blocked = target.monitor.call("query-migrate").get("postcopy-vcpu-blocktime", [0])
    faults = state["ram"]["postcopy-requests"]
    return {"seconds": seconds, "faults": faults, "mean-ms": sum(blocked) / faults if faults else 0,
            "downtime-ms": state["downtime"]}
