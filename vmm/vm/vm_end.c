/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a guest comes to its end, from whatever thread notices first.
 */
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "vmm/vm/vm_private.h"

void vm_ended(struct vm *vm, enum vm_end end, const char *format, ...)
{
	va_list args;
	unsigned int i;

	pthread_mutex_lock(&vm->lock);
	if (vm->end == VM_RUNS) {
		if (format) {
			va_start(args, format);
			vsnprintf(vm->report, sizeof(vm->report), format, args);
			va_end(args);
		}
		vm->want = WANT_STOP;
		vm->end = end;
		for (i = 0; i < vm->nvcpus; i++)
			vcpu_kick(&vm->vcpus[i]);
		pthread_cond_broadcast(&vm->changed);
		eventfd_write(vm->end_fd, 1);
	}
	pthread_mutex_unlock(&vm->lock);
}

void vm_stop(struct vm *vm)
{
	vm_ended(vm, VM_STOPPED, NULL);
}

void vm_gone(struct vm *vm)
{
	vm_ended(vm, VM_MIGRATED, NULL);
	/*
	 * Also if somebody wanted it stopped in the same moment: it continues elsewhere
	 * nevertheless.
	 */
	pthread_mutex_lock(&vm->lock);
	vm->end = VM_MIGRATED;
	pthread_mutex_unlock(&vm->lock);
}

int vm_end_fd(const struct vm *vm)
{
	return vm->end_fd;
}

enum vm_end vm_end(const struct vm *vm)
{
	return vm->end;
}

const char *vm_end_report(const struct vm *vm)
{
	return vm->report;
}
