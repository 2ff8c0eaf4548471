/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slowing the guest down: in each period a thread of its own takes the vCPUs out of the guest,
 * keeps them out for their part of it, and lets them continue.
 */
#include <errno.h>

#include "lib/util/clock.h"
#include "vmm/thread.h"
#include "vmm/vm/vm_private.h"

#define PERIOD_NS (50 * NS_PER_MS)

/* With the lock held: wait so long, or until the throttle ends. */
static void wait_part(struct vm *vm, unsigned int percent)
{
	uint64_t until = clock_ns() + PERIOD_NS / 100 * percent;

	while (vm->throttle_percent && vm->want != WANT_STOP &&
	       clock_cond_wait(&vm->changed, &vm->lock, until) != -ETIMEDOUT)
		;
}

static void *throttle(void *arg)
{
	struct vm *vm = arg;
	unsigned int percent, i;

	vmm_thread_enter(VMM_THREAD_PLAIN, "throttle");
	pthread_mutex_lock(&vm->lock);
	while (vm->throttle_percent && vm->want != WANT_STOP) {
		percent = vm->throttle_percent;
		vm->throttled = true;
		for (i = 0; vm->want == WANT_RUN && i < vm->nvcpus; i++)
			vcpu_kick(&vm->vcpus[i]);
		wait_part(vm, percent);
		vm->throttled = false;
		pthread_cond_broadcast(&vm->changed);
		wait_part(vm, 100 - percent);
	}
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

int vm_throttle(struct vm *vm, unsigned int percent)
{
	int err;

	if (percent > 99)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	vm->throttle_percent = percent;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	if (percent && !vm->throttle_made) {
		err = pthread_create(&vm->throttle_thread, NULL, throttle, vm);
		if (err) {
			vm->throttle_percent = 0;
			return -err;
		}
		vm->throttle_made = true;
	}
	if (!percent && vm->throttle_made) {
		pthread_join(vm->throttle_thread, NULL);
		vm->throttle_made = false;
	}
	return 0;
}
