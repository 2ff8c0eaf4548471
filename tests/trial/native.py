# SPDX-License-Identifier: Apache-2.0
"""Hosts that are runtime directories of this machine: their processes, and what can happen to them.
"""
import ctypes
import hashlib
import json
import os
import resource
import signal
import struct
import subprocess
import tempfile
import threading
import time

SYS_TGKILL = 234
SHARED_GPA = 0x200000  # a payload's shared area, with its heartbeat
MIB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)


def tiny_kernel(path):
    """A guest that does nothing, as payloads have no disks: a bzImage's header, and hlt at its
    64-bit entry."""
    image = bytearray(0x400 + 0x400)
    for at, form, value in [
            (0x1F1, "B", 1), (0x1F4, "I", 0x40), (0x1FE, "H", 0xAA55), (0x200, "H", 0x6AEB),
            (0x202, "4s", b"HdrS"), (0x206, "H", 0x20F), (0x211, "B", 1), (0x22C, "I", 0x7FFFFFFF),
            (0x230, "I", 0x200000), (0x234, "B", 1), (0x236, "H", 1), (0x238, "I", 2047),
            (0x24C, "I", 0x400), (0x258, "Q", 0x1000000), (0x260, "I", 0x1000),
            (0x600, "3s", b"\xf4\xeb\xfd")]:
        struct.pack_into("<" + form, image, at, value)
    with open(path, "wb") as f:
        f.write(image)


class Process:
    """A sevmirror process and what it says."""

    def __init__(self, host, argv, adverse=None):
        self.words = " ".join(argv[1:3])
        self.said_path = tempfile.mktemp(prefix=f"{argv[1]}-", suffix=".said", dir=host.logs)
        env = dict(host.env, LD_PRELOAD=host.programs["adverse"],
                   TRIAL_ADVERSE=" ".join(f"{k}={v}" for k, v in (adverse or {}).items()))
        with open(self.said_path, "wb") as said:
            self.popen = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=said,
                                          stderr=said, cwd=host.logs)
        self.pid = self.popen.pid
        self.limits = {}
        self.kept = None  # descriptors and threads after the first migration that failed

    def said(self):
        with open(self.said_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def address(self):
        return self.said().split("waiting for the source on ", 1)[1].split()[0]

    def poll(self):
        return self.popen.poll()

    def signal(self, number):
        if self.popen.poll() is None:
            self.popen.send_signal(number)

    def wait(self, seconds):
        """The exit status, or None when it has not ended by then."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def freeze(self, seconds):
        self.signal(signal.SIGSTOP)
        threading.Timer(seconds, self.thaw).start()

    def thaw(self):
        self.signal(signal.SIGCONT)

    def storm(self, seconds):
        """SIGPROF to each of its threads, again and again (adverse.c)."""
        end = time.monotonic() + seconds

        def blow():
            while time.monotonic() < end and self.popen.poll() is None:
                for task in self.tasks():
                    libc.syscall(SYS_TGKILL, self.pid, task, signal.SIGPROF)
                time.sleep(0.0005)

        threading.Thread(target=blow, daemon=True).start()

    def tasks(self):
        try:
            return [int(t) for t in os.listdir(f"/proc/{self.pid}/task")]
        except OSError:
            return []

    def files(self):
        """What its descriptors are, sorted."""
        found = []
        try:
            for fd in os.listdir(f"/proc/{self.pid}/fd"):
                try:
                    link = os.readlink(f"/proc/{self.pid}/fd/{fd}")
                except OSError:
                    continue
                found.append(link.split(":[")[0])
        except OSError:
            pass
        return sorted(found)

    def limit(self, kind, spare):
        """Only `spare` more descriptors, or MiB of address space, from now on."""
        try:
            if kind == "files":
                which = resource.RLIMIT_NOFILE
                used = max(map(int, os.listdir(f"/proc/{self.pid}/fd"))) + 1
            else:
                which = resource.RLIMIT_AS
                with open(f"/proc/{self.pid}/statm", encoding="ascii") as f:
                    used = int(f.read().split()[0]) * 4096
                spare *= MIB
            old = resource.prlimit(self.pid, which)
            resource.prlimit(self.pid, which, (used + spare, old[1]))
            self.limits.setdefault(which, old)
        except OSError:
            pass

    def unlimit(self):
        for which, old in self.limits.items():
            try:
                resource.prlimit(self.pid, which, old)
            except OSError:
                pass
        self.limits = {}

    def beat(self):
        """Of the guest's shared page, which changes while it runs; None if there is none."""
        try:
            for fd in os.listdir(f"/proc/{self.pid}/fd"):
                path = f"/proc/{self.pid}/fd/{fd}"
                if "memfd:guest-ram" in os.readlink(path):
                    with open(path, "rb", buffering=0) as ram:
                        return hashlib.sha256(os.pread(ram.fileno(), 4096, SHARED_GPA)).digest()
        except OSError:
            pass
        return None

    def stacks(self):
        lines = []
        for task in self.tasks():
            try:
                parts = []
                for what in ("comm", "wchan", "syscall"):
                    with open(f"/proc/{self.pid}/task/{task}/{what}", encoding="ascii") as f:
                        parts.append(f.read().strip())
                lines.append(" ".join(parts))
            except OSError:
                pass
        return lines


class Host:
    """A runtime directory."""

    emulated = False

    def __init__(self, folder, programs):
        self.programs = programs
        self.runtime = os.path.join(folder, "run")
        self.logs = os.path.join(folder, "logs")
        self.temporary = os.path.join(folder, "tmp")
        for path in folder, self.runtime, self.logs, self.temporary:
            os.mkdir(path, 0o700)
        self.env = dict(os.environ, SEVMIRROR_RUNTIME_DIR=self.runtime, TMPDIR=self.temporary)

    def run(self, name, guest, disk):
        argv = [self.programs["sevmirror"], "run", "--name", name, "--sev", "off",
                "--cpus", str(guest["cpus"])]
        if guest["kind"] == "disk":
            argv += ["--kernel", self.programs["kernel"], "--memory", "64M", "--disk", disk]
        else:
            argv += ["--payload", self.programs["dirtier"], "--memory", f"{guest['memory']}M"]
            for arg in guest["args"]:
                argv += ["--arg", str(arg)]
            if guest["mirror"]:
                argv += ["--mirror-payload", self.programs["memscan"]]
        return Process(self, argv, guest["adverse"])

    def receive(self, name, security, timeout, disk, adverse):
        argv = [self.programs["sevmirror"], "receive", "--sev", "off", "--name", name,
                "--listen", "127.0.0.1:0", "--timeout", str(timeout)] + security
        if disk:
            argv += ["--disk", disk]
        return Process(self, argv, adverse)

    def start(self, *words, adverse=None):
        return Process(self, [self.programs["sevmirror"], *words], adverse)

    def command(self, *words, seconds=120):
        """Its exit status, None when it has not ended by then, and what it said."""
        process = self.start(*words)
        status = process.wait(seconds)
        said = process.said()
        if status is None:
            process.signal(signal.SIGKILL)
            process.wait(10)
        else:
            os.unlink(process.said_path)
        return status, said

    def status(self, name, seconds=120):
        code, said = self.command("status", name, "--json", seconds=seconds)
        try:
            return json.loads(said) if code == 0 else None
        except ValueError:
            return None

    def leftovers(self, name):
        """Files of a VM whose process has ended."""
        return [f for f in os.listdir(self.runtime) if f.startswith(name + ".")]

    def everything_left(self):
        return [os.path.join(d, f) for d in (self.runtime, self.temporary) for f in os.listdir(d)]
