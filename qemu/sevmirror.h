/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What QEMU's own code calls of sevmirror: each function is one hook of hooks.patch. All of them do
 * nothing, or say that nothing is to be done, unless the machine is a plain SEV guest (no SEV-ES,
 * no SEV-SNP) with a sevmirror-helper object.
 */
#ifndef SYSTEM_SEVMIRROR_H
#define SYSTEM_SEVMIRROR_H

#include "qapi/qapi-types-migration.h"

struct kvm_run;
typedef struct ArchCPU X86CPU;

/* target/i386/kvm/kvm.c: CPUID leaf KVM_CPUID_FEATURES, EAX: bits that KVM itself never offers. */
uint32_t sevmirror_kvm_features(void);

/*
 * target/i386/kvm/kvm.c: KVM_EXIT_HYPERCALL. False: it is not ours. The guest's answer is in run.
 */
bool sevmirror_hypercall(struct kvm_run *run);

/* target/i386/kvm/kvm.c: MSR_KVM_MIGRATION_CONTROL. False: the guest gets #GP. */
bool sevmirror_rdmsr(X86CPU *cpu, uint32_t msr, uint64_t *value);
bool sevmirror_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t value);

/*
 * target/i386/sev.c, as the guest starts to run: the reason why this guest can never be migrated,
 * for a migration blocker, or NULL.
 */
Error *sevmirror_blocker(void);

/* migration/migration.c: whether the guest may be sent to address. Always true without SEV. */
bool sevmirror_check_address(const MigrationAddress *address, Error **errp);

/*
 * migration/savevm.c, dump/dump.c: an encrypted guest of any kind, with or without a helper, and
 * something that reads or writes its memory as if it were in clear. what is a noun and a verb:
 * "a snapshot cannot be saved". True when there is no encryption.
 */
bool sevmirror_allows(const char *what, Error **errp);

#endif
