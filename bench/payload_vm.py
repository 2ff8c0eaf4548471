# SPDX-License-Identifier: Apache-2.0
"""sevmirror as people use it: `run`, `receive`, `migrate`, with a dirtying payload as the guest.
Without SEV: see docs/bench.md."""

import json
import mmap
import os
import pathlib
import secrets
import signal
import struct
import subprocess
import tempfile

from processes import Failure, MemoryWatch, Process, cpu_seconds, memory_bytes, wait_until

BUILD = pathlib.Path(__file__).resolve().parent.parent / "build"
PAGE = 4096
MIB = 1 << 20

# struct payload_shared and struct payload_vcpu in payloads/sdk/payload.h; counters in
# payloads/dirtier.h
SHARED_MAGIC = b"smshar01"
SHARED_SEARCH = 64 * MIB
SHARED_STATE = 16
SHARED_VCPU = 1152
VCPU_MAX_GAP = 16
VCPU_COUNTERS = 32
COUNT_PAGES, COUNT_WRITES, COUNT_FILLED = 0, 1, 4

SEQUENTIAL, RANDOM = 0, 1
VERIFY_END = 1


class Host:
    """One of the two hosts, which are two runtime directories on this machine."""

    def __init__(self, directory):
        directory.mkdir(mode=0o700)
        self.directory = directory
        self.process = None

    def _environment(self):
        return dict(os.environ, SEVMIRROR_RUNTIME_DIR=str(self.directory))

    def start(self, *arguments):
        """A VM's process, in the background."""
        with open(self.directory / "errors", "w", encoding="utf-8") as errors:
            self.process = Process([BUILD / "cli/sevmirror", *arguments], env=self._environment(),
                                   stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=errors)

    def errors(self):
        return (self.directory / "errors").read_text(encoding="utf-8")

    def command(self, *arguments):
        """A command to the VM; its standard output."""
        done = subprocess.run([BUILD / "cli/sevmirror", *arguments], env=self._environment(),
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"sevmirror {' '.join(arguments)}: "
                          f"{done.stderr.strip()}\n{self.errors()}")
        return done.stdout

    def begin(self, *arguments):
        """Likewise, one that keeps running."""
        return subprocess.Popen([BUILD / "cli/sevmirror", *arguments], env=self._environment(),
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self):
        if self.process:
            self.process.put_down()


def guest_ram(pid):
    """The VM's memory file, open, or None as long as there is none."""
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(link).startswith("/memfd:guest-ram"):
                return open(link, "rb")
        except FileNotFoundError:
            pass  # closed meanwhile
    return None


def shared_area(pid):
    """The area that the payload shares with its host, found in the VM's memory file; (mapping,
    offset) or None."""
    ram = guest_ram(pid)
    if not ram:
        return None
    with ram:
        size = os.fstat(ram.fileno()).st_size
        if not size:
            return None
        area = mmap.mmap(ram.fileno(), min(SHARED_SEARCH, size), prot=mmap.PROT_READ)
    for offset in range(0, len(area), PAGE):
        if area[offset:offset + len(SHARED_MAGIC)] == SHARED_MAGIC:
            return area, offset
    return None


class Guest:
    """A payload guest that dirties its memory, and moves from one process to another."""

    def __init__(self, memory, rate=100, working_set=MIB, pattern=SEQUENTIAL):
        """Runs, with all of its memory filled with noise. rate: pages it dirties in a second (0: as
        many as it can), in working_set bytes."""
        self.temporary = tempfile.TemporaryDirectory(prefix="sevmirror-bench-")
        root = pathlib.Path(self.temporary.name)
        self.memory, self.root, self.turns = memory, root, 0
        self.key = root / "key"
        self.key.touch(mode=0o600)
        self.key.write_text(secrets.token_hex(32), encoding="ascii")
        self.hosts = [Host(root / "source"), Host(root / "target")]
        numbers = [1, rate, working_set, pattern, 8, VERIFY_END, 1]
        arguments = [word for number in numbers for word in ("--arg", str(number))]
        try:
            self.hosts[0].start("run", "--name", "guest", "--sev", "off", "--payload",
                                str(BUILD / "payloads/payload-dirtier"), "--memory",
                                f"{memory // MIB}M", *arguments)
            wait_until("the guest's start", self._find, self.hosts[0].process)
            wait_until("filling the guest's memory", self._filled, self.hosts[0].process)
        except Failure as failure:
            text = f"{failure}\n{self.hosts[0].errors()}"
            self.close()
            raise Failure(text) from failure

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for host in self.hosts:
            host.close()
        self.temporary.cleanup()

    def _find(self):
        found = shared_area(self.hosts[0].process.pid)
        if found:
            self.area, self.offset = found
        return found is not None

    def _vcpu(self, field):
        return struct.unpack_from("<Q", self.area, self.offset + SHARED_VCPU + field)[0]

    def _filled(self):
        return 0 < self._vcpu(VCPU_COUNTERS + 8 * COUNT_PAGES) <= self._vcpu(VCPU_COUNTERS
                + 8 * COUNT_FILLED)

    def writes(self):
        """Pages that it has written so far."""
        return self._vcpu(VCPU_COUNTERS + 8 * COUNT_WRITES)

    def begin(self, streams, *options):
        """Begin to migrate; the running `sevmirror migrate`. abandon() makes it give up."""
        command = ["migrate", "guest", "--to", self.receive(), "--psk-file", str(self.key),
                   "--streams", str(streams), *options]
        return self.hosts[0].begin(*command)

    def abandon(self, mover):
        """The migration is given up, and the guest stays."""
        mover.send_signal(signal.SIGINT)
        mover.wait()
        self.hosts[1].process.reap()

    def receive(self):
        """The target waits; its address."""
        target = self.hosts[1]
        target.start("receive", "--sev", "off", "--name", "guest", "--listen", "127.0.0.1:0",
                     "--psk-file", str(self.key))
        says = "waiting for the source on "
        wait_until("the target", lambda: says in target.errors(), target.process)
        return target.errors().split(says)[1].split()[0]

    def migrate(self, streams, *options, watch_memory=False):
        """Move it; what `sevmirror migrate --json` says and CPU seconds of both sides, with
        watch_memory also what each needs besides RAM."""
        source, target = self.hosts
        command = ["migrate", "guest", "--to", self.receive(), "--psk-file", str(self.key),
                   "--streams", str(streams), "--json", *options]
        before = cpu_seconds(source.process.pid)
        if watch_memory:
            rest = memory_bytes(source.process.pid)
            with MemoryWatch(source.process.pid, target.process.pid) as watch:
                result = json.loads(source.command(*command))
            result["source-overhead"] = watch.peak[0] - rest
            result["target-overhead"] = watch.peak[1] - self.memory
        else:
            result = json.loads(source.command(*command))
        arrived = cpu_seconds(target.process.pid)
        _, total = source.process.reap()
        result["cpu-seconds"] = total - before + arrived
        return result

    def turn(self):
        """After migrate(): the target is the source of the next one."""
        self.hosts[0].close()
        self.hosts = [self.hosts[1], Host(self.root / f"host-{self.turns}")]
        self.turns += 1

    def finish(self):
        """At the target: the guest verifies each of its pages and ends. Fails if it finds anything
        wrong."""
        target = self.hosts[1]
        target.command("stop", "guest")
        status, _ = target.process.reap()
        if status:
            raise Failure(f"the migrated guest is not whole: exit status "
                          f"{status}\n{target.errors()}")
