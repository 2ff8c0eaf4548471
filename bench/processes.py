# SPDX-License-Identifier: Apache-2.0
"""Processes that are measured: started, waited for, their CPU time and memory read from /proc."""

import os
import subprocess
import threading
import time

PATIENCE = 120  # seconds; for what takes a second on an idle machine


class Failure(Exception):
    """A measurement could not be made; the text says why."""


def wait_until(what, condition, process=None):
    """Poll condition() until it is true; fails when the process has ended before, or nothing
    happens for long."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if process is not None and process.poll() is not None:
            raise Failure(f"{what}: the process has ended with {process.returncode}")
        if time.monotonic() > end:
            raise Failure(f"{what}: nothing for {PATIENCE} seconds")
        time.sleep(0.02)


def speed(counter, seconds, wraps=0):
    """How fast counter() grows while so many seconds pass, a second."""
    first, begin = counter(), time.monotonic()
    time.sleep(seconds)
    grown, passed = counter() - first, time.monotonic() - begin
    return (grown % wraps if wraps else grown) / passed


def cpu_seconds(pid):
    """User and system time of a living process, its threads and its vCPUs included."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _kib(path, key):
    with open(path, encoding="ascii") as lines:
        for line in lines:
            if line.startswith(key):
                return int(line.split()[1])
    raise Failure(f"no {key} in {path}")


def memory_bytes(pid):
    """What a process costs: its proportional set (a page that it maps twice counts once) and its
    page tables."""
    return (_kib(f"/proc/{pid}/smaps_rollup", "Pss:")
            + _kib(f"/proc/{pid}/status", "VmPTE:")) * 1024


class MemoryWatch(threading.Thread):
    """The peak of memory_bytes() of some processes while `with` lasts: peak[i] for the i-th."""

    def __init__(self, *pids):
        super().__init__(daemon=True)
        self.pids = pids
        self.peak = [0] * len(pids)
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.01):
            for i, pid in enumerate(self.pids):
                try:
                    self.peak[i] = max(self.peak[i], memory_bytes(pid))
                except (OSError, Failure):
                    pass  # it has ended

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


class Process(subprocess.Popen):
    """A child whose CPU time is known after its end."""

    def reap(self):
        """Wait for it; its exit status and CPU seconds."""
        _, status, usage = os.wait4(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode, usage.ru_utime + usage.ru_stime

    def put_down(self):
        """End it whatever it does."""
        if self.poll() is None:
            self.kill()
            self.wait()
