/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything KVM keeps of a vCPU. The structures are KVM's own ABI (x86, little-endian) and go as
 * they are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/vm/state_private.h"

#define XSAVE_BYTES_MIN sizeof(struct kvm_xsave)
#define XSAVE_BYTES_MAX (1u << 20)

/*
 * In the order of saving: KVM_GET_MP_STATE first, because it takes pending INIT and SIPI into
 * account.
 */
enum vcpu_part {
	PART_MP_STATE,
	PART_SREGS,
	PART_XCRS,
	PART_XSAVE,
	PART_LAPIC,
	PART_MSRS,
	PART_DEBUGREGS,
	PART_REGS,
	PART_EVENTS,
	PART_TSC_OFFSET,
	VCPU_PARTS
};

/* The parts that are one structure with an ioctl each way. */
struct fixed_part {
	const char *name;
	unsigned long get, set;
	size_t bytes;
	/* 0, or the capability without which there is no such state */
	int cap;
};

static const struct fixed_part fixed_parts[VCPU_PARTS] = {
	[PART_MP_STATE] = { "MP state", KVM_GET_MP_STATE, KVM_SET_MP_STATE,
			    sizeof(struct kvm_mp_state), 0 },
	[PART_SREGS] = { "system registers", KVM_GET_SREGS2, KVM_SET_SREGS2,
			 sizeof(struct kvm_sregs2), 0 },
	[PART_XCRS] = { "XCR0", KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs), KVM_CAP_XCRS },
	[PART_LAPIC] = { "local APIC", KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state),
			 0 },
	[PART_DEBUGREGS] = { "debug registers", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS,
			     sizeof(struct kvm_debugregs), 0 },
	[PART_REGS] = { "registers", KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs), 0 },
	[PART_EVENTS] = { "events", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS,
			  sizeof(struct kvm_vcpu_events), 0 },
};

#define FIXED_BYTES_MAX sizeof(struct kvm_lapic_state)
_Static_assert(sizeof(struct kvm_sregs2) <= FIXED_BYTES_MAX &&
		       sizeof(struct kvm_xcrs) <= FIXED_BYTES_MAX,
	       "the largest fixed part");

static size_t xsave_bytes(const struct vcpu *vcpu)
{
	int bytes = ioctl(vcpu->vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);

	return bytes > (int)XSAVE_BYTES_MIN ? (size_t)bytes : XSAVE_BYTES_MIN;
}

static int save_fixed(struct vcpu *vcpu, enum vcpu_part id, struct state_writer *w, struct why *why)
{
	const struct fixed_part *part = &fixed_parts[id];
	uint8_t bytes[FIXED_BYTES_MAX] = { 0 };
	size_t begin;

	if (part->cap && ioctl(vcpu->vm->vm_fd, KVM_CHECK_EXTENSION, part->cap) <= 0)
		return 0;
	if (ioctl(vcpu->fd, part->get, bytes) < 0)
		return why_errno(why, "CPU %u: cannot read its %s", vcpu->index, part->name);
	begin = state_part_begin(w, id);
	state_put(w, bytes, part->bytes);
	state_part_end(w, begin);
	return 0;
}

static int save_xsave(struct vcpu *vcpu, struct state_writer *w, struct why *why)
{
	size_t bytes = xsave_bytes(vcpu), begin;
	unsigned long get = bytes > XSAVE_BYTES_MIN ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
	void *xsave = calloc(1, bytes);
	int err = 0;

	if (!xsave)
		return why_set(why, -ENOMEM, "out of memory for a CPU's FPU state");
	if (ioctl(vcpu->fd, get, xsave) < 0)
		err = why_errno(why, "CPU %u: cannot read its FPU state", vcpu->index);
	begin = state_part_begin(w, PART_XSAVE);
	state_put(w, xsave, bytes);
	state_part_end(w, begin);
	free(xsave);
	return err;
}

static struct kvm_device_attr tsc_offset_attr(uint64_t *offset)
{
	return (struct kvm_device_attr){ .group = KVM_VCPU_TSC_CTRL,
					 .attr = KVM_VCPU_TSC_OFFSET,
					 .addr = (uintptr_t)offset };
}

static void save_tsc_offset(struct vcpu *vcpu, struct state_writer *w)
{
	uint64_t offset = 0;
	struct kvm_device_attr attr = tsc_offset_attr(&offset);
	size_t begin;

	if (ioctl(vcpu->fd, KVM_GET_DEVICE_ATTR, &attr) < 0)
		return; /* before Linux 5.16: the TSC's value among the MSRs has to do */
	begin = state_part_begin(w, PART_TSC_OFFSET);
	state_put64(w, offset);
	state_part_end(w, begin);
}

int vcpu_state_save(struct vcpu *vcpu, struct state_writer *w, struct why *why)
{
	enum vcpu_part id;
	size_t begin;
	int err = 0;

	for (id = 0; !err && id < VCPU_PARTS; id++) {
		if (fixed_parts[id].name)
			err = save_fixed(vcpu, id, w, why);
	}
	if (!err)
		err = save_xsave(vcpu, w, why);
	if (err)
		return err;
	begin = state_part_begin(w, PART_MSRS);
	err = msr_state_save(vcpu, w, why);
	state_part_end(w, begin);
	save_tsc_offset(vcpu, w);
	return err;
}

