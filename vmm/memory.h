/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM: one memfd, mapped once for the primary. RAM below the 32-bit hole starts at
 * guest-physical 0, the rest at 4 GiB; the memfd holds both parts one after the other, so offset
 * and guest-physical address differ above the hole only.
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sevmirror/host.h>

struct guest_memory;
struct util_map_watch;

/*
 * Create bytes of RAM (a multiple of 2 MiB; hugepages: backed by 2 MiB hugetlb pages). 0 or a
 * negative errno. guest_memory_destroy() unmaps and closes; NULL is allowed.
 */
int guest_memory_create(struct guest_memory **memory, uint64_t bytes, bool hugepages);
void guest_memory_destroy(struct guest_memory *memory);

/*
 * Allocate all of it now; large: in 2 MiB pages where the kernel has them, which keep the mirror's
 * page faults out of a migration. Best effort. 0, or -ECANCELED (lib/util/map.h).
 */
int guest_memory_commit(struct guest_memory *memory, bool large,
			const struct util_map_watch *watch);

uint64_t guest_memory_bytes(const struct guest_memory *memory);
int guest_memory_fd(const struct guest_memory *memory);

/*
 * The parts by gpa, ascending; their offsets follow one another without a gap. Returns how many
 * there are.
 */
#define GUEST_MEMORY_RANGES 2
unsigned int guest_memory_ranges(const struct guest_memory *memory,
				 struct sevmirror_ram_range ranges[GUEST_MEMORY_RANGES]);

/*
 * Host address of the guest-physical range [gpa, gpa + len), or NULL when any byte of it is not RAM
 * or the range wraps. The range is contiguous in host memory. Safe for any gpa and len, so it is
 * the bounds check for what a guest names. The guest may change the bytes at any time: copy once,
 * then check.
 */
void *guest_memory_hva(const struct guest_memory *memory, uint64_t gpa, uint64_t len);

/*
 * Say that the VMM wrote the range (device models do so after each write to guest RAM). KVM's dirty
 * log does not see such writes; migration ORs them in. Any thread. Cheap when no log is armed.
 */
void guest_memory_mark_dirty(struct guest_memory *memory, uint64_t gpa, uint64_t len);

/*
 * The log behind guest_memory_mark_dirty(): one bit a page of the memfd, in
 * guest_memory_log_words() words. start arms it with all clear (0 or -ENOMEM), fetch ORs what was
 * marked into bitmap and clears it. One caller at a time; marking continues meanwhile.
 */
int guest_memory_log_start(struct guest_memory *memory);
void guest_memory_log_stop(struct guest_memory *memory);
size_t guest_memory_log_words(const struct guest_memory *memory);
void guest_memory_log_fetch(struct guest_memory *memory, uint64_t *bitmap);

#endif
