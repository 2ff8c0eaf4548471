/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM of examples/embed, whose guest is a payload here: it lets the engine be tested at native
 * speed on the machine's own /dev/kvm, without SEV. Added to the example: pages that are shared
 * with the host, a disk, and faults to inject.
 */
#ifndef TESTS_KVM_TINY_HOST_H
#define TESTS_KVM_TINY_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sevmirror/host.h>

#include "payloads/sdk/payload.h"

struct tiny_host;

struct tiny_config {
	uint64_t ram_bytes; /* a multiple of 2 MiB, at least 16 MiB, at most 1 GiB */
	uint32_t nvcpus;
	uint64_t args[PAYLOAD_ARGS];
	/* every so many pages of the work area one counts as shared with the host; 0: none */
	uint64_t shared_every;
};

/* The example's table with what is added; opaque is the struct tiny_host. */
struct sevmirror_host_ops tiny_host_ops(void);

/*
 * A host without a VM; tiny_host_launch() or a migration gives it one. elf: the payload's file.
 * NULL when out of memory.
 */
struct tiny_host *tiny_host_create(const char *elf);
void tiny_host_destroy(struct tiny_host *host);

/* Build the VM with the payload loaded, and let it run. 0 or a negative errno. */
int tiny_host_launch(struct tiny_host *host, const struct tiny_config *config);

/* What the payload and its host share; NULL without a VM. */
struct payload_shared *tiny_host_shared(struct tiny_host *host);

/* Guest RAM as the VMM sees it, for tests that look at it or spoil it. */
void *tiny_host_ram(struct tiny_host *host);
uint64_t tiny_host_ram_bytes(struct tiny_host *host);
uint64_t tiny_host_work_gpa(struct tiny_host *host);
const void *tiny_host_region(struct tiny_host *host); /* the helper's; NULL without a VM */

/*
 * Tell the payload to finish and wait: it verifies all its memory once more. True if it found no
 * error.
 */
bool tiny_host_finish(struct tiny_host *host);

/* The VMM was asked to pause without waiting. */
bool tiny_host_pause_requested(struct tiny_host *host);

/* What the payload does now; without stopping it. */
uint64_t tiny_host_writes(struct tiny_host *host);

bool tiny_host_running(struct tiny_host *host);
bool tiny_host_handed_over(struct tiny_host *host);

/*
 * The guest's disk: a file of which fd is a descriptor (borrowed). A host that runs the guest holds
 * its lock; one without the lock lets no guest run.
 */
void tiny_host_set_disk(struct tiny_host *host, int fd);
bool tiny_host_has_disk(const struct tiny_host *host);

/* Faults to inject: what state_load() and disks_acquire() return, 0 for none. */
void tiny_host_fail(struct tiny_host *host, int state_load, int disks_acquire);

/* No phase of the library: the disks are released. */
#define TINY_HOST_DISKS ((enum sevmirror_phase)SEVMIRROR_PHASES)

/*
 * Called with each report of progress (its phase and round), and with TINY_HOST_DISKS when they are
 * released: on the migration's own thread, so nothing of the migration happens meanwhile that this
 * thread would do.
 */
typedef void (*tiny_host_hook_fn)(struct tiny_host *host, void *arg, enum sevmirror_phase phase,
				  unsigned int round);
void tiny_host_hook(struct tiny_host *host, tiny_host_hook_fn hook, void *arg);

enum tiny_spoil {
	TINY_HELPER_DIES, /* its code is nonsense from now on: a fault, so the end of the mirror */
	TINY_HELPER_LIES, /* it takes every page for sealed, or opened, once more than it was */
};

/* Do it to the helper that runs, or will run, in the VM's region. */
void tiny_host_spoil_helper(struct tiny_host *host, enum tiny_spoil how);

#endif
