/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest VM that libsevmirror can move: RAM, the Migration Helper's memory, vCPUs; no
 * devices, no SEV. Its guest is a program in ring 3 (struct vm_guest). A VMM with more to it takes
 * a copy of vm_ops and calls these from its own functions, as tests/kvm/tiny_host.c does.
 */
#ifndef EMBED_VM_H
#define EMBED_VM_H

#include <stdbool.h>
#include <stdint.h>

#include <sevmirror/helper.h>
#include <sevmirror/host.h>

#include "vcpu.h"

#define VM_VCPUS_MAX 16

/* Three pages of guest memory, which the guest leaves alone: they map all of it one to one. */
#define VM_TABLES_GPA 0x10000ULL

struct vm;

struct vm_guest {
	const char *name; /* source and target must run the same */

	/* Write the guest's program into RAM, which is all zeros. 0 or a negative errno. */
	int (*load)(struct vm *vm);

	/*
	 * Where a vCPU begins. regs: zeros, and sregs: 64-bit mode in ring 3 on the page tables
	 * above.
	 */
	void (*enter)(struct vm *vm, uint32_t index, struct kvm_regs *regs,
		      struct kvm_sregs *sregs);

	vcpu_exit_fn exit;
};

struct vm {
	const struct vm_guest *guest;
	int kvm_fd, vm_fd, ram_fd;
	uint64_t ram_bytes;
	uint8_t *ram; /* NULL: it has no memory yet */
	struct sevmirror_helper_region region;
	struct sevmirror_helper_memory helper; /* region.bytes */
	uint32_t nvcpus;
	struct vcpu vcpu[VM_VCPUS_MAX];
	bool running;
	bool gone; /* the guest was handed to the other host */
};

/* What the library calls; its opaque is a struct vm. */
extern const struct sevmirror_host_ops vm_ops;

/* A VM without memory: vm_launch() or a migration that arrives gives it some. */
void vm_init(struct vm *vm, const struct vm_guest *guest);
void vm_destroy(struct vm *vm);

/*
 * Start the guest. ram_bytes: a multiple of 2 MiB, from 16 MiB to 1 GiB. 0 or a negative errno;
 * then there is still vm_destroy() to call.
 */
int vm_launch(struct vm *vm, uint64_t ram_bytes, uint32_t nvcpus);

#endif
