# SPDX-License-Identifier: Apache-2.0
"""
The patched QEMU (qemu/): one program moves one stopped guest in plain, by TLS, and sealed by the
Migration Helper, without encryption of the guest (x-plain).
"""

import contextlib
import os
import pathlib
import statistics
import subprocess
import tempfile

import machine
import qemu_vm
from measure import GIB, progress, room_for
from payload_vm import BUILD, MIB
from processes import cpu_seconds, wait_until

# name of the mode: multifd channels (0: without), TLS, sealed
MODES = {
    "plain": (0, False, False), "sealed": (0, False, True),
    "multifd": (2, False, False), "multifd+TLS": (2, True, False),
    "sealed multifd": (2, False, True), "sealed multifd+TLS": (2, True, True),
}
OUTSIDE = 32 * MIB  # of the memory, without noise: where the firmware may be


def program():
    """Its path, or None where it is not built."""
    found = subprocess.run([BUILD.parent / "qemu/build", "--find"], capture_output=True, text=True,
                           check=False)
    return os.environ.get("QEMU_SEVMIRROR") or found.stdout.strip() or None


@contextlib.contextmanager
def _noise(memory):
    """A file with what fills a guest's memory."""
    with tempfile.NamedTemporaryFile(prefix="sevmirror-bench-") as file:
        for _ in range((memory - OUTSIDE) // MIB):
            file.write(os.urandom(MIB))
        file.flush()
        yield file.name


@contextlib.contextmanager
def _pair(memory, noise, sealed):
    """Source and target, whose guests do not run."""
    with tempfile.TemporaryDirectory(prefix="sevmirror-bench-") as name, \
            contextlib.ExitStack() as stack:
        root = pathlib.Path(name)
        qemu_vm.write_key(root)
        (root / "bios").write_bytes(bytes(64 << 10))  # no instruction is executed
        command = [program(), "-machine", "q35", "-cpu", "qemu64", "-accel", "kvm", "-S",
                   "-m", f"{memory // MIB}M", "-bios", root / "bios"]
        if sealed:
            command += ["-object", "sevmirror-helper,id=mh0,x-plain=on"]
        how = command, {**os.environ, "LD_LIBRARY_PATH": str(BUILD / "lib")}
        machines = []
        for side in (("source", *how, "client", "-device",
                      f"loader,file={noise},addr={OUTSIDE // 2:#x},force-raw=on"),
                     ("target", *how, "server", "-incoming", "defer")):
            machines.append(qemu_vm.Machine(root / side[0], *side[1:]))
            stack.callback(machines[-1].close)
        yield machines


def _migrate(memory, noise, mode):
    """Move a guest once; seconds, and CPU seconds of both sides."""
    channels, tls, sealed = MODES[mode]
    with _pair(memory, noise, sealed) as machines:
        source, target = machines
        for side in machines:
            side.set_up(channels, tls, 300, "return-path")
        before = sum(cpu_seconds(side.process.pid) for side in machines)
        qemu_vm.start(source, target)
        state = qemu_vm.wait_for(source, "completed")
        wait_until("QEMU's target",
                   lambda: target.monitor.call("query-migrate").get("status") == "completed",
                   target.process)
        after = sum(cpu_seconds(side.process.pid) for side in machines)
    return {"seconds": state["total-time"] / 1000, "cpu-seconds": after - before}


def migration(report, memory, runs):
    """The section of the report."""
    report.section(
        f"Migration of {memory / GIB:g} GiB of noise by the patched QEMU",
        f"median of {runs} runs, all kinds in turn; 2 channels of multifd; the guest is stopped; "
        f"rate is guest memory by QEMU's total time; bandwidth unlimited")
    if not program():
        report.note("skipped: the patched QEMU is not built: run make qemu")
        return
    if not room_for(2 * memory):  # the noise is in a file, too, and QEMU keeps a copy
        report.note("skipped: not enough memory")
        return
    results = {mode: [] for mode in MODES}
    with _noise(memory) as noise:
        for run in range(runs):
            for mode, of_mode in results.items():
                progress(f"the patched QEMU {run + 1}/{runs}: {mode}")
                machine.warm(2 * memory)
                of_mode.append(_migrate(memory, noise, mode))
    seconds = {mode: statistics.median(result["seconds"] for result in of_mode)
               for mode, of_mode in results.items()}
    for mode, of_mode in results.items():
        spread = [memory / GIB / result["seconds"] for result in of_mode]
        cpu = statistics.median(result["cpu-seconds"] for result in of_mode)
        report.row(f"patched QEMU, {mode}", memory / GIB / seconds[mode], "GiB/s",
                   f"{min(spread):.2f} to {max(spread):.2f}; CPU {cpu * GIB / memory:.2f} s/GiB")
    for mode, aim in (("multifd", "aim: 0.9 or more"), ("multifd+TLS", "aim: 5")):
        report.ratio(f"patched QEMU, sealed multifd against its {mode}, rate",
                     seconds[mode] / seconds["sealed multifd"], aim)
    report.ratio("patched QEMU, sealed against plain, main channel, rate",
                 seconds["plain"] / seconds["sealed"])
