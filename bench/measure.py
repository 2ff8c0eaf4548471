# SPDX-License-Identifier: Apache-2.0
"""The measurements: each adds a section to the report."""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time

import machine
import qemu_peer
import qemu_vm
from payload_vm import BUILD, MIB, PAGE, RANDOM, Guest
from processes import Failure, speed

GIB = 1 << 30
MAX_DOWNTIME_MS = 300
SLOW_LINK_MIB = 100
PAGES_A_SECOND = PAGE / MIB
FAIR_SECONDS = 4
EMULATED_PATIENCE = 300  # seconds


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def room_for(memory):
    """Source and target side by side, and something for everybody else."""
    return machine.available() > 2 * memory + 2 * GIB


def sealing(report):
    progress("sealing")
    path = BUILD / "bench-seal.json"
    done = subprocess.run([BUILD / "bench/bench-seal", path], capture_output=True, text=True,
                          check=False)
    report.section("Sealing and opening 4 KiB pages",
                   "192 MiB of noise, batches of 64 pages into a 4 MiB window; the best of passes "
                   "of 16 MiB")
    if done.returncode:
        report.note(f"skipped: {(done.stdout + done.stderr).strip()}")
        return
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    for row in rows:
        if row["what"].startswith("ratio: "):
            report.ratio(row["what"].removeprefix("ratio: "), row["value"], row.get("remark", ""))
        else:
            report.row(row["what"], row["value"], row["unit"], row.get("remark", ""))


def move(memory, streams, *options, watch_memory=False, **guest):
    """Our migration, once; what Guest.migrate() says and 'seconds'. guest: arguments of Guest."""
    machine.warm(2 * memory)
    with Guest(memory, **guest) as it:
        result = it.migrate(streams, "--max-downtime", str(MAX_DOWNTIME_MS), *options,
                            watch_memory=watch_memory)
        it.finish()
    result["seconds"] = result["total-ms"] / 1000
    return result


def dirtying(report, memory, rates):
    working_set = memory // 4
    report.section("Downtime of a guest that writes",
                   f"{memory / GIB:g} GiB, pages of a {working_set // MIB} MiB part written in "
                   f"turn, limit {MAX_DOWNTIME_MS} ms, 2 streams, no "
                   "throttling")
    for rate in rates:
        progress(f"downtime at {rate} pages a second")
        what = f"{rate * PAGES_A_SECOND:.0f} MiB/s"
        try:
            result = report.watched(
                lambda rate=rate: move(memory, 2, rate=rate, working_set=working_set))
        except Failure as failure:
            if "does not converge" not in str(failure):
                raise
            report.note(f"{what}: {str(failure).splitlines()[0]}")
            continue
        report.row(what, result["downtime-ms"], "ms",
                   f"{result['rounds']} rounds, {result['pages-resent']} pages again, "
                   f"{result['seconds']:.2f} s in all")


