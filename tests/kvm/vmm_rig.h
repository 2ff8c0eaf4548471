/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A payload guest on this machine's /dev/kvm for the tests of vmm/vm.
 */
#ifndef TESTS_KVM_VMM_RIG_H
#define TESTS_KVM_VMM_RIG_H

#include "tests/unit/cmocka_all.h"

#include "payloads/sdk/payload.h"
#include "launch/image.h"
#include "vmm/vm/vm.h"

#define RIG_MEMORY (64ULL << 20)

/* Skips the test, saying why, when there is no usable /dev/kvm. */
void rig_need_kvm(void);

/* A VM for payloads, without an image. */
struct vm *rig_vm(unsigned int cpus, uint64_t memory_bytes);

/*
 * Launched from the ELF that the environment variable names, and its vCPU threads made; not running
 * yet.
 */
struct vm *rig_payload(const char *variable, unsigned int cpus, const uint64_t args[PAYLOAD_ARGS]);
void rig_launch(struct vm *vm, unsigned int cpus, struct launch_blob elf,
		const uint64_t args[PAYLOAD_ARGS]);

/* Wait until the guest has come to its end. */
enum vm_end rig_end(struct vm *vm);

/* Wait until vCPU cpu's heartbeat has gone up by n; the guest must not end meanwhile. */
void rig_wait_heartbeats(struct vm *vm, unsigned int cpu, uint64_t n);

/* Tell the payload to finish. */
void rig_tell_stop(struct vm *vm);

struct launch_blob rig_read(const char *variable);

#endif
