/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest on KVM: its memory, vCPU threads and interrupt controllers, plain or encrypted by the
 * same code. The life of one: vm_create(), devices onto vm_bus(), then either vm_launch() and
 * vm_launch_finish() (a new guest) or vm_state_load() (one that comes from elsewhere), vm_start(),
 * vm_pause() and vm_resume() as one likes, until vm_end_fd() is readable or vm_stop();
 * vm_destroy().
 *
 * Functions return 0 or a negative errno with the sentence in why (may be NULL). They are for one
 * control thread, except where said.
 */
#ifndef VMM_VM_VM_H
#define VMM_VM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/sev/guest.h"
#include "vmm/device.h"
#include "lib/util/map.h"
#include "lib/util/why.h"

struct bus;
struct guest_memory;
struct host_devices;
struct launch_entry;
struct launch_image;
struct payload_shared;
struct sev_pagemap;
struct vm;
union guest_cpuid;

struct vm_config {
	uint64_t memory_bytes; /* as for guest_memory_create() */
	uint64_t helper_bytes; /* what the Migration Helper will take: the host must have both */
	unsigned int cpus; /* 1 to LAUNCH_MAX_CPUS */
	bool hugepages;
	bool sev; /* encrypted; fails where the host cannot */
	bool payload; /* the guest is a ring-3 payload (launch/image.h) */

	/*
	 * What a guest that comes from another host has seen there; borrowed while vm_create()
	 * runs. NULL and 0: as this host has it.
	 */
	const union guest_cpuid *cpuid;
	uint64_t tsc_khz;

	const struct host_devices *devices; /* borrowed for the VM's life; may be NULL */

	struct util_map_watch watch; /* while vm_create() populates the memory */
};

/* Why a guest came to its end. */
enum vm_end {
	VM_RUNS = 0, /* it has not */
	VM_POWEROFF, /* by itself; a payload: done */
	VM_REBOOT, /* the guest asked for a reset */
	VM_CRASH, /* a triple fault; a payload: found an error */
	VM_FAILED, /* KVM or the VMM could not continue */
	VM_STOPPED, /* vm_stop() */
	VM_MIGRATED, /* vm_gone(): another host runs it now */
};

/*
 * Whether this host can encrypt guests: /dev/kvm, /dev/sev and the CPU say so. 0, or a negative
 * errno with what is missing.
 */
int vm_sev_available(struct why *why);

int vm_create(struct vm **vm, const struct vm_config *config, struct why *why);

/* Stops vCPUs that run, frees everything, closes the KVM fds. NULL is allowed. */
void vm_destroy(struct vm *vm);

/*
 * Write the image into guest RAM, the helper's core to helper (image->helper.len bytes, registered
 * with the VM), and set the vCPUs' registers. With SEV also LAUNCH_START (owner
 * may be NULL), LAUNCH_UPDATE_DATA of each segment and LAUNCH_MEASURE into measurement (which is
 * zeroed without SEV). Between this and vm_launch_finish() the owner may inject secrets.
 */
int vm_launch(struct vm *vm, const struct launch_image *image, void *helper, uint32_t policy,
	      const struct sev_owner_start *owner, uint8_t measurement[SEV_MEASUREMENT_BYTES],
	      struct why *why);

/* Inject a packet of the owner's at gpa. -EINVAL: not RAM, or not with SEV. */
int vm_launch_secret(struct vm *vm, const struct sev_packet_header *header, const void *payload,
		     uint32_t bytes, uint64_t gpa, struct why *why);
int vm_launch_finish(struct vm *vm, struct why *why);

/* Make the vCPU threads; they wait for vm_resume(). */
int vm_start(struct vm *vm, struct why *why);

/*
 * vm_pause(): vCPUs and devices are stopped when it returns, and guest memory with them. -EIO when
 * a device could not flush; it is paused nevertheless. Both are idempotent. vm_request_pause() only
 * asks the vCPUs and does not wait (devices continue); any thread.
 */
int vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
void vm_request_pause(struct vm *vm);

/*
 * End the guest at once. Any thread, any time, any number of times; what ended first is what
 * counts.
 */
