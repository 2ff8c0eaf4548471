/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPUID says to the guest: what KVM supports on this host, made fit for one that may move to
 * another host.
 */
#ifndef VMM_VM_CPUID_H
#define VMM_VM_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/util/why.h"

#define CPUID_MAX_ENTRIES 256

union guest_cpuid {
	struct kvm_cpuid2 table;
	uint8_t room[sizeof(struct kvm_cpuid2) +
		     CPUID_MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
};

/*
 * The table for the first vCPU of cpus in one package. sev: the guest is encrypted. hears_sharing:
 * the VMM hears what the guest says of its shared pages, so the guest may be told that it can.
 */
int guest_cpuid_get(union guest_cpuid *cpuid, int kvm_fd, unsigned int cpus, bool sev,
		    bool hears_sharing, struct why *why);

/* Make a table that of the vCPU with this APIC ID, of cpus. */
void guest_cpuid_place(union guest_cpuid *cpuid, unsigned int apic_id, unsigned int cpus);

#endif
