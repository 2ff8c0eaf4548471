/* SPDX-License-Identifier: Apache-2.0 */
/* Small KVM VMs for the tests: guest code from guest.S, memory in a memfd, SEV by raw ioctls. */
#ifndef TESTS_EMULATED_VM_H
#define TESTS_EMULATED_VM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/emulated/guest.h"
#include "tests/emulated/sev.h"

#define VM_MAX_VCPUS 8

/* The host's devices and the C-bit's place (CPUID 8000001F EBX[5:0]). */
struct host {
	int kvm_fd;
	int sev_fd;
	int c_bit;
};

struct vcpu {
	int fd;
	struct kvm_run *run;
	size_t run_bytes;
};

struct vm {
	struct host *host;
	uint8_t *mem; /* GUEST_BYTES of it */
	uint64_t c_mask; /* 0 for a plain VM */
	struct vcpu vcpus[VM_MAX_VCPUS];
	int nvcpus;
	int fd;
	int mem_fd; /* guest RAM; shared with mirrors */
	bool quiet; /* say nothing about unexpected exits */
};

/* How a guest function ended, and what it said. */
struct outcome {
	int reason; /* KVM_EXIT_*; KVM_EXIT_HLT is the good end; -errno if KVM_RUN failed */
	size_t nbytes;
	uint8_t bytes[4096];
	int nwords;
	uint32_t words[16];
	uint64_t mmio_gpa; /* of the last MMIO write */
	uint32_t mmio_value;
};

/* Up to five arguments of a guest function: RDI, RSI, RDX, RCX, R8. */
struct call {
	const unsigned char *function;
	uint64_t rdi, rsi, rdx, rcx, r8;
};

/* Open /dev/kvm and /dev/sev and read the C-bit. Exits with a message when this is no SEV host. */
void host_open(struct host *host);
void host_close(struct host *host);

/*
 * A VM with GUEST_BYTES of zeroed memory at GPA 0; or over share's memory (a mirror). false with a
 * message on stderr.
 */
bool vm_create(struct host *host, struct vm *vm, const struct vm *share);
/*
 * Closes the VM's fd and vCPUs. The memory stays mapped until vm_destroy(), which does both; either
 * may be called twice.
 */
void vm_close(struct vm *vm);
void vm_destroy(struct vm *vm);

/* Copy guest.S and the page tables (private under c_mask) and a secret string into the memory. */
void vm_load(struct vm *vm, bool sev, const char *secret);

/*
 * Register the memory (pinned) and run the whole launch: SEV_INIT to LAUNCH_FINISH. The first
 * failure is returned.
 */
struct sev_result vm_launch(struct vm *vm, uint32_t policy);
/* The launch's single steps, for the tests that stop between them. */
struct sev_result vm_sev(struct vm *vm, uint32_t id, void *data);
struct sev_result vm_launch_begin(struct vm *vm,
				  uint32_t policy); /* INIT, REG_REGION, LAUNCH_START */
struct sev_result vm_launch_update(struct vm *vm); /* the launch image */
struct sev_result vm_launch_measure(struct vm *vm, uint8_t blob[SEV_MEASURE_BYTES]);
/* Load, launch and add one vCPU: a running guest. Plain without SEV if policy is VM_PLAIN. */
#define VM_PLAIN UINT32_MAX
bool vm_start(struct host *host, struct vm *vm, uint32_t policy, const char *secret);

/* 0 or errno. */
int vm_pin(struct vm *vm, bool pinned);
int vm_slot(struct vm *vm, int slot, uint64_t gpa, void *mem, size_t bytes, uint32_t flags);
int vm_add_vcpu(struct vm *vm);
int vm_mirror_of(struct vm *mirror, int source_fd);
int vm_move_from(struct vm *vm, int source_fd); /* KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM */
/* A mirror over the same memory, with one vCPU, ready for calls. */
bool vm_start_mirror(struct vm *mirror, const struct vm *primary);

/* Run a guest function on a vCPU until it halts (or fails). */
void vm_call(struct vm *vm, int vcpu, const struct call *call, struct outcome *outcome);
/* The same, checked: it halted; how many words/bytes it said is for the caller. */
bool vm_do(struct vm *vm, const struct call *call);
/* Read guest-virtual memory through the guest's eyes (at most 4096 bytes). */
bool vm_read(struct vm *vm, uint64_t gva, void *buf, size_t bytes);
/* A function that returns one word: that word, or UINT32_MAX. */
uint32_t vm_ask(struct vm *vm, const struct call *call);

enum guest_state vm_state(struct vm *vm);
/* The attestation report with this nonce; the launch digest in it. */
#define REPORT_DIGEST_AT    16
#define REPORT_DIGEST_BYTES 32
struct sev_result vm_report(struct vm *vm, uint8_t nonce, uint8_t report[SEV_REPORT_BYTES]);

#endif