void vm_stop(struct vm *vm);

/*
 * The guest runs at another host now: what is here is never to run again. Paused, from the
 * migration.
 */
void vm_gone(struct vm *vm);

/*
 * Take this part of the time (0 to 99 per cent) away from the vCPUs, so that they write less
 * memory; 0 ends it. One caller at a time. 0 or a negative errno, then nothing has changed.
 */
int vm_throttle(struct vm *vm, unsigned int percent);

/*
 * Press the guest's power button: a Linux guest shuts down if it has somebody who listens to it.
 * Any thread.
 */
void vm_power_button(struct vm *vm);

/*
 * An eventfd that becomes readable when the guest has come to its end; vm_end() says which. Any
 * thread.
 */
int vm_end_fd(const struct vm *vm);
enum vm_end vm_end(const struct vm *vm);

/*
 * What goes with the end, some lines of text for people (KVM's error, registers where they can be
 * read); "" when there is nothing to say. Stable once vm_end_fd() is readable.
 */
const char *vm_end_report(const struct vm *vm);

bool vm_paused(const struct vm *vm); /* vm_pause() has returned and vm_resume() was not called */
unsigned int vm_cpus(const struct vm *vm);
unsigned int vm_cpus_parked(struct vm *vm); /* vCPUs that are stopped now. Any thread. */
int vm_kvm_fd(const struct vm *vm);
int vm_fd(const struct vm *vm);
int vm_sev_fd(const struct vm *vm); /* -1 without SEV */
uint64_t vm_c_mask(const struct vm *vm); /* 0 without SEV */
struct guest_memory *vm_memory(const struct vm *vm);
struct bus *vm_bus(const struct vm *vm);
struct sev_guest *vm_sev(const struct vm *vm); /* NULL without SEV */
struct sev_pagemap *vm_pagemap(const struct vm *vm);

/*
 * The area a payload shares with the host; NULL when the guest is not a payload, or not launched.
 * The guest writes it at any time.
 */
struct payload_shared *vm_payload_shared(const struct vm *vm);

/* What vCPUs left the guest for, in the words of KVM's exit reasons. */
enum vm_exit_kind {
	VM_EXIT_IO, /* ports */
	VM_EXIT_MMIO,
	VM_EXIT_HYPERCALL, /* pages that change between private and shared */
	VM_EXIT_MSR,
	VM_EXIT_BELL, /* a payload's doorbell */
	VM_EXIT_INTERRUPTED, /* a signal: pause, throttle, stop */
	VM_EXIT_OTHER,
	VM_EXIT_KINDS,
};

const char *vm_exit_name(enum vm_exit_kind kind);

/*
 * How often vCPU cpu has left the guest on this host, by kind. Any thread; each number for itself
 * is exact.
 */
void vm_exits(const struct vm *vm, unsigned int cpu, uint64_t counts[VM_EXIT_KINDS]);

/* The guest's TSC frequency, 0 when KVM does not know it. */
uint64_t vm_tsc_khz(const struct vm *vm);

/* What CPUID says to the guest: the first vCPU's table, the others' follow from it. */
const union guest_cpuid *vm_cpuid(const struct vm *vm);

/*
 * Let KVM write 1 to the eventfd when the guest writes 4 bytes at gpa, instead of an exit. 0 or a
 * negative errno.
 */
int vm_ioeventfd(struct vm *vm, uint64_t gpa, int fd);

/*
 * Let KVM collect what the guest writes to the port, a byte at a time, instead of an exit for each
 * byte. Every exit of a vCPU passes it to the bus first; vm_take_coalesced() does it at any other
 * time. Both by any thread that holds no lock of a device, but vm_coalesce_port() before the guest
 * runs. -ENOSYS: this KVM cannot (Linux 4.20), every write is an exit; or another negative errno.
 */
int vm_coalesce_port(struct vm *vm, uint16_t port);
void vm_take_coalesced(struct vm *vm);

/* The line gsi of the guest's interrupt controllers; valid as long as the VM. */
struct irq_line vm_irq_line(struct vm *vm, unsigned int gsi);

#endif
