/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Which pages of a guest are private (encrypted under its key) and which it shares with the host,
 * as the guest says by the KVM_HC_MAP_GPA_RANGE hypercall (Linux
 * Documentation/virt/kvm/x86/hypercalls.rst), and whether it is ready to be migrated
 * (MSR_KVM_MIGRATION_CONTROL, Documentation/virt/kvm/x86/msr.rst): a guest that has not said so may
 * have shared pages of which the host does not know. Every page starts private.
 *
 * Reading and changing is lock-free: vCPU threads change the map while migration reads it.
 */
#ifndef SEVMIRROR_PAGEMAP_H
#define SEVMIRROR_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sev_pagemap;

/*
 * A map of the gfns [0, npages). 0, -EINVAL (npages is 0 or more than 2^40) or -ENOMEM. NULL is
 * allowed in destroy.
 */
int sev_pagemap_create(struct sev_pagemap **map, uint64_t npages);
void sev_pagemap_destroy(struct sev_pagemap *map);

uint64_t sev_pagemap_npages(const struct sev_pagemap *map);

/*
 * Called after pages took a kind, from the thread that set it, once for each call of
 * sev_pagemap_hypercall() that named at least one page of the map: the engine marks [gfn, gfn +
 * npages) dirty in its new kind, a host without coherent caches flushes them. Set it before vCPUs
 * run; NULL for none.
 */
typedef void (*sev_pagemap_changed_fn)(void *opaque, uint64_t gfn, uint64_t npages, bool private);
void sev_pagemap_on_change(struct sev_pagemap *map, sev_pagemap_changed_fn changed, void *opaque);

/*
 * Pin [gfn, gfn + npages) to private whatever the guest says (the helper region). Before vCPUs run.
 * 0 or -EINVAL (not in the map). One such range; a second call replaces the first.
 */
int sev_pagemap_set_always_private(struct sev_pagemap *map, uint64_t gfn, uint64_t npages);

/*
 * One KVM_EXIT_HYPERCALL with nr KVM_HC_MAP_GPA_RANGE: args are its arguments 0 to 2 (gpa, npages,
 * attributes). Every value comes from the guest and is checked. Returns what goes back into
 * hypercall.ret: 0, or -EINVAL as KVM gives it (unaligned, empty, wrapping, unknown attributes, a
 * page outside the map), with the map unchanged.
 */
int64_t sev_pagemap_hypercall(struct sev_pagemap *map, const uint64_t args[3]);

/* False for a gfn outside the map. */
bool sev_pagemap_is_private(const struct sev_pagemap *map, uint64_t gfn);

/*
 * The run of pages of one kind that begins at gfn: its length in pages, and its kind in *private. 0
 * when gfn is outside the map. A snapshot, page by page: a page may change while the run is being
 * measured.
 */
uint64_t sev_pagemap_run(const struct sev_pagemap *map, uint64_t gfn, bool *private);

uint64_t sev_pagemap_count_shared(const struct sev_pagemap *map);

/*
 * The guest's MSR_KVM_MIGRATION_CONTROL (KVM hands it to user space, KVM_EXIT_X86_RDMSR/WRMSR).
 * write: 0, or -EINVAL for reserved bits (the guest gets #GP). ready: bit 0, KVM_MIGRATION_READY.
 */
int sev_pagemap_write_migration_control(struct sev_pagemap *map, uint64_t value);
uint64_t sev_pagemap_read_migration_control(const struct sev_pagemap *map);
bool sev_pagemap_migration_ready(const struct sev_pagemap *map);

/*
 * The map as bytes for the vCPU-state part of a migration, and back. Runs of shared pages, so
 * small; both calls while vCPUs are stopped. save: bytes needed; what does not fit in max is not
 * written (call with max 0 to learn the size). load: 0, or -EINVAL for bytes that no save() of a
 * map of this size wrote; the map is then unchanged. on_change is not called.
 */
size_t sev_pagemap_save(const struct sev_pagemap *map, void *buf, size_t max);
int sev_pagemap_load(struct sev_pagemap *map, const void *buf, size_t len);

#endif
