/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MSRs of a vCPU: whatever KVM lists for saving and can read. kvm-clock, steal time,
 * asynchronous page faults and the paravirtual EOI are among them; MSR_KVM_MIGRATION_CONTROL is
 * not, it goes with the page map.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/vm/state_private.h"

#define MSR_LIST_MAX	      1024
#define MSR_IA32_TSC	      0x10
#define MSR_IA32_TSC_DEADLINE 0x6e0
#define MSR_IA32_TSC_ADJUST   0x3b

union msr_list {
	struct kvm_msr_list list;
	uint8_t room[sizeof(struct kvm_msr_list) + MSR_LIST_MAX * sizeof(uint32_t)];
};

union one_msr {
	struct kvm_msrs msrs;
	uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

static bool read_msr(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
	union one_msr one = { .msrs.nmsrs = 1 };

	one.msrs.entries[0].index = index;
	if (ioctl(vcpu->fd, KVM_GET_MSRS, &one) != 1)
		return false;
	*value = one.msrs.entries[0].data;
	return true;
}

static bool write_msr(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	union one_msr one = { .msrs.nmsrs = 1 };

	one.msrs.entries[0].index = index;
	one.msrs.entries[0].data = value;
	return ioctl(vcpu->fd, KVM_SET_MSRS, &one) == 1;
}

static int list_msrs(struct vcpu *vcpu, union msr_list *list, struct why *why)
{
	list->list.nmsrs = MSR_LIST_MAX;
	if (ioctl(vcpu->vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
		return why_errno(why, "KVM_GET_MSR_INDEX_LIST");
	return 0;
}

int msr_state_save(struct vcpu *vcpu, struct state_writer *w, struct why *why)
{
	union msr_list list;
	uint64_t value;
	uint32_t i;
	int err = list_msrs(vcpu, &list, why);

	for (i = 0; !err && i < list.list.nmsrs; i++) {
		/* What KVM lists for all of this host's guests need not be there in this one. */
		if (!read_msr(vcpu, list.list.indices[i], &value))
			continue;
		state_put32(w, list.list.indices[i]);
		state_put64(w, value);
	}
	return err;
}

static enum msr_when when_to_load(uint32_t index)
{
	return index == MSR_IA32_TSC_DEADLINE || index == MSR_KVM_ASYNC_PF_EN ? MSR_LATE :
										MSR_EARLY;
}

static bool listed(const union msr_list *list, uint32_t index)
{
	uint32_t i;

	for (i = 0; i < list->list.nmsrs; i++) {
		if (list->list.indices[i] == index)
			return true;
	}
	return false;
}

static int load_one(struct vcpu *vcpu, const union msr_list *list, uint32_t index, uint64_t value,
		    struct why *why)
{
	uint64_t now;

	/*
	 * KVM cannot give a guest's TSC_ADJUST back without moving its TSC, which is set by itself.
	 */
	if (index == MSR_IA32_TSC_ADJUST)
		return 0;
	if (listed(list, index) && read_msr(vcpu, index, &now) && now == value &&
	    index != MSR_IA32_TSC)
		return 0;
	/* An MSR that this host does not have matters only if the guest has something in it. */
	if (!listed(list, index) && !value)
		return 0;
	if (listed(list, index) && write_msr(vcpu, index, value))
		return 0;
	return why_set(why, -ENODEV, "CPU %u: this host's KVM does not take MSR 0x%x = 0x%llx",
		       vcpu->index, index, (unsigned long long)value);
}

int msr_state_load(struct vcpu *vcpu, const struct state_part *part, enum msr_when when,
		   struct why *why)
{
	struct state_reader r = { .buf = part->bytes, .len = part->len };
	union msr_list list;
	int err = list_msrs(vcpu, &list, why);

	while (!err && r.used < r.len) {
		uint32_t index = state_get32(&r);
		uint64_t value = state_get64(&r);

		if (r.overflow)
			return why_set(why, -EINVAL, "CPU %u: the MSRs are truncated", vcpu->index);
		if (when_to_load(index) == when)
			err = load_one(vcpu, &list, index, value, why);
	}
	return err;
}
