/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm/dirty_log.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/util/page.h"
#include "vmm/memory.h"
#include "vmm/vm/vm_private.h"

/*
 * KVM's log clears and write-protects as it is read. Its manual mode
 * (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) would put the protecting off to when a page is about to be
 * sent; a round here takes its whole bitmap at once, so there is no such moment.
 */
int dirty_log_start(struct vm *vm)
{
	int err = guest_memory_log_start(vm->memory);

	return err ? err : vm_set_memslots(vm, KVM_MEM_LOG_DIRTY_PAGES);
}

void dirty_log_stop(struct vm *vm)
{
	vm_set_memslots(vm, 0);
	guest_memory_log_stop(vm->memory);
}

static int fetch_slot(struct vm *vm, uint32_t slot, uint64_t *log, uint64_t *bitmap, size_t words)
{
	struct kvm_dirty_log arg = { .slot = slot, .dirty_bitmap = log };
	size_t i;

	memset(log, 0, words * sizeof(*log));
	if (ioctl(vm->vm_fd, KVM_GET_DIRTY_LOG, &arg) < 0)
		return -errno;
	for (i = 0; i < words; i++)
		bitmap[i] |= log[i];
	return 0;
}

int dirty_log_fetch(struct vm *vm, uint64_t *bitmap, size_t npages)
{
	struct sevmirror_ram_range ranges[GUEST_MEMORY_RANGES];
	unsigned int i, n = guest_memory_ranges(vm->memory, ranges);
	uint64_t *log;
	int err = 0;

	if (npages != guest_memory_bytes(vm->memory) >> PAGE_SHIFT)
		return -EINVAL;
	log = malloc(npages / WORD_BITS * sizeof(*log));
	if (!log)
		return -ENOMEM;
	/* RAM is in units of 2 MiB, so each range begins with a word of its own. */
	for (i = 0; !err && i < n; i++)
		err = fetch_slot(vm, i, log, bitmap + (ranges[i].offset >> PAGE_SHIFT) / WORD_BITS,
				 (ranges[i].bytes >> PAGE_SHIFT) / WORD_BITS);
	guest_memory_log_fetch(vm->memory, bitmap);
	free(log);
	return err;
}
