/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU of the tiny host: a thread that runs a payload in ring 3 and answers its doorbell. */
#ifndef TESTS_KVM_TINY_VCPU_H
#define TESTS_KVM_TINY_VCPU_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/kvm.h>

struct tiny_vcpu;

struct tiny_entry {
	uint64_t cr3, tss, rip, params;
};

struct tiny_vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint8_t xsave[4096]; /* struct kvm_xsave */
	uint64_t finished;
};

/* All: 0 or a negative errno. A vCPU is entered, saved and loaded only while it is stopped. */
int tiny_vcpu_create(struct tiny_vcpu **vcpu, int kvm_fd, int vm_fd, uint32_t index);
void tiny_vcpu_destroy(struct tiny_vcpu *vcpu);
int tiny_vcpu_enter(struct tiny_vcpu *vcpu, const struct tiny_entry *entry);
int tiny_vcpu_start(struct tiny_vcpu *vcpu);
void tiny_vcpu_stop(struct tiny_vcpu *vcpu);
int tiny_vcpu_save(struct tiny_vcpu *vcpu, struct tiny_vcpu_state *state);
int tiny_vcpu_load(struct tiny_vcpu *vcpu, const struct tiny_vcpu_state *state);

/* Ask it to stop, once or again and again, without waiting. */
void tiny_vcpu_request_stop(struct tiny_vcpu *vcpu);

/* Wait until the payload has finished on this vCPU by itself. */
void tiny_vcpu_join(struct tiny_vcpu *vcpu);
void tiny_vcpu_throttle(struct tiny_vcpu *vcpu, unsigned int percent);
uint64_t tiny_vcpu_tsc_khz(struct tiny_vcpu *vcpu);

#endif