static int load_fixed(struct vcpu *vcpu, enum vcpu_part id, const struct state_part *state,
		      struct why *why)
{
	const struct fixed_part *part = &fixed_parts[id];
	uint8_t bytes[FIXED_BYTES_MAX];

	if (!state->bytes && part->cap)
		return 0;
	if (!state->bytes || state->len != part->bytes)
		return why_set(why, -EINVAL, "CPU %u: its %s have %zu bytes, not %zu", vcpu->index,
			       part->name, state->len, part->bytes);
	memcpy(bytes, state->bytes, part->bytes);
	if (ioctl(vcpu->fd, part->set, bytes) < 0)
		return why_errno(why, "CPU %u: KVM does not take its %s", vcpu->index, part->name);
	return 0;
}

static int load_xsave(struct vcpu *vcpu, const struct state_part *state, struct why *why)
{
	size_t bytes = xsave_bytes(vcpu);
	void *xsave;
	int err = 0;

	if (!state->bytes || state->len < XSAVE_BYTES_MIN || state->len > XSAVE_BYTES_MAX)
		return why_set(why, -EINVAL, "CPU %u: its FPU state has %zu bytes", vcpu->index,
			       state->len);
	if (state->len > bytes)
		return why_set(
			why, -ENODEV,
			"CPU %u: its FPU state has %zu bytes, this host's CPU has room for %zu",
			vcpu->index, state->len, bytes);
	xsave = calloc(1, bytes);
	if (!xsave)
		return why_set(why, -ENOMEM, "out of memory for a CPU's FPU state");
	memcpy(xsave, state->bytes, state->len);
	if (ioctl(vcpu->fd, KVM_SET_XSAVE, xsave) < 0)
		err = why_errno(why, "CPU %u: KVM does not take its FPU state", vcpu->index);
	free(xsave);
	return err;
}

int vcpu_state_load(struct vcpu *vcpu, const struct state_part *state, struct why *why)
{
	struct state_part parts[VCPU_PARTS];
	int err;

	if (state_parts_find(state->bytes, state->len, parts, VCPU_PARTS) ||
	    !parts[PART_MSRS].bytes)
		return why_set(why, -EINVAL, "CPU %u: its state is malformed", vcpu->index);
	/*
	 * The APIC base (system registers) decides how the local APIC's page is read; KVM_SET_REGS
	 * drops a pending exception, so events come after it.
	 */
	if ((err = load_fixed(vcpu, PART_SREGS, &parts[PART_SREGS], why)) ||
	    (err = load_fixed(vcpu, PART_XCRS, &parts[PART_XCRS], why)) ||
	    (err = load_xsave(vcpu, &parts[PART_XSAVE], why)) ||
	    (err = load_fixed(vcpu, PART_LAPIC, &parts[PART_LAPIC], why)) ||
	    (err = msr_state_load(vcpu, &parts[PART_MSRS], MSR_EARLY, why)) ||
	    (err = load_fixed(vcpu, PART_MP_STATE, &parts[PART_MP_STATE], why)) ||
	    (err = load_fixed(vcpu, PART_DEBUGREGS, &parts[PART_DEBUGREGS], why)) ||
	    (err = load_fixed(vcpu, PART_REGS, &parts[PART_REGS], why)) ||
	    (err = load_fixed(vcpu, PART_EVENTS, &parts[PART_EVENTS], why)))
		return err;
	return 0;
}

/*
 * Linux Documentation/virt/kvm/devices/vcpu.rst, 4.1: the offset by which the guest's TSC continues
 * with the VM's clock.
 */
static int set_tsc_offset(struct vcpu *vcpu, uint64_t offset, const struct kvm_clock_data *source,
			  const struct kvm_clock_data *clock, struct why *why)
{
	struct kvm_device_attr attr = tsc_offset_attr(&offset);
	uint64_t khz = vm_tsc_khz(vcpu->vm);
	__int128 ticks = (__int128)((int64_t)(clock->clock - source->clock)) * (int64_t)khz;

	offset += (uint64_t)(int64_t)(ticks / 1000000) + source->host_tsc - clock->host_tsc;
	if (ioctl(vcpu->fd, KVM_SET_DEVICE_ATTR, &attr) < 0)
		return why_errno(why, "CPU %u: KVM does not take its TSC offset", vcpu->index);
	return 0;
}

int vcpu_tsc_load(struct vcpu *vcpu, const struct state_part *state,
		  const struct kvm_clock_data *source, const struct kvm_clock_data *clock,
		  struct why *why)
{
	struct state_part parts[VCPU_PARTS];
	struct state_reader r;
	int err = 0;

	if (state_parts_find(state->bytes, state->len, parts, VCPU_PARTS))
		return -EINVAL;
	r = (struct state_reader){ .buf = parts[PART_TSC_OFFSET].bytes,
				   .len = parts[PART_TSC_OFFSET].len };
	/*
	 * Without a host TSC that KVM's clock runs by, the TSC stays at the value among the MSRs.
	 */
	if (r.buf && source->flags & KVM_CLOCK_HOST_TSC && clock->flags & KVM_CLOCK_HOST_TSC) {
		uint64_t offset = state_get64(&r);

		if (!state_complete(&r))
			return why_set(why, -EINVAL, "CPU %u: its TSC offset is malformed",
				       vcpu->index);
		err = set_tsc_offset(vcpu, offset, source, clock, why);
	}
	return err ? err : msr_state_load(vcpu, &parts[PART_MSRS], MSR_LATE, why);
}
