/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MSRs of a vCPU: those that KVM lists for saving, and those that it keeps without listing them
 * (MTRRs, machine-check banks). kvm-clock, steal time, asynchronous page faults and the paravirtual
 * EOI are among the listed ones; MSR_KVM_MIGRATION_CONTROL is not, it goes with the page map.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/vm/state_private.h"

#define MSR_LIST_MAX	      1024
#define MSR_BATCH	      128 /* KVM takes fewer than 256 with one call */
#define MSR_IA32_TSC	      0x10
#define MSR_IA32_TSC_DEADLINE 0x6e0
#define MSR_IA32_TSC_ADJUST   0x3b

union msr_list {
	struct kvm_msr_list list;
	uint8_t room[sizeof(struct kvm_msr_list) + MSR_LIST_MAX * sizeof(uint32_t)];
};

union msr_batch {
	struct kvm_msrs msrs;
	uint8_t room[sizeof(struct kvm_msrs) + MSR_BATCH * sizeof(struct kvm_msr_entry)];
};

/*
 * State that no KVM lists (arch/x86/kvm/x86.c, msrs_to_save_base) or that not every KVM does. A
 * guest that finds other memory types on one CPU than on the next takes RAM for uncached.
 */
static const struct {
	uint32_t first, last;
} unlisted[] = {
	{ 0x48, 0x48 }, /* SPEC_CTRL */
	{ 0x200, 0x20f }, /* MTRR: variable ranges */
	{ 0x250, 0x250 }, /* MTRR: fixed ranges */
	{ 0x258, 0x259 },
	{ 0x268, 0x26f },
	{ 0x277, 0x277 }, /* PAT */
	{ 0x280, 0x29f }, /* MCi_CTL2 */
	{ 0x2ff, 0x2ff }, /* MTRR: default type */
	{ 0x400, 0x47f }, /* MCi_CTL, _STATUS, _ADDR, _MISC */
	{ 0xc0000103, 0xc0000103 }, /* TSC_AUX */
	{ 0xc0010140, 0xc0010141 }, /* OSVW */
};

static bool write_msr(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	union msr_batch one = { .msrs.nmsrs = 1 };

	one.msrs.entries[0].index = index;
	one.msrs.entries[0].data = value;
	return ioctl(vcpu->fd, KVM_SET_MSRS, &one) == 1;
}

/* Read the n (at most MSR_BATCH) entries' MSRs; those that the vCPU has are left, in order. */
static unsigned int read_batch(struct vcpu *vcpu, struct kvm_msr_entry *entries, unsigned int n)
{
	unsigned int next = 0, kept = 0;
	union msr_batch batch;
	int got;

	while (next < n) {
		batch.msrs.nmsrs = n - next;
		memcpy(batch.msrs.entries, entries + next, (n - next) * sizeof(*entries));
		/* KVM stops at the first one that it does not have. */
		got = ioctl(vcpu->fd, KVM_GET_MSRS, &batch);
		got = got < 0 ? 0 : got;
		memcpy(entries + kept, batch.msrs.entries, (size_t)got * sizeof(*entries));
		kept += (unsigned int)got;
		next += (unsigned int)got + 1;
	}
	return kept;
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

/* All that this host's KVM may keep of a guest, each once. */
static int list_msrs(struct vcpu *vcpu, union msr_list *list, struct why *why)
{
	uint32_t i, index, n;

	list->list.nmsrs = MSR_LIST_MAX;
	if (ioctl(vcpu->vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
		return why_errno(why, "KVM_GET_MSR_INDEX_LIST");
	n = list->list.nmsrs;
	for (i = 0; i < sizeof(unlisted) / sizeof(*unlisted); i++) {
		for (index = unlisted[i].first; index <= unlisted[i].last; index++) {
			if (listed(list, index))
				continue;
			if (n == MSR_LIST_MAX)
				return why_set(why, -E2BIG, "KVM lists more than %d MSRs",
					       MSR_LIST_MAX);
			list->list.indices[n++] = index;
		}
	}
	list->list.nmsrs = n;
	return 0;
}

int msr_state_save(struct vcpu *vcpu, struct state_writer *w, struct why *why)
{
	struct kvm_msr_entry batch[MSR_BATCH] = { 0 };
	union msr_list list;
	uint32_t i, n, kept;
	int err = list_msrs(vcpu, &list, why);

	for (i = 0; !err && i < list.list.nmsrs; i += n) {
		for (n = 0; n < MSR_BATCH && i + n < list.list.nmsrs; n++)
			batch[n].index = list.list.indices[i + n];
		/* What KVM lists for all of this host's guests need not be there in this one. */
		kept = read_batch(vcpu, batch, n);
		for (uint32_t k = 0; k < kept; k++) {
			state_put32(w, batch[k].index);
			state_put64(w, batch[k].data);
		}
	}
	return err;
}

static enum msr_when when_to_load(uint32_t index)
{
	return index == MSR_IA32_TSC_DEADLINE || index == MSR_KVM_ASYNC_PF_EN ? MSR_LATE :
										MSR_EARLY;
}

/* now: what the vCPU has; NULL: it does not have this MSR. */
static int load_one(struct vcpu *vcpu, const struct kvm_msr_entry *now, uint32_t index,
		    uint64_t value, struct why *why)
{
	/*
	 * KVM cannot give a guest's TSC_ADJUST back without moving its TSC, which is set by itself.
	 */
	if (index == MSR_IA32_TSC_ADJUST)
		return 0;
	if (now && now->data == value && index != MSR_IA32_TSC)
		return 0;
	/* An MSR that this host does not have matters only if the guest has something in it. */
	if (!now && !value)
		return 0;
	if (now && write_msr(vcpu, index, value))
		return 0;
	return why_set(why, -ENODEV, "CPU %u: this host's KVM does not take MSR 0x%x = 0x%llx",
		       vcpu->index, index, (unsigned long long)value);
}

/* n MSRs of this host's list (wanted) as the source had them. */
static int load_batch(struct vcpu *vcpu, const union msr_list *list,
		      const struct kvm_msr_entry *wanted, unsigned int n, struct why *why)
{
	struct kvm_msr_entry now[MSR_BATCH] = { 0 };
	unsigned int i, at = 0, asked = 0, kept;
	int err = 0;

	for (i = 0; i < n; i++) {
		if (listed(list, wanted[i].index))
			now[asked++].index = wanted[i].index;
	}
	kept = read_batch(vcpu, now, asked);
	for (i = 0; !err && i < n; i++) {
		bool here = at < kept && now[at].index == wanted[i].index;

		err = load_one(vcpu, here ? &now[at] : NULL, wanted[i].index, wanted[i].data, why);
		at += here;
	}
	return err;
}

int msr_state_load(struct vcpu *vcpu, const struct state_part *part, enum msr_when when,
		   struct why *why)
{
	struct state_reader r = { .buf = part->bytes, .len = part->len };
	struct kvm_msr_entry batch[MSR_BATCH] = { 0 };
	union msr_list list;
	unsigned int n = 0;
	int err = list_msrs(vcpu, &list, why);

	while (!err && r.used < r.len) {
		batch[n].index = state_get32(&r);
		batch[n].data = state_get64(&r);
		if (r.overflow)
			return why_set(why, -EINVAL, "CPU %u: the MSRs are truncated", vcpu->index);
		if (when_to_load(batch[n].index) == when)
			n++;
		if (n == MSR_BATCH) {
			err = load_batch(vcpu, &list, batch, n, why);
			n = 0;
		}
	}
	return err ? err : load_batch(vcpu, &list, batch, n, why);
}