def _hopeless(report, memory):
    """A link that the guest outruns: what pre-copy alone comes to, and the downtime where post-copy
    may follow it."""
    guest = {"rate": 0, "working_set": memory // 2, "pattern": RANDOM}
    progress("post-copy over a slow link")
    try:
        move(memory, 2, "--bandwidth", f"{SLOW_LINK_MIB}M", "--max-rounds", "6", **guest)
        report.note(f"over {SLOW_LINK_MIB} MiB/s pre-copy alone did converge")
    except Failure as failure:
        if "does not converge" not in str(failure):
            raise
        report.note(f"over {SLOW_LINK_MIB} MiB/s pre-copy alone does not converge in 6 rounds")
    result = move(memory, 2, "--bandwidth", f"{SLOW_LINK_MIB}M", "--max-rounds", "6", "--postcopy",
                  "auto", **guest)
    report.row(f"sevmirror, sealed: downtime over {SLOW_LINK_MIB} MiB/s, post-copy auto",
               result["downtime-ms"], "ms",
               f"limit {result['max-downtime-ms']:.0f} ms; without post-copy an estimated "
               f"{result['expected-downtime-ms']:.0f} ms")


def postcopy(report, memory, runs):
    """Runs in turn; the one with the middle time until the last page is quoted."""
    ours, theirs, peer = [], [], qemu_peer.newest()
    for run in range(runs):
        progress(f"post-copy {run + 1}/{runs}")
        ours.append(report.watched(lambda: move(memory, 2, "--postcopy", "always", rate=0,
                                                working_set=memory // 2, pattern=RANDOM)))
        if peer:
            theirs.append(report.watched(
                lambda: qemu_vm.postcopy(peer, memory, MAX_DOWNTIME_MS)))
    report.section("Post-copy of a guest that writes everywhere as fast as it can",
                   f"{memory / GIB:g} GiB, from the first moment on; the run of {runs} with the "
                   f"median time. sevmirror's pages are sealed, its guest "
                   "runs on KVM and writes in half of its memory; QEMU's are plain, its guest runs "
                   "in TCG and writes in all of it")
    whole = sorted(ours, key=lambda one: one["postcopy"]["last-page-ms"])[len(ours) // 2]
    result = whole["postcopy"]
    report.row("sevmirror, sealed: downtime", whole["downtime-ms"], "ms",
               f"limit {whole['max-downtime-ms']:.0f} ms")
    report.row("sevmirror, sealed: until the last page", result["last-page-ms"] / 1000, "s",
               f"{result['pages']} pages, {result['prefetched']} prefetched")
    _hopeless(report, memory)
    for name in ("p50", "p95", "p99"):
        report.row(f"sevmirror, sealed: wait for a page, {name}", result[f"fault-{name}-ms"], "ms",
                   f"of {result['faults']} faults" if name == "p50" else "")
    if theirs:
        result = sorted(theirs, key=lambda one: one["seconds"])[len(theirs) // 2]
        report.row(f"{peer.name}, plain: until the last page", result["seconds"], "s")
        report.row(f"{peer.name}, plain: wait for a page, mean", result["mean-ms"], "ms",
                   f"of {result['faults']} faults; QEMU has no percentiles")


def _speeds(memory, bandwidth, priority):
    """Pages a second that our guest writes before it is migrated and meanwhile."""
    with Guest(memory, rate=0, working_set=memory // 2, pattern=RANDOM) as guest:
        before = speed(guest.writes, FAIR_SECONDS)
        mover = guest.begin(2, "--bandwidth", str(bandwidth), "--max-rounds", "1000",
                            "--max-downtime", "1", "--priority", priority)
        time.sleep(1)
        meanwhile = speed(guest.writes, FAIR_SECONDS)
        guest.abandon(mover)
    return before, meanwhile


def fairness(report, memory, rates, runs):
    """What a guest that writes as fast as it can keeps of its speed while it is migrated and cannot
    leave."""
    kinds = [("sevmirror, sealed", lambda rate: _speeds(memory, rate, "low")),
             ("sevmirror, sealed, --priority normal", lambda rate: _speeds(memory, rate, "normal"))]
    peer = qemu_peer.newest()
    if peer:
        kinds.append((f"{peer.name}, plain",
                      lambda rate: qemu_vm.speeds(peer, memory, rate, FAIR_SECONDS)))
    report.section("Speed that a guest keeps while it is migrated",
                   f"{memory / GIB:g} GiB, one CPU that writes to random places, 2 streams; pages "
                   f"(QEMU: words) written in {FAIR_SECONDS} s of the "
                   f"migration by those in {FAIR_SECONDS} s before it; median of {runs}")
    for rate in rates:
        for name, once in kinds:
            kept = []
            for run in range(runs):
                progress(f"speed at {rate} MiB/s {run + 1}/{runs}: {name}")
                before, meanwhile = once(rate * MIB)
                kept.append(100 * meanwhile / before)
            report.row(f"{name}, at {rate} MiB/s", statistics.median(kept), "%",
                       f"{min(kept):.0f} to {max(kept):.0f}")


def overhead(report, memory):
    progress("memory overhead")
    result = move(memory, 2, watch_memory=True)
    report.section("Memory besides the guest's while it migrates",
                   f"{memory / GIB:g} GiB, 2 streams; the peak of PSS and page tables above what "
                   f"it was before")
    limit = memory * 0.005 + 64 * MIB
    report.row("source", result["source-overhead"] / MIB, "MiB",
               f"limit: 0.5 % of RAM + 64 MiB = {limit / MIB:.0f} MiB")
    report.row("target", result["target-overhead"] / MIB, "MiB", "all but guest memory")


def scaling(report, sizes):
    report.section("Cost by size", "2 streams, one run each; flat is the aim")
    for memory in sizes:
        if not room_for(memory):
            report.note(f"SKIPPED: {memory / GIB:g} GiB: two of them do not fit into what is free "
                        f"({machine.available() / GIB:.1f} GiB)")
            continue
        progress(f"{memory / GIB:g} GiB")
        result = report.watched(lambda memory=memory: move(memory, 2))
        gib = memory / GIB
        report.row(f"{gib:g} GiB", result["seconds"] / gib, "s/GiB",
                   f"CPU {result['cpu-seconds'] / gib:.2f} s/GiB; downtime "
                   f"{result['downtime-ms']:.0f} ms")


def _emulated(test):
    """Output and exit status of a test on emulated hosts; it puts them down itself when it is told
    to end."""
    with subprocess.Popen([BUILD.parent / "tests/emulated" / test, BUILD / "tests/emulated"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, start_new_session=True) as process:
        try:
            said, _ = process.communicate(timeout=EMULATED_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            said, _ = process.communicate()
        return said, process.returncode


def psp_commands(report):
    """Needs encrypted guests, so two emulated hosts: the test that asserts it is run for its
    numbers."""
    progress("PSP commands, on two emulated hosts")
    report.section("PSP commands of a migration",
                   "on two emulated SEV hosts, by tests/emulated/migrate-payload.sh, which fails "
                   "if memory size matters")
    said, status = _emulated("migrate-payload.sh")
    found = re.findall(r"^# (\d+M): PSP commands at the source: there (\d+)", said, re.M)
    for memory, count in found:
        report.row(f"guest of {memory}", int(count), "commands")
    if status or not found:
        report.note(f"the test did not pass ({status}): "
                    f"{(said.strip().splitlines() or ['it said nothing'])[-1]}")
