/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm/vm_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <sevmirror/pagemap.h>
#include "lib/util/clock.h"
#include "vmm/bus.h"
#include "launch/image.h"
#include "launch/guest_layout.h"
#include "vmm/vm/state_private.h"

#define STATE_MAGIC   0x54535653u /* "SVST" */
#define STATE_VERSION 1

enum vm_part {
	PART_MACHINE, /* what must be the same on both sides */
	PART_CLOCK,
	PART_PIC_MASTER,
	PART_PIC_SLAVE,
	PART_IOAPIC,
	PART_PIT,
	PART_PAGEMAP,
	PART_DEVICES,
	PART_VCPU, /* and the following ids, one a vCPU */
	VM_PARTS = PART_VCPU + LAUNCH_MAX_CPUS
};

_Static_assert(VM_PARTS <= STATE_MAX_PARTS, "parts");

static const uint32_t chip_ids[] = { KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
				     KVM_IRQCHIP_IOAPIC };

static uint64_t real_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void save_machine(struct vm *vm, struct state_writer *w)
{
	size_t begin = state_part_begin(w, PART_MACHINE);
	unsigned int i;

	state_put64(w, vm->config.memory_bytes);
	state_put32(w, vm->nvcpus);
	state_put8(w, vm->config.sev);
	state_put8(w, vm->config.payload);
	state_put64(w, vm->payload_shared_gpa);
	for (i = 0; i < vm->nvcpus; i++)
		state_put8(w, vm->vcpus[i].done);
	state_part_end(w, begin);
}

static int save_chips(struct vm *vm, struct state_writer *w, struct why *why)
{
	struct kvm_pit_state2 pit;
	struct kvm_irqchip chip;
	size_t begin;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = chip_ids[i];
		if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &chip) < 0)
			return why_errno(why, "KVM_GET_IRQCHIP");
		begin = state_part_begin(w, PART_PIC_MASTER + i);
		state_put(w, &chip.chip, sizeof(chip.chip));
		state_part_end(w, begin);
	}
	memset(&pit, 0, sizeof(pit));
	if (ioctl(vm->vm_fd, KVM_GET_PIT2, &pit) < 0)
		return why_errno(why, "KVM_GET_PIT2");
	begin = state_part_begin(w, PART_PIT);
	state_put(w, &pit, sizeof(pit));
	state_part_end(w, begin);
	return 0;
}

static int save_clock(struct vm *vm, struct state_writer *w, struct why *why)
{
	struct kvm_clock_data clock = { 0 };
	size_t begin;

	if (ioctl(vm->vm_fd, KVM_GET_CLOCK, &clock) < 0)
		return why_errno(why, "KVM_GET_CLOCK");
	if (!(clock.flags & KVM_CLOCK_REALTIME))
		clock.realtime = real_time();
	begin = state_part_begin(w, PART_CLOCK);
	state_put64(w, clock.clock);
	state_put32(w, clock.flags);
	state_put64(w, clock.realtime);
	state_put64(w, clock.host_tsc);
	state_part_end(w, begin);
	return 0;
}

static int save_pagemap(struct vm *vm, struct state_writer *w)
{
	size_t begin = state_part_begin(w, PART_PAGEMAP);
	size_t room = w->max - w->used, bytes = sev_pagemap_save(vm->pagemap, NULL, 0);

	if (w->overflow || bytes > room)
		return -ENOSPC;
	sev_pagemap_save(vm->pagemap, w->buf + w->used, room);
	w->used += bytes;
	state_part_end(w, begin);
	return 0;
}

static int save_devices(struct vm *vm, struct state_writer *w)
{
	uint8_t *devices;
	size_t len, begin;
	int err = bus_save(vm->bus, &devices, &len);

	if (err)
		return err;
	begin = state_part_begin(w, PART_DEVICES);
	state_put(w, devices, len);
	state_part_end(w, begin);
	free(devices);
	return 0;
}

static int save_all(struct vm *vm, struct state_writer *w, struct why *why)
{
	unsigned int i;
	size_t begin;
	int err;

	state_put32(w, STATE_MAGIC);
	state_put32(w, STATE_VERSION);
	save_machine(vm, w);
	for (i = 0; i < vm->nvcpus; i++) {
		begin = state_part_begin(w, PART_VCPU + i);
		err = vcpu_state_save(&vm->vcpus[i], w, why);
		if (err)
			return err;
		state_part_end(w, begin);
	}
	if ((err = save_clock(vm, w, why)) || (err = save_chips(vm, w, why)))
		return err;
	err = save_pagemap(vm, w);
	if (!err)
		err = save_devices(vm, w);
	if (!err && w->overflow)
		err = -ENOSPC;
	return err ? why_set(why, err, "cannot save the page map and the devices: %s",
			     strerror(-err)) :
		     0;
}

int vm_state_save(struct vm *vm, uint8_t **buf, size_t *len, struct why *why)
{
	struct state_writer w = { .max = VM_STATE_MAX_BYTES };
	int err;

	if (!vm->quiet)
		return why_set(why, -EBUSY, "the VM is not paused");
	w.buf = malloc(w.max);
	if (!w.buf)
		return why_set(why, -ENOMEM, "out of memory for the VM's state");
	err = save_all(vm, &w, why);
	if (err) {
		free(w.buf);
		return err;
	}
	*buf = w.buf;
	*len = w.used;
	return 0;
}

static int malformed(struct why *why, const char *what)
{
	return why_set(why, -EINVAL, "the VM's state is malformed: %s", what);
}

