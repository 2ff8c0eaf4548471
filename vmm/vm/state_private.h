/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files that save and load a VM's state: parts (an id, a length, bytes) one after the
 * other, each at most once.
 */
#ifndef VMM_VM_STATE_PRIVATE_H
#define VMM_VM_STATE_PRIVATE_H

#include <linux/kvm.h>

#include "vmm/state_bytes.h"
#include "vmm/vm/vm_private.h"

#define STATE_MAX_PARTS 96 /* more than a VM of LAUNCH_MAX_CPUS has */

struct state_part {
	const uint8_t *bytes; /* NULL: not there */
	size_t len;
};

/* Begin a part; what is put until state_part_end() is its content. */
size_t state_part_begin(struct state_writer *w, uint32_t id);
void state_part_end(struct state_writer *w, size_t begin);

/*
 * Find the parts with ids 0 to n - 1. -EINVAL: an id twice or unknown, a length that leaves the
 * buffer.
 */
int state_parts_find(const uint8_t *buf, size_t len, struct state_part *parts, unsigned int n);

/*
 * vcpu_state.c: one vCPU, as parts. clock: the VM's on this side; source_clock: the saving side's.
 */
int vcpu_state_save(struct vcpu *vcpu, struct state_writer *w, struct why *why);
int vcpu_state_load(struct vcpu *vcpu, const struct state_part *state, struct why *why);

/*
 * The vCPU's TSC: its offset to the clock of this host is the one that it had to source's on the
 * other host. After vcpu_state_load() of all.
 */
int vcpu_tsc_load(struct vcpu *vcpu, const struct state_part *state,
		  const struct kvm_clock_data *source, const struct kvm_clock_data *clock,
		  struct why *why);

/* msr_state.c: all MSRs that KVM wants saved, {u32 index, u64 value} each. */
int msr_state_save(struct vcpu *vcpu, struct state_writer *w, struct why *why);

enum msr_when {
	MSR_EARLY, /* all but the others */
	/*
	 * after the local APIC and the TSC: timers and asynchronous page faults, which start
	 * something
	 */
	MSR_LATE,
};
int msr_state_load(struct vcpu *vcpu, const struct state_part *part, enum msr_when when,
		   struct why *why);

#endif
