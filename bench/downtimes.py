# SPDX-License-Identifier: Apache-2.0
"""How long a guest is stopped, of many migrations, and what for."""

import math
import statistics

import machine
from measure import GIB, MAX_DOWNTIME_MS, PAGES_A_SECOND, progress
from payload_vm import MIB, Guest

STREAMS = 2
PERCENTILES = (50, 99, 99.9)
PARTS = ("stop", "state", "pages", "manifest", "load", "disks", "start")
# Pages a second that the guest writes: none to speak of, and 100 MiB a second.
RATES = (1, round(100 / PAGES_A_SECOND))


def _percentile(values, percent):
    """The smallest of them that so many per cent do not exceed."""
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def _hop(guest):
    """One migration; its target is the source of the next one."""
    result = guest.migrate(STREAMS, "--max-downtime", str(MAX_DOWNTIME_MS), "--timeout", "60")
    guest.turn()
    return result


def downtimes(report, memory, runs):
    """The same guest, back and forth, and at the end it verifies its memory."""
    report.section(f"Downtime of {runs} migrations",
                   f"{memory / GIB:g} GiB, {STREAMS} streams, limit {MAX_DOWNTIME_MS} ms; one "
                   "guest that moves again and again, and verifies its memory at the end")
    for rate in RATES:
        what = "idle" if rate == 1 else f"{rate * PAGES_A_SECOND:.0f} MiB/s"
        machine.warm(2 * memory)
        results = []
        with Guest(memory, rate=rate, working_set=min(memory // 4, 256 * MIB)) as guest:
            for run in range(runs):
                if run % 20 == 0:
                    progress(f"downtime, {what}: {run} of {runs}")
                results.append(report.watched(lambda: _hop(guest)))
            guest.hosts.reverse()
            guest.finish()
        found = [result["downtime-ms"] for result in results]
        disturbed = sum(result["disturbed"] for result in results)
        for percent in PERCENTILES:
            report.row(f"{what}, p{percent:g}", _percentile(found, percent), "ms",
                       f"{min(found):.1f} to {max(found):.1f}; {disturbed} of {runs} DISTURBED"
                       if percent == PERCENTILES[0] else "")
        report.note(f"{what}, the medians of its parts in ms: " + ", ".join(
            f"{part} {statistics.median(r['downtime-parts'][part + '-ms'] for r in results):.2f}"
            for part in PARTS))
