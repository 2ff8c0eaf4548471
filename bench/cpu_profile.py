# SPDX-License-Identifier: Apache-2.0
"""
Where the CPU time of a migration goes: samples of both sides by perf's CPU clock, sorted by what
the code does. perf tells functions apart in the kernel and in the processes; what runs inside the
mirror is the helper, told apart by the addresses of its image where the kernel reports them.
"""

import bisect
import collections
import re
import shutil
import signal
import subprocess
import tempfile

import machine
from payload_vm import BUILD, Guest
from processes import Failure

GIB = 1 << 30
HERTZ = 4000
STREAMS = 2
REGION_VA = 0x7E0000000000  # HELPER_REGION_VA, helper/layout.h
SLOT = 1 << 39  # of the region

# An interrupt ends a guest's turn, and the sample is taken here: it tells that the guest ran.
IN_GUEST = re.compile(r"^(pvm|vmx|svm|kvm)_(do_event|do_interrupt|do_nmi|handle_exit)_irqoff")

# First match counts: what is done, and the functions that do it.
KINDS = (
    ("the helper: AES-GCM, copies, polling", r"^helper:"),
    ("zeroing the target's memory", r"^kernel:(clear_page|clear_huge|clear_subpage|folio_zero)"),
    ("copies through the sockets",
     r"^kernel:(copy_user|copy_from_user|copy_to_user|rep_movs|_?_?copy_(to|from)_iter|copyin|"
     r"_copy_(to|from)_user|copyout|skb_copy_datagram|simple_copy_to_iter)"),
    ("switching tasks, waking them",
     r"^kernel:.*(finish_task_switch|_raw_spin_unlock_irq|sched|futex|wake|poll|eventfd|switch_|"
     r"idle|enqueue_|dequeue_|pick_next|update_curr|update_load|select_task|ttwu|hrtimer|ktime|"
     r"smp_call_function|rcu)"),
    ("entering and leaving the guest",
     r"^kernel:.*(kvm|vcpu|vmx|svm|pvm|fpu|xsave|switcher|_msr|cr4_|paging64|emulat|decode|spte|"
     r"gfn)"),
    ("sockets, the rest",
     r"^kernel:.*(tcp|skb|sock|inet|ip_|loopback|net_|netif|napi|dev_|eth_|qdisc|csum|nf_|neigh|"
     r"xmit|iovec|softirq|bbr)"),
    ("page faults, memory of the kernel",
     r"^kernel:.*(fault|page|folio|shmem|pte|pmd|pud|mmu|rmap|vma|mmap|tlb|lru|zap|alloc|free|"
     r"charge|xas_|rmqueue|zone|compact|collapse|madvise|copy_mc)"),
    ("system calls, the rest of the kernel", r"^kernel:"),
    ("frames: AES-GCM and TLS of the hosts", r"^lib(crypto|ssl)"),
    ("the processes themselves", r""),
)


def _helper_symbols():
    """Addresses in the image, and names."""
    said = subprocess.run(["nm", "-n", BUILD / "helper/helper.elf"], capture_output=True, text=True,
                          check=False).stdout
    found = [(int(line.split()[0], 16), line.split()[2]) for line in said.splitlines()
             if len(line.split()) == 3 and line.split()[1] in "tT"]
    return [address for address, _ in found], [name for _, name in found]


class _Names:
    """One name for each sample: 'kernel:...', 'helper:...', 'guest:...', or 'LIBRARY:...'."""

    def __init__(self):
        self.addresses, self.names = _helper_symbols()

    def helper(self, address):
        i = bisect.bisect_right(self.addresses, address) - 1
        return f"helper:{self.names[i] if i >= 0 else 'unknown'}"

    def of(self, comm, address, symbol, library):
        if REGION_VA <= address < REGION_VA + SLOT:
            return self.helper(address)
        if IN_GUEST.match(symbol) or library == "[unknown]":
            return "helper:in the guest" if comm.startswith("helper") else "guest:code"
        if "[k" in library or library.endswith(".ko"):
            return f"kernel:{symbol}"
        return f"{library.rpartition('/')[2]}:{symbol}"


LINE = re.compile(r"^\s*(.{1,16}?)\s+([0-9a-f]+)\s+(\S+)(?:\s+\((.*)\))?$")


def _samples(path):
    """How often each name was met."""
    said = subprocess.run(["perf", "script", "-i", path, "-F", "comm,ip,sym,dso", "-G"],
                          capture_output=True, text=True, check=False).stdout
    names, met = _Names(), collections.Counter()
    for line in said.splitlines():
        found = LINE.match(line)
        if found:
            comm, address, symbol, library = found.groups()
            met[names.of(comm, int(address, 16), symbol, library or "[unknown]")] += 1
    return met


def _kind(name):
    if name.startswith("guest:"):
        return "the guest itself"
    return next(kind for kind, pattern in KINDS if re.search(pattern, name))


def _record(memory, path):
    """One migration under perf: what Guest.migrate() says."""
    machine.warm(2 * memory)
    with Guest(memory) as guest:
        receive, perf = guest.receive, []

        def receive_watched():
            address = receive()
            pids = ",".join(str(host.process.pid) for host in guest.hosts)
            perf.append(subprocess.Popen(
                ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HERTZ), "-p", pids, "-o",
                 path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            return address

        guest.receive = receive_watched
        result = guest.migrate(STREAMS, "--max-downtime", "300")
        for process in perf:
            process.send_signal(signal.SIGINT)
            process.wait()
        guest.finish()
    return result


def profile(report, memory):
    """A section: milliseconds of CPU a GiB by what they are spent on."""
    gib = memory / GIB
    report.section("Where the CPU time of a migration goes",
                   f"{gib:g} GiB, {STREAMS} streams, both sides, sampled {HERTZ} times a second "
                   "of CPU time by perf's CPU clock while the migration runs")
    if not shutil.which("perf"):
        report.note("skipped: perf is not installed (Debian's package linux-perf)")
        return
    with tempfile.NamedTemporaryFile(prefix="sevmirror-perf-") as file:
        result = report.watched(lambda: _record(memory, file.name))
        met = _samples(file.name)
    if not met:
        raise Failure("perf recorded nothing: see /proc/sys/kernel/perf_event_paranoid")
    kinds = collections.defaultdict(collections.Counter)
    for name, count in met.items():
        kinds[_kind(name)][name] += count
    for kind, names in sorted(kinds.items(), key=lambda item: -sum(item[1].values())):
        most = ", ".join(f"{name.partition(':')[2]} {count / HERTZ / gib * 1000:.0f}"
                         for name, count in names.most_common(3))
        report.row(kind, sum(names.values()) / HERTZ / gib * 1000, "ms/GiB", most)
    report.row("sampled in all", sum(met.values()) / HERTZ / gib, "s/GiB",
               f"by the kernel's count {result['cpu-seconds'] / gib:.2f} s/GiB, with the target's "
               "start")
