/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM's insides, shared by the files of this folder.
 */
#ifndef VMM_VM_VM_PRIVATE_H
#define VMM_VM_VM_PRIVATE_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "vmm/vm/cpuid.h"
#include "vmm/vm/vm.h"

#define VCPU_SIGNAL	SIGUSR1 /* takes a vCPU thread out of KVM_RUN; its handler does nothing */
#define VM_REPORT_BYTES 2048

struct vcpu {
	struct vm *vm;
	unsigned int index; /* also its APIC ID */
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool thread_made;
	/* under vm->lock: waits, outside of KVM, with nothing of the last exit pending */
	bool parked;
	_Atomic uint64_t exits[VM_EXIT_KINDS]; /* written by its thread alone, read anywhere */
	bool done; /* under vm->lock: a payload's vCPU that is not to run again */
};

enum vm_want {
	WANT_RUN,
	WANT_PAUSE,
	WANT_STOP,
};

struct vm {
	struct vm_config config;
	int kvm_fd, vm_fd, sev_fd;
	struct guest_memory *memory;
	struct bus *bus;
	struct sev_guest *sev;
	struct sev_pagemap *pagemap;
	uint64_t c_mask;
	bool hears_sharing; /* what the guest says of its shared pages comes out of KVM */
	uint64_t tsc_khz; /* 0: KVM does not know it */
	union guest_cpuid *cpuid; /* of the first vCPU, as it was given to KVM */
	uint64_t payload_shared_gpa; /* 0: not a payload, or not launched */
	size_t run_bytes; /* of each vCPU's struct kvm_run */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* want, a vCPU's parked or done */
	enum vm_want want;
	bool quiet; /* devices are quiesced */
	unsigned int nvcpus;
	struct vcpu *vcpus;

	/* throttle.c: under lock */
	unsigned int throttle_percent;
	bool throttled; /* vCPUs are stopped for their part of the period */
	pthread_t throttle_thread;
	bool throttle_made; /* the caller's of vm_throttle() */

	/* coalesced.c: the ring's page behind each vCPU's kvm_run, 0: KVM collects nothing */
	unsigned int coalesced_page;
	pthread_mutex_t coalesced_lock; /* of the thread that takes from the ring */

	int end_fd;
	_Atomic(enum vm_end) end;
	char report[VM_REPORT_BYTES]; /* written once, before end */
};

/* vm.c: flags (KVM_MEM_LOG_DIRTY_PAGES) for all memory slots. 0 or a negative errno. */
int vm_set_memslots(struct vm *vm, uint32_t flags);

/*
 * vm_end.c: the guest ends like this, unless it has ended already. Any thread; report may be NULL.
 */
void vm_ended(struct vm *vm, enum vm_end end, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* vcpu.c */
int vcpu_create(struct vcpu *vcpu, struct vm *vm, unsigned int index, struct why *why);
void vcpu_destroy(struct vcpu *vcpu);
int vcpu_start(struct vcpu *vcpu, struct why *why);
void vcpu_join(struct vcpu *vcpu);
void vcpu_kick(struct vcpu *vcpu); /* with vm->lock held, after want was changed */

/* vcpu_setup.c: registers of a new guest. */
int vcpu_setup(struct vcpu *vcpu, const struct launch_entry *entry, struct why *why);

/* exits.c */
void vcpu_count(struct vcpu *vcpu, enum vm_exit_kind kind); /* in its thread */

/* What the vCPU exited for, except for the payload's doorbell. False: the guest has ended. */
bool vcpu_exit(struct vcpu *vcpu);

/*
 * payload_host.c: make the shared area ready for the first entry (-EINVAL: it is not in RAM); a
 * 32-bit out to the doorbell.
 */
int payload_prepare(struct vm *vm, const struct launch_entry *entry);
void vcpu_bell(struct vcpu *vcpu, uint32_t bell);

/* Wait, at most so long, for another want than WANT_RUN. */
void vcpu_sleep(struct vcpu *vcpu, uint64_t nanoseconds);

#endif
