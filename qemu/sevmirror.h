/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What QEMU's own code calls of sevmirror: each function is one hook of hooks.patch. All of them do
 * nothing, or say that nothing is to be done, unless the machine is a plain SEV guest (no SEV-ES,
 * no SEV-SNP) with a sevmirror-helper object.
 */
#ifndef SYSTEM_SEVMIRROR_H
#define SYSTEM_SEVMIRROR_H

#include "qapi/qapi-types-migration.h"

#include "exec/hwaddr.h"
#include "exec/cpu-common.h"

struct kvm_run;
typedef struct ArchCPU X86CPU;
typedef struct MigrationIncomingState MigrationIncomingState;

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
 * target/i386/sev.c: the VM has its encryption context. True: it waits for a guest by migration,
 * and is not to be launched.
 */
bool sevmirror_init(int sev_fd);
/* target/i386/sev.c: this flash is encrypted, or was by the source of the migration. */
void sevmirror_flash(hwaddr gpa, void *hva, uint64_t bytes);
/* target/i386/sev.c, last of all before the launch is measured: launch the helper, or make room. */
void sevmirror_launch(void);
/* Defined in target/i386/sev.c: the guest was received, it needs no launch. */
void sev_guest_received(void);

/*
 * migration/ram.c: save a page as part of a batch if it is private. False: it is not, QEMU saves
 * it. *result: pages saved, or a negative errno.
 */
bool sevmirror_save_page(QEMUFile *f, RAMBlock *block, ram_addr_t offset, int *result);
/* migration/ram.c: send what is under way, at the end of a section. 0 or a negative errno. */
int sevmirror_flush_pages(QEMUFile *f);
/* migration/ram.c: load a batch, from behind its flags on. 0 or a negative errno. */
int sevmirror_load_pages(QEMUFile *f);
#define RAM_SAVE_FLAG_SEVMIRROR 0x400

/*
 * migration/savevm.c, target: the stream has ended. 0, or a negative errno, which f has then, too,
 * if it was not all that an encrypted guest needs.
 */
int sevmirror_loaded(QEMUFile *f);

/* migration/migration.c, source: what the target says by the return path. */
void sevmirror_rp_message(const void *bytes, size_t len);
/* Defined in migration/migration.c, target: say it. 0 or a negative errno. */
int migrate_send_rp_sevmirror(MigrationIncomingState *mis, void *bytes, size_t len);

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