static int load_machine(struct vm *vm, const struct state_part *part, struct why *why)
{
	struct state_reader r = { .buf = part->bytes, .len = part->len };
	uint64_t memory_bytes = state_get64(&r), shared_gpa;
	uint32_t cpus = state_get32(&r), i;
	bool sev = state_get_bool(&r), payload = state_get_bool(&r);

	shared_gpa = state_get64(&r);
	if (r.overflow)
		return malformed(why, "its configuration");
	if (memory_bytes != vm->config.memory_bytes || cpus != vm->nvcpus ||
	    sev != vm->config.sev || payload != vm->config.payload)
		return why_set(
			why, -ENODEV, "the state is of another VM: %u CPUs, %llu MiB, %s, %s", cpus,
			(unsigned long long)memory_bytes >> 20, sev ? "encrypted" : "not encrypted",
			payload ? "a payload" : "Linux");
	for (i = 0; i < cpus; i++)
		vm->vcpus[i].done = state_get_bool(&r);
	if (!state_complete(&r))
		return malformed(why, "its configuration");
	vm->payload_shared_gpa = shared_gpa;
	if (shared_gpa &&
	    (!payload || shared_gpa != LAYOUT_PAYLOAD_SHARED_GPA || !vm_payload_shared(vm)))
		return malformed(why, "the payload's shared area");
	return 0;
}

static int load_chips(struct vm *vm, const struct state_part *parts, struct why *why)
{
	struct kvm_pit_state2 pit;
	struct kvm_irqchip chip;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		const struct state_part *part = &parts[PART_PIC_MASTER + i];

		if (!part->bytes || part->len != sizeof(chip.chip))
			return malformed(why, "an interrupt controller");
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = chip_ids[i];
		memcpy(&chip.chip, part->bytes, sizeof(chip.chip));
		if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, &chip) < 0)
			return why_errno(why, "KVM_SET_IRQCHIP");
	}
	if (!parts[PART_PIT].bytes || parts[PART_PIT].len != sizeof(pit))
		return malformed(why, "the PIT");
	memcpy(&pit, parts[PART_PIT].bytes, sizeof(pit));
	if (ioctl(vm->vm_fd, KVM_SET_PIT2, &pit) < 0)
		return why_errno(why, "KVM_SET_PIT2");
	return 0;
}

/*
 * The VM's clock continues by the real time that has passed since it was saved, if the hosts'
 * clocks agree that some has (KVM does the same with KVM_CLOCK_REALTIME, where its master clock is
 * in use). *source: as saved, *now: as it is on this host.
 */
static int load_clock(struct vm *vm, const struct state_part *part, struct kvm_clock_data *source,
		      struct kvm_clock_data *now, struct why *why)
{
	struct state_reader r = { .buf = part->bytes, .len = part->len };
	struct kvm_clock_data set = { 0 };
	uint64_t real = real_time();

	memset(source, 0, sizeof(*source));
	memset(now, 0, sizeof(*now));
	source->clock = state_get64(&r);
	source->flags = state_get32(&r);
	source->realtime = state_get64(&r);
	source->host_tsc = state_get64(&r);
	if (!state_complete(&r))
		return malformed(why, "the clock");
	set.clock = source->clock + (real > source->realtime ? real - source->realtime : 0);
	if (ioctl(vm->vm_fd, KVM_SET_CLOCK, &set) < 0)
		return why_errno(why, "KVM_SET_CLOCK");
	if (ioctl(vm->vm_fd, KVM_GET_CLOCK, now) < 0)
		return why_errno(why, "KVM_GET_CLOCK");
	return 0;
}

static int load_vcpus(struct vm *vm, const struct state_part *parts, struct why *why)
{
	struct kvm_clock_data source, now;
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < vm->nvcpus; i++)
		err = vcpu_state_load(&vm->vcpus[i], &parts[PART_VCPU + i], why);
	if (!err)
		err = load_clock(vm, &parts[PART_CLOCK], &source, &now, why);
	for (i = 0; !err && i < vm->nvcpus; i++)
		err = vcpu_tsc_load(&vm->vcpus[i], &parts[PART_VCPU + i], &source, &now, why);
	return err;
}

int vm_state_load(struct vm *vm, const uint8_t *buf, size_t len, struct why *why)
{
	struct state_reader r = { .buf = buf, .len = len };
	struct state_part parts[VM_PARTS];
	uint32_t magic = state_get32(&r), version = state_get32(&r);
	unsigned int i;
	int err;

	if (r.overflow || magic != STATE_MAGIC)
		return malformed(why, "no magic");
	if (version != STATE_VERSION)
		return why_set(why, -ENODEV,
			       "the VM's state has version %u, and this host knows version %u",
			       version, STATE_VERSION);
	if (state_parts_find(buf + r.used, len - r.used, parts, VM_PARTS))
		return malformed(why, "its parts");
	err = load_machine(vm, &parts[PART_MACHINE], why);
	if (err)
		return err;
	for (i = 0; i < LAUNCH_MAX_CPUS; i++) {
		if (!parts[PART_VCPU + i].bytes != (i >= vm->nvcpus))
			return malformed(why, "its CPUs");
	}
	if (sev_pagemap_load(vm->pagemap, parts[PART_PAGEMAP].bytes, parts[PART_PAGEMAP].len))
		return malformed(why, "the page map");
	err = load_chips(vm, parts, why);
	if (!err)
		err = load_vcpus(vm, parts, why);
	if (err)
		return err;
	/* Last: a device that wants an interrupt raises its line again. */
	err = bus_load(vm->bus, parts[PART_DEVICES].bytes, parts[PART_DEVICES].len);
	return err ? why_set(why, err,
			     err == -ENODEV ?
				     "the source and the target do not have the same devices" :
				     "the devices' state is malformed") :
		     0;
}
