/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread a vCPU: it runs the guest, or it is parked. A vCPU is parked only after KVM_RUN came
 * back with EINTR, because only then nothing of its last exit is pending inside KVM, and its
 * registers are what a save must see.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/util/clock.h"
#include "vmm/thread.h"
#include "vmm/vm/cpuid.h"
#include "vmm/vm/vm_private.h"

/*
 * KVM takes a frequency that is off by so much for its own (its module parameter
 * tsc_tolerance_ppm).
 */
#define TSC_TOLERANCE_PPM 250

/*
 * The TSC is to run as it did where the guest comes from. KVM's "catch-up" mode for slower hosts
 * would let it jump, so it is refused.
 */
static int set_tsc_khz(struct vcpu *vcpu, uint64_t khz, struct why *why)
{
	int host = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	uint64_t difference = host > 0 ? (uint64_t)llabs((long long)khz - host) : khz;

	if (khz > INT32_MAX ||
	    (difference > khz * TSC_TOLERANCE_PPM / 1000000 &&
	     ioctl(vcpu->vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) <= 0))
		return why_set(
			why, -ENODEV,
			"the guest's TSC runs at %llu kHz, this host's at %d kHz, and its CPU "
			"cannot scale it",
			(unsigned long long)khz, host);
	if (ioctl(vcpu->fd, KVM_SET_TSC_KHZ, (unsigned long)khz) < 0)
		return why_errno(why, "KVM does not take the guest's TSC frequency of %llu kHz",
				 (unsigned long long)khz);
	return 0;
}

int vcpu_create(struct vcpu *vcpu, struct vm *vm, unsigned int index, struct why *why)
{
	union guest_cpuid cpuid;

	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0)
		return why_errno(why, "cannot create CPU %u (KVM_CREATE_VCPU)", index);
	vcpu->run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return why_errno(why, "cannot map the kvm_run of CPU %u", index);
	}
	/* Before KVM_SET_SREGS: KVM checks CR3's C-bit against it. */
	memcpy(&cpuid, vm->cpuid, sizeof(cpuid));
	guest_cpuid_place(&cpuid, index, vm->config.cpus);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, &cpuid) < 0)
		return why_errno(why, "KVM_SET_CPUID2");
	return vm->config.tsc_khz ? set_tsc_khz(vcpu, vm->config.tsc_khz, why) : 0;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->run_bytes);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
}

static void set_immediate_exit(struct vcpu *vcpu, uint8_t value)
{
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

void vcpu_kick(struct vcpu *vcpu)
{
	/* Set first: a signal that arrives before KVM_RUN would otherwise be lost. */
	set_immediate_exit(vcpu, 1);
	if (vcpu->thread_made)
		pthread_kill(vcpu->thread, VCPU_SIGNAL);
}

void vcpu_sleep(struct vcpu *vcpu, uint64_t nanoseconds)
{
	struct vm *vm = vcpu->vm;
	uint64_t until = clock_ns() + nanoseconds;

	pthread_mutex_lock(&vm->lock);
	while (vm->want == WANT_RUN &&
	       clock_cond_wait(&vm->changed, &vm->lock, until) != -ETIMEDOUT)
		;
	pthread_mutex_unlock(&vm->lock);
}

/* Stay here while the vCPU is not to run. False: its thread is to end. */
static bool may_run(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	bool run;

	pthread_mutex_lock(&vm->lock);
	while (vm->want == WANT_PAUSE || (vm->want == WANT_RUN && (vcpu->done || vm->throttled))) {
		if (!vcpu->parked) {
			vcpu->parked = true;
			pthread_cond_broadcast(&vm->changed);
		}
		pthread_cond_wait(&vm->changed, &vm->lock);
	}
	run = vm->want == WANT_RUN;
	vcpu->parked = !run;
	if (run)
		set_immediate_exit(vcpu, 0);
	else
		pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	return run;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	vmm_thread_enter(VMM_THREAD_VCPU, name);
	for (;;) {
		if (!may_run(vcpu))
			return NULL;
		do {
			if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
				/* EAGAIN: a CPU that waits for INIT was woken for nothing. */
				if (errno == EINTR || errno == EAGAIN) {
					vcpu_count(vcpu, VM_EXIT_INTERRUPTED);
					vm_take_coalesced(vcpu->vm);
					break;
				}
				vm_ended(vcpu->vm, VM_FAILED, "CPU %u: KVM_RUN: %s", vcpu->index,
					 strerror(errno));
				return NULL;
			}
		} while (vcpu_exit(vcpu));
		if (vm_end(vcpu->vm) != VM_RUNS)
			return NULL;
	}
}

int vcpu_start(struct vcpu *vcpu, struct why *why)
{
	sigset_t all_but_ours, before;
	int err;

	/* Signals to the process are for its main thread; a vCPU thread hears only the kick. */
	sigfillset(&all_but_ours);
	sigdelset(&all_but_ours, VCPU_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &all_but_ours, &before);
	err = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return why_set(why, -err,
			       "cannot start the thread of CPU %u: "
			       "%s",
			       vcpu->index, strerror(err));
	vcpu->thread_made = true;
	return 0;
}

void vcpu_join(struct vcpu *vcpu)
{
	if (!vcpu->thread_made)
		return;
	pthread_join(vcpu->thread, NULL);
	vcpu->thread_made = false;
}
