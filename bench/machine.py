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
