# SPDX-License-Identifier: Apache-2.0
"""The same migration by sevmirror and by Debian's QEMUs, in turn."""

import statistics

import machine
import qemu_peer
import qemu_vm
from measure import GIB, MAX_DOWNTIME_MS, move, progress

STREAMS = (1, 2, 4)
NOTES = (
    "QEMU's guest sleeps (TCG, then HLT), so it dirties nothing; RAM is anonymous memory in 2 MiB "
    "pages, its default; zero pages are looked for as each version does by itself, and there are "
    "none",
    "sevmirror's guest runs and dirties 100 pages a second: that favours QEMU. sevmirror: TLS 1.3 "
    "for control, AES-256-GCM by the helper for pages; QEMU's plain and multifd encrypt nothing",
    "--sev=off: no SEV hardware here. The helper does the same work under SEV; the PSP's part "
    "comes on top (see PSP commands)",
    "not measured: QEMU's mapped-ram to a file, and a migration of which the PSP carries each page",
)


def _ours(memory):
    """Name and what to call for one run of it."""
    return [(f"sevmirror, sealed, {n} stream{'s' * (n > 1)}", lambda n=n: move(memory, n))
            for n in STREAMS]


def _theirs(peer, memory):
    return [(f"{peer.name}, {mode}",
             lambda mode=mode: qemu_vm.migrate(peer, memory, mode, MAX_DOWNTIME_MS))
            for mode in qemu_vm.MODES]


def _median(results, key):
    return statistics.median(result[key] for result in results)


def _row(report, name, results, memory):
    seconds, cpu = _median(results, "seconds"), _median(results, "cpu-seconds")
    spread = [memory / GIB / result["seconds"] for result in results]
    disturbed = sum(result["disturbed"] for result in results)
    report.row(name, memory / GIB / seconds, "GiB/s",
               f"{min(spread):.2f} to {max(spread):.2f}; CPU {cpu * GIB / memory:.2f} s/GiB; "
               f"downtime {_median(results, 'downtime-ms'):.0f} ms; steal "
               f"{_median(results, 'steal'):.1%}"
               + (f"; {disturbed} of {len(results)} runs DISTURBED" if disturbed else ""))


def _pairs(theirs, ours, key):
    """Theirs by ours, run by run."""
    return [one[key] / other[key] for one, other in zip(theirs, ours)]


def _best(results, names):
    return min(names, key=lambda name: _median(results[name], "seconds"))


def _ratios(report, peer, results):
    """Of our fastest number of streams to this QEMU's best modes, and to its plain one."""
    ours = _best(results, [name for name in results if name.startswith("sevmirror")])
    modes = {encrypted: [f"{peer.name}, {mode}" for mode, (_, tls) in qemu_vm.MODES.items()
                         if tls == encrypted]
             for encrypted in (False, True)}
    plain = f"{peer.name}, plain"
    short = ours.removeprefix("sevmirror, ")
    aims = peer is qemu_peer.newest()
    clear, encrypted = (_best(results, modes[way]) for way in (False, True))
    report.paired(f"sevmirror ({short}) against {clear} (its best in clear), rate",
                  _pairs(results[clear], results[ours], "seconds"), "aim: 1.3" * aims)
    report.paired(f"sevmirror ({short}) against {plain}, rate",
                  _pairs(results[plain], results[ours], "seconds"))
    report.paired(f"sevmirror ({short}) against {encrypted} (its best by TLS), rate",
                  _pairs(results[encrypted], results[ours], "seconds"), "aim: 8" * aims)
    for name in dict.fromkeys((plain, clear, encrypted)):
        report.paired(f"CPU time of {name} against sevmirror ({short})",
                      _pairs(results[name], results[ours], "cpu-seconds"),
                      "aim: 1.25" * (aims and name == plain))


def migration(report, memory, runs):
    candidates = _ours(memory)
    for peer in qemu_peer.peers():
        candidates += _theirs(peer, memory)
    results = {name: [] for name, _ in candidates}
    for run in range(runs):
        for name, once in candidates:
            progress(f"migration {run + 1}/{runs}: {name}")
            machine.warm(2 * memory)
            results[name].append(report.watched(once))
    report.section(
        f"Migration of {memory / GIB:g} GiB of noise over loopback",
        f"median of {runs} runs, all kinds in turn; rate is guest memory by total time as each "
        f"side reports it; limit of downtime "
        f"{MAX_DOWNTIME_MS} ms, bandwidth unlimited")
    for name, _ in candidates:
        _row(report, name, results[name], memory)
    for note in NOTES:
        report.note(note)
    report.content["qemu"] = [peer.version for peer in qemu_peer.peers()]
    for peer in qemu_peer.peers():
        report.note(f"{peer.name} is {peer.version}")
        _ratios(report, peer, results)
    if not qemu_peer.peers():
        report.note("skipped: QEMU: it could not be fetched from Debian")
