/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM without its memory, as bytes: vCPUs, interrupt controllers, timers, the page map, the
 * devices. What a migration carries, so a load does not trust the bytes: every length is checked
 * here, every value by KVM or by the device it belongs to.
 */
#ifndef VMM_VM_VM_STATE_H
#define VMM_VM_VM_STATE_H

#include "vmm/vm/vm.h"

#define VM_STATE_MAX_BYTES (16u << 20)

/*
 * While the VM is paused (vm_pause()). The caller frees *buf. KVM writes guest memory on the way
 * (steal time): take the last dirty log afterwards.
 */
int vm_state_save(struct vm *vm, uint8_t **buf, size_t *len, struct why *why);

/*
 * Into a VM of the same configuration that has not run yet; its memory must be there as far as KVM
 * touches it (kvm-clock's pages). 0,
 * -EINVAL (bytes that no save wrote), -ENODEV (another configuration), or KVM's error. After an
 *   error the VM is of no use.
 */
int vm_state_load(struct vm *vm, const uint8_t *buf, size_t len, struct why *why);

#endif
