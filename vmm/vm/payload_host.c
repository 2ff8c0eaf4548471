/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of a payload guest (payloads/sdk/payload.h): the shared area, and the doorbell.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <linux/kvm_para.h>
#include <string.h>
#include <sys/ioctl.h>

#include <sevmirror/pagemap.h>
#include "payloads/sdk/payload.h"
#include "launch/image.h"
#include "lib/util/page.h"
#include "vmm/memory.h"
#include "vmm/vm/vm_private.h"

#define SLEEP_MAX_US 10000000ULL

struct payload_shared *vm_payload_shared(const struct vm *vm)
{
	if (!vm->payload_shared_gpa)
		return NULL;
	return guest_memory_hva(vm->memory, vm->payload_shared_gpa, sizeof(struct payload_shared));
}

int payload_prepare(struct vm *vm, const struct launch_entry *entry)
{
	struct payload_shared *shared =
		guest_memory_hva(vm->memory, entry->shared_gpa, entry->shared_bytes);
	/*
	 * What a kernel would say by hypercall and MSR; a payload has no kernel, and what it shares
	 * is fixed by its launch.
	 */
	const uint64_t args[3] = { entry->shared_gpa, entry->shared_bytes / PAGE_BYTES,
				   KVM_MAP_GPA_RANGE_DECRYPTED };

	if (!shared ||
	    (vm->sev && (sev_pagemap_hypercall(vm->pagemap, args) ||
			 sev_pagemap_write_migration_control(vm->pagemap, KVM_MIGRATION_READY))))
		return -EINVAL;
	memset(shared, 0, entry->shared_bytes);
	shared->magic = PAYLOAD_SHARED_MAGIC;
	shared->version = PAYLOAD_VERSION;
	vm->payload_shared_gpa = entry->shared_gpa;
	return 0;
}

/* True once every vCPU has said EXIT. */
static bool leave(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	unsigned int i, done = 0;

	pthread_mutex_lock(&vm->lock);
	vcpu->done = true;
	for (i = 0; i < vm->nvcpus; i++)
		done += vm->vcpus[i].done;
	/* Its `out` is completed by one more KVM_RUN, which comes back at once. */
	vcpu_kick(vcpu);
	pthread_mutex_unlock(&vm->lock);
	return done == vm->nvcpus;
}

static void payload_ended(struct vm *vm)
{
	const struct payload_shared *shared = vm_payload_shared(vm);
	uint32_t error = shared ? shared->error : 0, state = shared ? shared->state : 0;
	uint64_t info[3] = { 0 };

	if (state == PAYLOAD_DONE) {
		vm_ended(vm, VM_POWEROFF, NULL);
		return;
	}
	if (shared)
		memcpy(info, shared->error_info, sizeof(info));
	vm_ended(vm, VM_CRASH,
		 "the payload ended in state %u with its error %u (0x%llx 0x%llx 0x%llx)", state,
		 error, (unsigned long long)info[0], (unsigned long long)info[1],
		 (unsigned long long)info[2]);
}

static void sleep_as_asked(struct vcpu *vcpu)
{
	struct kvm_regs regs;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0)
		return;
	vcpu_sleep(vcpu, (regs.rdi < SLEEP_MAX_US ? regs.rdi : SLEEP_MAX_US) * 1000);
}

void vcpu_bell(struct vcpu *vcpu, uint32_t bell)
{
	if (bell == PAYLOAD_BELL_SLEEP)
		sleep_as_asked(vcpu);
	else if (bell == PAYLOAD_BELL_EXIT && leave(vcpu))
		payload_ended(vcpu->vm);
}
