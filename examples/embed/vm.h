/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest VM that libsevmirror can move: one vCPU, no devices, no SEV. Its guest is a few
 * instructions that run in ring 3, count, and stamp each page of a working area with the count, so
 * that everybody can tell whether every page arrived as it was last.
 */
#ifndef EMBED_VM_H
#define EMBED_VM_H

#include <stdbool.h>
#include <stdint.h>

#include <sevmirror/host.h>

struct vm;

/* What the library calls; its opaque is a struct vm. */
extern const struct sevmirror_host_ops vm_ops;

/*
 * A VM without memory: vm_launch() or a migration that arrives gives it some. NULL: out of memory.
 */
struct vm *vm_new(void);
void vm_free(struct vm *vm);

/* Start the guest anew. 0 or a negative errno. */
int vm_launch(struct vm *vm, uint64_t ram_bytes);

/* How far the guest has counted. */
uint64_t vm_count(const struct vm *vm);

/*
 * Stop the guest for good and look at every stamp. True if each page has the last count that the
 * guest can have put there.
 */
bool vm_check(struct vm *vm);

/* The guest was handed to the other host. */
bool vm_gone(const struct vm *vm);

#endif
