/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* One vCPU of a mirror and its thread. For mirror.c, whose header says what the functions do. */
#ifndef LIB_MIRROR_MIRROR_VCPU_H
#define LIB_MIRROR_MIRROR_VCPU_H

#include "lib/mirror/mirror.h"

struct mirror_vcpu;

int mirror_vcpu_create(struct mirror_vcpu **vcpu, int kvm_fd, int vm_fd, unsigned int index,
		       uint64_t cbit_mask);
void mirror_vcpu_destroy(struct mirror_vcpu *vcpu);
int mirror_vcpu_set(struct mirror_vcpu *vcpu, const struct mirror_entry *entry);
int mirror_vcpu_thread(struct mirror_vcpu *vcpu, void (*begins)(void *opaque), void *begins_opaque,
		       mirror_handler handler, void *opaque);
void mirror_vcpu_end(struct mirror_vcpu *vcpu);
void mirror_vcpu_wait(struct mirror_vcpu *vcpu);
bool mirror_vcpu_park(struct mirror_vcpu *vcpu, bool (*work)(void *opaque), void *opaque);
void mirror_vcpu_wake(struct mirror_vcpu *vcpu);
uint64_t mirror_vcpu_exits(const struct mirror_vcpu *vcpu);
int mirror_vcpu_fd(const struct mirror_vcpu *vcpu);

/*
 * One of KVM's counters of a vCPU ("exits"). -ENOENT if it has none of this name, or what
 * KVM_GET_STATS_FD says.
 */
int mirror_vcpu_counter(int vcpu_fd, const char *name, uint64_t *value);

#endif
