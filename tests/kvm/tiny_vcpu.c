/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/tiny_vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "payloads/sdk/payload.h"

#define KICK_SIGNAL   SIGUSR1
#define CPUID_ENTRIES 256
#define THROTTLE_NS   10000000ULL

struct tiny_vcpu {
	int fd;
	uint32_t index;
	struct kvm_run *run;
	size_t run_bytes;
	pthread_t thread;
	bool started;
	atomic_bool stop;
	atomic_uint throttle;
	bool finished;
};

static void on_kick(int signal)
{
	(void)signal;
}

int tiny_vcpu_create(struct tiny_vcpu **out, int kvm_fd, int vm_fd, uint32_t index)
{
	struct sigaction kick = { .sa_handler = on_kick };
	struct tiny_vcpu *v = calloc(1, sizeof(*v));
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	int bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	int err = 0;

	*out = v;
	if (!v || !cpuid || bytes < 0) {
		free(cpuid);
		return -ENOMEM;
	}
	sigaction(KICK_SIGNAL, &kick, NULL);
	cpuid->nent = CPUID_ENTRIES;
	v->index = index;
	v->run = MAP_FAILED;
	v->run_bytes = (size_t)bytes;
	v->fd = ioctl(vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (v->fd < 0 || ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) ||
	    ioctl(v->fd, KVM_SET_CPUID2, cpuid))
		err = -errno;
	if (!err)
		v->run = mmap(NULL, v->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (!err && v->run == MAP_FAILED)
		err = -errno;
	free(cpuid);
	return err;
}

void tiny_vcpu_destroy(struct tiny_vcpu *v)
{
	if (!v)
		return;
	tiny_vcpu_stop(v);
	if (v->run != MAP_FAILED)
		munmap(v->run, v->run_bytes);
	if (v->fd >= 0)
		close(v->fd);
	free(v);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code, bool system)
{
	return (struct kvm_segment){ .limit = 0xffffffff,
				     .selector = selector,
				     .type = type,
				     .present = 1,
				     .dpl = system ? 0 : 3,
				     .s = !system,
				     .l = code,
				     .db = !code && !system,
				     .g = !system };
}

int tiny_vcpu_enter(struct tiny_vcpu *v, const struct tiny_entry *entry)
{
	struct kvm_regs regs = {
		.rip = entry->rip, .rdi = entry->params, .rsi = v->index, .rflags = 2
	};
	struct kvm_sregs s;

	if (ioctl(v->fd, KVM_GET_SREGS, &s))
		return -errno;
	s.cs = segment(0x33, 11, true, false);
	s.ss = s.ds = s.es = s.fs = s.gs = segment(0x2b, 3, false, false);
	s.tr = segment(0x40, 11, false, true);
	s.tr.base = entry->tss;
	s.tr.limit = 0x2fff;
	s.cr0 = 0x80050033;
	s.cr4 = 0x620;
	s.cr3 = entry->cr3;
	s.efer = 0xd01;
	if (ioctl(v->fd, KVM_SET_SREGS, &s) || ioctl(v->fd, KVM_SET_REGS, &regs))
		return -errno;
	return 0;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };

	nanosleep(&ts, NULL); /* a kick ends it early */
}

/* The payload rang. False when it has finished on this vCPU. */
static bool answer_bell(struct tiny_vcpu *v)
{
	uint32_t bell = *(uint32_t *)((char *)v->run + v->run->io.data_offset);
	struct kvm_regs regs;

	if (bell == PAYLOAD_BELL_EXIT)
		return false;
	if (bell == PAYLOAD_BELL_SLEEP && ioctl(v->fd, KVM_GET_REGS, &regs) == 0 &&
	    !atomic_load(&v->stop))
		sleep_ns((regs.rdi < 10000 ? regs.rdi : 10000) * 1000);
	return true;
}

static void *run(void *arg)
{
	struct tiny_vcpu *v = arg;

	while (!atomic_load(&v->stop) && !v->finished) {
		unsigned int percent = atomic_load(&v->throttle);

		if (percent)
			sleep_ns(THROTTLE_NS * percent / 100);
		if (ioctl(v->fd, KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN) {
			perror("KVM_RUN");
			return NULL;
		}
		if (__atomic_load_n(&v->run->immediate_exit, __ATOMIC_RELAXED) ||
		    v->run->exit_reason == KVM_EXIT_INTR)
			continue;
		if (v->run->exit_reason == KVM_EXIT_IO &&
		    v->run->io.port == PAYLOAD_DOORBELL_PORT) {
			v->finished = !answer_bell(v);
		} else {
			fprintf(stderr, "vCPU %u: exit reason %u\n", v->index, v->run->exit_reason);
			return NULL;
		}
	}
	return NULL;
}

/*
 * A pending exit (an `out` whose completion KVM owes) must be finished before the registers are
 * read: one KVM_RUN with immediate_exit does that without running the guest (virt/kvm/api.rst,
 * KVM_RUN).
 */
static void complete_exit(struct tiny_vcpu *v)
{
	v->run->immediate_exit = 1;
	(void)ioctl(v->fd, KVM_RUN, 0);
	v->run->immediate_exit = 0;
}

int tiny_vcpu_start(struct tiny_vcpu *v)
{
	int err;

	if (v->started)
		return 0;
	atomic_store(&v->stop, false);
	v->run->immediate_exit = 0;
	err = -pthread_create(&v->thread, NULL, run, v);
	v->started = !err;
	return err;
}

void tiny_vcpu_request_stop(struct tiny_vcpu *v)
{
	if (!v->started)
		return;
	atomic_store(&v->stop, true);
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELAXED);
	pthread_kill(v->thread, KICK_SIGNAL);
}

void tiny_vcpu_stop(struct tiny_vcpu *v)
{
	struct timespec soon;

	if (!v->started)
		return;
	do {
		tiny_vcpu_request_stop(v);
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_nsec += 1000000;
		if (soon.tv_nsec >= 1000000000) {
			soon.tv_sec++;
			soon.tv_nsec -= 1000000000;
		}
	} while (pthread_timedjoin_np(v->thread, NULL, &soon) == ETIMEDOUT);
	v->started = false;
	complete_exit(v);
}

void tiny_vcpu_join(struct tiny_vcpu *v)
{
	if (v->started)
		pthread_join(v->thread, NULL);
	v->started = false;
}

int tiny_vcpu_save(struct tiny_vcpu *v, struct tiny_vcpu_state *state)
{
	memset(state, 0, sizeof(*state));
	state->finished = v->finished;
	if (ioctl(v->fd, KVM_GET_REGS, &state->regs) ||
	    ioctl(v->fd, KVM_GET_SREGS, &state->sregs) || ioctl(v->fd, KVM_GET_XSAVE, state->xsave))
		return -errno;
	return 0;
}

int tiny_vcpu_load(struct tiny_vcpu *v, const struct tiny_vcpu_state *state)
{
	v->finished = state->finished;
	if (ioctl(v->fd, KVM_SET_SREGS, &state->sregs) ||
	    ioctl(v->fd, KVM_SET_REGS, &state->regs) || ioctl(v->fd, KVM_SET_XSAVE, state->xsave))
		return -errno;
	return 0;
}

void tiny_vcpu_throttle(struct tiny_vcpu *v, unsigned int percent)
{
	atomic_store(&v->throttle, percent);
}

uint64_t tiny_vcpu_tsc_khz(struct tiny_vcpu *v)
{
	long khz = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);

	return khz > 0 ? (uint64_t)khz : 0;
}
