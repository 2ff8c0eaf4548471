/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of guest memory were written: by the guest (KVM's log), by the VMM's devices, or made
 * another kind. A page has the number that its offset in guest memory's file gives it.
 */
#ifndef VMM_VM_DIRTY_LOG_H
#define VMM_VM_DIRTY_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/vm/vm.h"

/*
 * start: arm, nothing is dirty. fetch: OR what was written since into bitmap, of npages bits, and
 * begin again; -EINVAL when the guest has not npages pages. Both 0 or a negative errno. One caller
 * at a time; vCPUs and devices may run.
 */
int dirty_log_start(struct vm *vm);
int dirty_log_fetch(struct vm *vm, uint64_t *bitmap, size_t npages);
void dirty_log_stop(struct vm *vm);

#endif
