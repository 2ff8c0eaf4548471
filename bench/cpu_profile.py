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

# First match counts: what is done, and the functions that do it.
KINDS = (
    ("AES-GCM in the helper", r"^helper:(aes_|gcm|seal_|open_(sse|avx|vaes)|partial_block)"),
    ("helper: copy to the guest's page", r"^helper:(copy_once|memcpy|wipe|memset)"),
    ("helper: polling its ring", r"^helper:(ring_idle|ring_take|helper_poll|helper_serve|serve)"),
    ("helper: the rest", r"^helper:"),
    ("zeroing the target's memory", r"clear_page|clear_huge|clear_subpage|folio_zero"),
    ("copies through the sockets",
     r"copy_user|copy_from_user|copy_to_user|rep_movs|_copy_(to|from)_iter|copy_page_to_iter|"
     r"copyin|copyout|skb_copy_datagram|simple_copy_to_iter"),
    ("kernel: sockets, the rest",
     r"tcp|skb|sock|inet|^ip_|ip_rcv|ip_finish|loopback|net_rx|netif|napi|dev_queue|dev_hard|"
     r"eth_|qdisc|__alloc_skb|sk_|csum|nf_|neigh|xmit|import_iovec|softirq"),
    ("kernel: page faults and memory",
     r"fault|page|folio|shmem|pte|pmd|pud|mmu|tdp|rmap|vma|mmap|tlb|lru|zap|unmap|alloc|free|"
     r"memcg|charge|xas_|rmqueue|zone|compact|migrat|collapse|madvise|slot|gfn|kvm_page"),
    ("kernel: wake-ups and scheduling",
     r"sched|futex|wake|poll|eventfd|switch|idle|rq_|_rq|enqueue|dequeue|pick_next|update_curr|"
     r"update_load|select_task|ttwu|hrtimer|timer|ktime|cpuacct|rcu|wait|yield|preempt"),
    ("kernel: entering and leaving the guest", r"kvm|vcpu|vmx|svm|pvm|fpu|xsave|switcher"),
    ("kernel: system calls and the rest", r"^kernel:"),
    ("processes: AES-GCM and TLS of the host", r"^(libcrypto|libssl)"),
    ("processes: copies", r"mem(cpy|move|set)|memcmp"),
    ("processes: the rest", r""),
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
        if library == "[kernel.kallsyms]" or library.endswith(".ko") or "[k" in library:
            return f"kernel:{symbol}"
        if "unknown" in library and comm.startswith("helper"):
            return "helper:unknown"
        if "unknown" in library:
            return "guest:code"
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
    for kind, pattern in KINDS:
        if re.search(pattern, name if pattern.startswith("^") else name.partition(":")[2]):
            if kind.startswith(("kernel", "zeroing", "copies through")) and \
                    not name.startswith("kernel:"):
                continue
            return kind
    return "processes: the rest"


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
