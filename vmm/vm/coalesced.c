/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes of the guest that KVM collects in a ring instead of leaving the guest for each (Linux
 * Documentation/virt/kvm/api.rst, KVM_REGISTER_COALESCED_MMIO and KVM_CAP_COALESCED_PIO). KVM
 * serializes the vCPUs that add to the ring; the VM is the only one that takes from it. A full ring
 * is an exit as usual.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/bus.h"
#include "vmm/vm/vm_private.h"

/* The ring's page, by its offset into each vCPU's kvm_run, and how many entries fit into it. */
static struct kvm_coalesced_mmio_ring *ring_of(const struct vm *vm)
{
	return (void *)((uint8_t *)vm->vcpus[0].run +
			vm->coalesced_page * (size_t)sysconf(_SC_PAGESIZE));
}

static uint32_t ring_entries(void)
{
	return (uint32_t)(((size_t)sysconf(_SC_PAGESIZE) - sizeof(struct kvm_coalesced_mmio_ring)) /
			  sizeof(struct kvm_coalesced_mmio));
}

int vm_coalesce_port(struct vm *vm, uint16_t port)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = port, .size = 1, .pio = 1 };
	int page = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

	if (page <= 0 || ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0 ||
	    ((size_t)page + 1) * (size_t)sysconf(_SC_PAGESIZE) > vm->run_bytes)
		return -ENOSYS;
	if (ioctl(vm->vm_fd, KVM_REGISTER_COALESCED_MMIO, &zone) < 0)
		return -errno;
	vm->coalesced_page = (unsigned int)page;
	return 0;
}

void vm_take_coalesced(struct vm *vm)
{
	struct kvm_coalesced_mmio_ring *ring;
	uint32_t first, last, entries = ring_entries();

	if (!vm->coalesced_page)
		return;
	ring = ring_of(vm);
	if (__atomic_load_n(&ring->first, __ATOMIC_ACQUIRE) ==
	    __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&vm->coalesced_lock);
	first = ring->first;
	last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
	while (first != last && first < entries && last < entries) {
		struct kvm_coalesced_mmio entry = ring->coalesced_mmio[first];

		if (entry.len && entry.len <= sizeof(entry.data))
			bus_write(vm->bus, entry.pio ? BUS_PIO : BUS_MMIO, entry.phys_addr,
				  entry.data, entry.len);
		first = (first + 1) % entries;
		__atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&vm->coalesced_lock);
}
