/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest has seen of its CPUs: CPUID and the TSC's frequency. A host that takes the guest
 * over gives its vCPUs the same CPUID, and refuses, by name, what it cannot.
 */
#ifndef SERVICE_MIGRATE_COMPAT_H
#define SERVICE_MIGRATE_COMPAT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/vm/cpuid.h"
#include "vmm/vm/vm.h"

struct migrate_guest_cpu {
	uint64_t tsc_khz; /* 0: the source's KVM does not know it */
	bool sev;
	union guest_cpuid cpuid; /* of the first vCPU */
};

/* Bytes written, or -ENOSPC. */
ssize_t migrate_compat_save(const struct vm *vm, bool sev, void *buf, size_t max);

/* 0, or -EINVAL for bytes that no save() wrote. */
int migrate_compat_load(struct migrate_guest_cpu *cpu, const void *buf, size_t len,
			struct why *why);

/*
 * Compare with what this host's KVM offers to such a guest. 0; -ENOTSUP and the first difference
 * that matters; KVM's error.
 */
int migrate_compat_check(const struct migrate_guest_cpu *cpu, const struct host_devices *devices,
			 struct why *why);

/* The comparison alone. */
int migrate_compat_compare(const union guest_cpuid *guest, const union guest_cpuid *host,
			   struct why *why);

#endif
