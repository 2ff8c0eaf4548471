# SPDX-License-Identifier: Apache-2.0
"""What the measurements run on."""

import mmap
import os
import platform


def _first(path, key):
    with open(path, encoding="ascii") as lines:
        for line in lines:
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return "unknown"


def available():
    """Bytes of memory that can be had now."""
    return int(_first("/proc/meminfo", "MemAvailable").split()[0]) * 1024


# A run is disturbed when more than these shares of the CPUs' time went to others.
STEAL_LIMIT, OTHERS_LIMIT = 0.02, 0.05


def _times():
    """Seconds of all CPUs since the machine's start: in all, busy, stolen by the hypervisor; and
    what this process and the children that it has waited for used."""
    with open("/proc/stat", encoding="ascii") as stat:
        fields = [int(word) / os.sysconf("SC_CLK_TCK") for word in stat.readline().split()[1:9]]
    user, nice, system, idle, iowait, irq, softirq, steal = fields
    busy = user + nice + system + irq + softirq
    return busy + idle + iowait + steal, busy, steal, sum(os.times()[:4])


class Watch:
    """Who else used the CPUs while `with` lasts, as shares of their time: steal (by the
    hypervisor), others (by processes that are not the measurement's). What is measured must have
    been waited for by the end."""

    def __enter__(self):
        self._begin = _times()
        return self

    def __exit__(self, *_):
        total, busy, steal, own = (end - begin
                                   for end, begin in zip(_times(), self._begin))
        total = total or 1
        self.steal, self.others = steal / total, max(0.0, busy - own) / total
        self.disturbed = self.steal > STEAL_LIMIT or self.others > OTHERS_LIMIT


def describe():
    """For the head of the report and for the JSON."""
    with open("/proc/cmdline", encoding="ascii") as line:
        paravirtual = "nested_pvm=1" in line.read().split()
    load = os.getloadavg()[0]
    return {
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "memory-bytes": int(_first("/proc/meminfo", "MemTotal").split()[0]) * 1024,
        "kernel": platform.release(),
        "paravirtual-kvm": paravirtual,
        "load-before": load,
    }


def sentence(machine):
    text = (f"{machine['cpu']}, {machine['cpus']} CPUs, "
            f"{machine['memory-bytes'] / (1 << 30):.0f} GiB, Linux {machine['kernel']}")
    if machine["paravirtual-kvm"]:
        text += ", paravirtual KVM (no VMX or SVM: exits and page faults of guests are dear)"
    return f"{text}; load before the run: {machine['load-before']:.1f}"


def warm(count):
    """
    Touch that much memory and give it back. In a virtual machine a page that was never used costs
    its first user a fault in the hypervisor; whoever is measured next would pay for it.
    """
    count = min(count, available() - (1 << 30))
    if count <= 0:
        return
    with mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for offset in range(0, count, mmap.PAGESIZE):
            memory[offset] = 1
