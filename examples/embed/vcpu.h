/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU: the thread that runs it, how that thread is stopped, and the state as bytes. */
#ifndef EMBED_VCPU_H
#define EMBED_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;

/*
 * The guest left KVM_RUN for a reason of its own (vcpu->run->exit_reason). True: run it on; false:
 * it has ended on this vCPU. On the vCPU's thread.
 */
typedef bool (*vcpu_exit_fn)(struct vcpu *vcpu);

struct vcpu {
	int fd; /* -1: not created */
	uint32_t index;
	struct kvm_run *run;
	size_t run_bytes;
	vcpu_exit_fn exit;
	pthread_t thread;
	bool started;
	bool finished; /* exit() said so */
	atomic_bool stop;
	atomic_uint throttle; /* per cent of the time */
};

/*
 * All that these guests use of a vCPU. A VMM for real guests has MSRs, the local APIC, events and
 * the clock to add.
 */
struct vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint8_t xsave[4096]; /* struct kvm_xsave */
	uint64_t finished;
};

/* 0 or a negative errno. destroy also after a failure, and of one that is only zeroed with fd -1.
 */
int vcpu_create(struct vcpu *vcpu, int kvm_fd, int vm_fd, uint32_t index, vcpu_exit_fn exit);
void vcpu_destroy(struct vcpu *vcpu);

/* 0 or a negative errno. */
int vcpu_start(struct vcpu *vcpu);

/* Ask it to stop, without waiting. */
void vcpu_request_stop(struct vcpu *vcpu);

/* Stop it. Then KVM owes the guest nothing: the registers are complete. */
void vcpu_stop(struct vcpu *vcpu);

/* Wait until the guest has ended on it. */
void vcpu_join(struct vcpu *vcpu);

/* Take this part of the time from it: 0 to 99 per cent. */
void vcpu_throttle(struct vcpu *vcpu, unsigned int percent);

/* While it is stopped. 0 or a negative errno. */
int vcpu_save(struct vcpu *vcpu, struct vcpu_state *state);
int vcpu_load(struct vcpu *vcpu, const struct vcpu_state *state);

/* For exit(), and for throttling: a kick ends it early. */
void vcpu_sleep(uint64_t ns);

#endif
