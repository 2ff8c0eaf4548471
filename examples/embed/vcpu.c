/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vcpu.h"

#define KICK_SIGNAL   SIGUSR1
#define CPUID_ENTRIES 256
#define THROTTLE_NS   10000000ULL /* its period */

static void on_kick(int signal)
{
	(void)signal;
}

/* The guest sees the CPU that this host has. */
static int set_cpuid(int kvm_fd, int vcpu_fd)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	int err = 0;

	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) || ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid))
		err = -errno;
	free(cpuid);
	return err;
}

int vcpu_create(struct vcpu *vcpu, int kvm_fd, int vm_fd, uint32_t index, vcpu_exit_fn exit)
{
	struct sigaction kick = { .sa_handler = on_kick };
	int bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0UL);

	if (bytes < 0)
		return -errno;
	sigaction(KICK_SIGNAL, &kick, NULL);
	vcpu->index = index;
	vcpu->exit = exit;
	vcpu->run_bytes = (size_t)bytes;
	vcpu->fd = ioctl(vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0)
		return -errno;
	vcpu->run = mmap(NULL, vcpu->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return -errno;
	}
	return set_cpuid(kvm_fd, vcpu->fd);
}

void vcpu_destroy(struct vcpu *vcpu)
{
	vcpu_stop(vcpu);
	if (vcpu->run)
		munmap(vcpu->run, vcpu->run_bytes);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	vcpu->run = NULL;
	vcpu->fd = -1;
}

void vcpu_sleep(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };

	nanosleep(&ts, NULL);
}

static void *run(void *opaque)
{
	struct vcpu *vcpu = opaque;

	while (!atomic_load(&vcpu->stop) && !vcpu->finished) {
		unsigned int percent = atomic_load(&vcpu->throttle);

		if (percent)
			vcpu_sleep(THROTTLE_NS * percent / 100);
		if (ioctl(vcpu->fd, KVM_RUN, 0UL) < 0 && errno != EINTR && errno != EAGAIN) {
			perror("KVM_RUN");
			break;
		}
		/* A kick is no reason of the guest. */
		if (__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_RELAXED) ||
		    vcpu->run->exit_reason == KVM_EXIT_INTR)
			continue;
		vcpu->finished = !vcpu->exit(vcpu);
	}
	return NULL;
}

int vcpu_start(struct vcpu *vcpu)
{
	int err;

	if (vcpu->started)
		return 0;
	atomic_store(&vcpu->stop, false);
	vcpu->run->immediate_exit = 0;
	err = -pthread_create(&vcpu->thread, NULL, run, vcpu);
	vcpu->started = !err;
	return err;
}

void vcpu_request_stop(struct vcpu *vcpu)
{
	if (!vcpu->started)
		return;
	atomic_store(&vcpu->stop, true);
	/* for a kick that comes just before KVM_RUN */
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELAXED);
	pthread_kill(vcpu->thread, KICK_SIGNAL);
}

/*
 * A pending exit (an `out` whose completion KVM owes) must be finished before the registers are
 * read: one KVM_RUN with immediate_exit does that without running the guest (virt/kvm/api.rst,
 * KVM_RUN).
 */
static void complete_exit(struct vcpu *vcpu)
{
	vcpu->run->immediate_exit = 1;
	(void)ioctl(vcpu->fd, KVM_RUN, 0UL);
	vcpu->run->immediate_exit = 0;
}

void vcpu_stop(struct vcpu *vcpu)
{
	struct timespec soon;

	if (!vcpu->started)
		return;
	do {
		vcpu_request_stop(vcpu);
		clock_gettime(CLOCK_MONOTONIC, &soon);
		soon.tv_nsec += 1000000;
		if (soon.tv_nsec >= 1000000000) {
			soon.tv_sec++;
			soon.tv_nsec -= 1000000000;
		}
	} while (pthread_clockjoin_np(vcpu->thread, NULL, CLOCK_MONOTONIC, &soon) == ETIMEDOUT);
	vcpu->started = false;
	complete_exit(vcpu);
}

void vcpu_join(struct vcpu *vcpu)
{
	if (vcpu->started)
		pthread_join(vcpu->thread, NULL);
	vcpu->started = false;
}

void vcpu_throttle(struct vcpu *vcpu, unsigned int percent)
{
	atomic_store(&vcpu->throttle, percent);
}

int vcpu_save(struct vcpu *vcpu, struct vcpu_state *state)
{
	memset(state, 0, sizeof(*state));
	state->finished = vcpu->finished;
	if (ioctl(vcpu->fd, KVM_GET_REGS, &state->regs) ||
	    ioctl(vcpu->fd, KVM_GET_SREGS, &state->sregs) ||
	    ioctl(vcpu->fd, KVM_GET_XSAVE, state->xsave))
		return -errno;
	return 0;
}

int vcpu_load(struct vcpu *vcpu, const struct vcpu_state *state)
{
	vcpu->finished = state->finished;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &state->sregs) ||
	    ioctl(vcpu->fd, KVM_SET_REGS, &state->regs) ||
	    ioctl(vcpu->fd, KVM_SET_XSAVE, state->xsave))
		return -errno;
	return 0;
}
