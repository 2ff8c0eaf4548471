# SPDX-License-Identifier: Apache-2.0
"""
usage: run.py [--quick] [--no-emulated] [--only SECTION | --profile] [--svg FILE]

All measurements: one table on standard output, ratios first, and build/bench.json; --svg draws the
chart of docs/bench.md. --quick: smaller guests, each measured once, and no emulated hosts.
"""

import argparse
import datetime
import os
import sys

import against_qemu
import chart
import cpu_profile
import downtimes
import machine
import measure
import patched_qemu
from payload_vm import BUILD, MIB
from processes import Failure
from report import Report

METHOD = ("source, target and everything else share this machine's CPUs; native KVM, --sev=off; "
          "guest memory is noise; memory is touched before each "
          "run, so that no one pays for the hypervisor's first touch")


def options():
    parser = argparse.ArgumentParser(prog="bench",
                                     description="Measures sevmirror, and QEMU for comparison.")
    parser.add_argument("--quick", action="store_true",
                        help="smaller guests, each measured once, and no emulated hosts")
    parser.add_argument("--no-emulated", action="store_true",
                        help="without what needs emulated hosts: PSP commands")
    parser.add_argument("--only", metavar="SECTION", choices=SECTIONS,
                        help="one of: " + ", ".join(SECTIONS))
    parser.add_argument("--profile", dest="only", action="store_const", const="profile",
                        help="the same as --only profile: where the CPU time goes")
    parser.add_argument("--svg", metavar="FILE", help="draw the chart of docs/bench.md")
    return parser.parse_args()


def sections(quick):
    """Name and what measures it, for each section."""
    gib = measure.GIB
    main = 512 * MIB if quick else 2 * gib
    runs = 1 if quick else 3
    return {
        "sealing": measure.sealing,
        "migration": lambda report: against_qemu.migration(report, main, runs),
        "downtime": lambda report: downtimes.downtimes(report, main, 20 if quick else 200),
        "qemu": lambda report: patched_qemu.migration(report, main, runs),
        "dirtying": lambda report: measure.dirtying(
            report, main // 2,
            [1000, 20000] if quick else [1000, 10000, 30000, 60000, 120000]),
        "postcopy": lambda report: measure.postcopy(report, main // 2, runs),
        "fairness": lambda report: measure.fairness(
            report, main // 2, [50, 200] if quick else [50, 100, 200, 400], runs),
        "overhead": lambda report: measure.overhead(report, main),
        "scaling": lambda report: measure.scaling(
            report, [256 * MIB, gib] if quick
            else [256 * MIB, gib, 2 * gib, 4 * gib, 8 * gib]),
        "profile": lambda report: cpu_profile.profile(report, main),
        "psp": measure.psp_commands,
    }


SECTIONS = list(sections(True))


def run(report, arguments):
    for name, section in sections(arguments.quick).items():
        if arguments.only not in (None, name):
            continue
        if name == "psp" and (arguments.quick or arguments.no_emulated):
            continue
        section(report)


def main():
    arguments = options()
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("bench: error: no usable /dev/kvm: nothing can be measured here", file=sys.stderr)
        return 4
    if os.geteuid() != 0:
        print("bench: error: it reads the guests' counters in /proc, which the VMs' processes "
              "leave to root: run it as root", file=sys.stderr)
        return 4
    about = machine.describe()
    about["text"] = machine.sentence(about)
    report = Report({"when": datetime.date.today().isoformat(), "machine": about, "method": METHOD})
    try:
        run(report, arguments)
    except Failure as failure:
        print(f"bench: error: {failure}", file=sys.stderr)
        return 1
    report.write(BUILD / "bench.json")
    if arguments.svg:
        chart.draw(report.content, arguments.svg)
    print(report.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
