/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What libsevmirror asks of the VMM that embeds it: one table of callbacks, so that the library
 * never sees a VMM's own types. The reference VMM fills it in service/migrate_host.c; a test embeds
 * the library in a host program of a few hundred lines.
 *
 * Unless said otherwise a callback returns 0 or a negative errno, is called from the migration's
 * control thread, and may block.
 *
 * At the target of a post-copy state_load() and resume() may touch pages that are missing, and then
 * wait for them. They are called from a thread of their own there, and progress() and
 * request_pause() from the control thread meanwhile: these must not need a lock that those two hold
 * while they wait.
 */
#ifndef SEVMIRROR_HOST_H
#define SEVMIRROR_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sev_guest; /* <sevmirror/sev.h> */
struct sev_pagemap; /* <sevmirror/pagemap.h> */

#define SEVMIRROR_PAGE_BYTES	 4096ULL
#define SEVMIRROR_MAX_RAM_RANGES 32

/*
 * A part of guest RAM: [gpa, gpa + bytes) is [offset, offset + bytes) of the memfd, mapped for the
 * primary at hva.
 */
struct sevmirror_ram_range {
	uint64_t gpa;
	uint64_t bytes;
	uint64_t offset;
	int fd;
	void *hva;
};

/*
 * The helper's memory: [offset, offset + bytes) of a memory file that nothing else uses, mapped at
 * hva; bytes are those of sevmirror_helper_place() (<sevmirror/helper.h>). It is no memory of the
 * guest: no memslot of the primary has it.
 */
struct sevmirror_helper_memory {
	int fd;
	uint64_t offset;
	void *hva;
};

/*
 * What the library must know of a VM. The VMM owns everything that is pointed to, for as long as
 * the migration lives.
 */
struct sevmirror_vm {
	const char *name;
	int kvm_fd;
	int vm_fd;
	int sev_fd; /* /dev/sev, or -1 with --sev=off */
	struct sev_guest *sev; /* NULL with --sev=off */
	/*
	 * which pages are private; NULL with --sev=off: then all count as private. state_save()
	 * saves it, too; the source refuses one that leaves less than 2 MiB of a state for the rest
	 */
	struct sev_pagemap *pagemap;
	uint64_t cbit_mask; /* 0 with --sev=off */
	struct sevmirror_helper_memory helper;
	unsigned int nranges;
	/* by gpa, ascending, no overlap */
	struct sevmirror_ram_range ranges[SEVMIRROR_MAX_RAM_RANGES];
};

/* Where a migration is. NONE: none has begun. */
enum sevmirror_phase {
	SEVMIRROR_PHASE_NONE,
	SEVMIRROR_PHASE_CONNECT, /* connection, greeting, checks */
	SEVMIRROR_PHASE_SETUP, /* the helper starts and its core moves */
	SEVMIRROR_PHASE_PRECOPY, /* pages move while the guest runs at the source */
	SEVMIRROR_PHASE_STOP, /* the guest is stopped at the source, the last pages move */
	SEVMIRROR_PHASE_COMMIT, /* the hand-over */
	SEVMIRROR_PHASE_POSTCOPY, /* pages move while the guest runs on the target */
	SEVMIRROR_PHASE_BROKEN, /* post-copy without a connection: waits for recovery */
	SEVMIRROR_PHASE_DONE,
	SEVMIRROR_PHASE_FAILED,
};

#define SEVMIRROR_PHASES (SEVMIRROR_PHASE_FAILED + 1)

/*
 * The phase's name, as events, metrics and reports have it: "none", "connect", "setup", "precopy",
 * "stop", "commit", "postcopy", "broken", "done", "failed"; "unknown" for another number. Never
 * NULL.
 */
const char *sevmirror_phase_name(enum sevmirror_phase phase);

/* The phase of this name: false, and *phase as it was, if there is none. */
bool sevmirror_phase_parse(const char *name, enum sevmirror_phase *phase);

/*
 * The progress of a migration, for people and for the control socket: at each step, and some ten
 * times a second while pages move. Rates are bytes per second, times nanoseconds.
 */
struct sevmirror_progress {
	enum sevmirror_phase phase;
	unsigned int round;
	uint64_t pages_total;
	uint64_t pages_left;
	uint64_t pages_sent;
	uint64_t pages_resent;
	uint64_t bytes_sent;
	uint64_t rate; /* on the wire, now */
	uint64_t dirty_rate; /* in the last full round; 0 in the first one */
	/* had the guest been stopped after the last full round; likewise */
	uint64_t expected_downtime;
	unsigned int throttle; /* per cent of the time taken from the vCPUs */
	uint64_t elapsed;
	uint64_t faults; /* post-copy, target: accesses that had to wait for a page */
	uint64_t fault_p95; /* and how long 95 of 100 of them did at most */
	char reason[256]; /* BROKEN: why the connection ended; else empty */
};

/*
 * Classes of waiting times, two to each power of two: class i has those of at least
 * sevmirror_fault_class_from(i) nanoseconds that are not in the next one. The first ends at 1.5 us,
 * the last begins at 55 min and has all that is longer. i: below SEVMIRROR_FAULT_CLASSES.
 */
#define SEVMIRROR_FAULT_CLASSES 64

uint64_t sevmirror_fault_class_from(unsigned int i);

/*
 * Post-copy in numbers, the same on both sides: the target counts, and tells the source with the
 * last page. Times in nanoseconds. All zero when the guest went over with its memory complete.
 */
struct sevmirror_postcopy {
	uint64_t pages; /* that were missing when the guest stopped at the source */
	uint64_t faults; /* accesses of vCPUs, devices or the VMM that had to wait for a page */
	uint64_t fault_p50, fault_p95, fault_p99,
		fault_max; /* how long: percentiles, the longest */
	/* pages that came ahead of the rest because one near them was waited for */
	uint64_t prefetched;
	uint64_t prefetch_samples; /* every eighth of those is watched ... */
	/* ... and so many of these were touched before the last page came */
	uint64_t prefetch_used;
	/* time from the guest's start at the target until no page was missing */
	uint64_t last_page;
	uint32_t recoveries; /* connections after the first */
	uint32_t reserved;
	uint64_t fault_class[SEVMIRROR_FAULT_CLASSES]; /* how many waited how long */
};

/* Why a migration failed, for programs; the words for people come with it. */
enum sevmirror_reason {
	SEVMIRROR_REASON_NONE, /* it did not fail */
	SEVMIRROR_REASON_CANCELLED,
	SEVMIRROR_REASON_TIMEOUT, /* the other host sent nothing for too long */
	SEVMIRROR_REASON_CONNECTION, /* it could not be made, or it ended */
	SEVMIRROR_REASON_PEER, /* the other host gave up, and said why */
	SEVMIRROR_REASON_AUTHENTICATION, /* the other host could not prove who it is */
	SEVMIRROR_REASON_CERTIFICATES, /* the target's SEV certificates do not hold */
	SEVMIRROR_REASON_POLICY, /* the guest's policy forbids it */
	SEVMIRROR_REASON_FIRMWARE, /* the secure processor refused for another reason */
	/* the hosts differ: versions, CPU features, SEV, C-bit, devices */
	SEVMIRROR_REASON_INCOMPATIBLE,
	SEVMIRROR_REASON_POSTCOPY, /* a host cannot do post-copy */
	SEVMIRROR_REASON_CONVERGENCE, /* the guest writes faster than its pages move */
	SEVMIRROR_REASON_NO_MEMORY,
	SEVMIRROR_REASON_GUEST, /* it could not be stopped, saved, loaded or started */
	SEVMIRROR_REASON_DISK, /* flushing, releasing or opening the guest's disks */
	SEVMIRROR_REASON_HELPER, /* the Migration Helper failed or refused */
	SEVMIRROR_REASON_MANIFEST, /* the guest's memory is not what the source sealed */
	SEVMIRROR_REASON_PROTOCOL, /* the other host broke the protocol */
	SEVMIRROR_REASON_INTERNAL, /* anything else */
};

#define SEVMIRROR_REASONS (SEVMIRROR_REASON_INTERNAL + 1)

/*
 * The reason's name, as events and summaries have it: "none", "cancelled", "timeout", "connection",
 * "peer", "authentication", "certificates", "policy", "firmware", "incompatible", "postcopy",
 * "convergence", "no-memory", "guest", "disk", "helper", "manifest", "protocol", "internal".
 * "unknown" for another number. Never NULL.
 */
const char *sevmirror_reason_name(enum sevmirror_reason reason);

/*
 * What the guest was stopped for, on the source's clock, in nanoseconds: one after the other, and
 * together the downtime.
 */
struct sevmirror_downtime {
	/* vCPUs and device models come to rest, what the disks have under way included */
	uint64_t stop;
	uint64_t state; /* the guest's state is saved, and the log of written pages read */
	/* the last pages are sealed and sent; post-copy: the list of those that are missing is */
	uint64_t pages;
	uint64_t manifest; /* state and manifest are made and sent; post-copy: the state alone */
	/* the target puts the last pages in place, checks them by the manifest, loads the state */
	uint64_t load;
	uint64_t disks; /* they are flushed and released */
	uint64_t start; /* the target opens the disks, starts the guest and says so */
};

/* The outcome, complete once the call that migrates has returned. */
struct sevmirror_summary {
	uint64_t total_time;
	/*
	 * from the last vCPU's stop at the source to the first one's start at the target, 0 if
	 * never stopped
	 */
	uint64_t downtime;
	struct sevmirror_downtime parts; /* source: of downtime; all zero without one */
	uint64_t expected_downtime; /* as estimated when the decision to stop was made */
	uint64_t max_downtime; /* what was allowed */
	uint64_t bytes;
	uint64_t pages;
	uint64_t pages_resent;
	unsigned int rounds;
	unsigned int psp_commands; /* that this side's firmware was given */
	uint64_t helper_exits;
	struct sevmirror_postcopy postcopy;
	enum sevmirror_reason reason; /* NONE when it went well */
	char error[512]; /* the same in words; empty when it went well */
	/* what did not go well although the guest has moved; empty when nothing */
	char warning[512];
};

/* Threads that the library makes, by all that such a thread does. */
enum sevmirror_thread {
	/* one data connection, a ring of the helper, page faults of post-copy */
	SEVMIRROR_THREAD_STREAM,
	/* likewise, for pages that somebody waits for: it should not have to wait for a CPU */
	SEVMIRROR_THREAD_URGENT,
	SEVMIRROR_THREAD_HELPER, /* a vCPU of the helper: KVM_RUN */
};

struct sevmirror_host_ops {
	/* Fill *vm. On the target after config_load(). */
	int (*describe)(void *opaque, struct sevmirror_vm *vm);

	/*
	 * The VM's configuration, as much as the target needs to build the same one (memory, vCPUs,
	 * devices; not the disks' content). save: bytes written or -ENOSPC. load creates a VM
	 * without running it, refuses what this host cannot offer, and puts the reason into why
	 * (max bytes, always terminated).
	 */
	ssize_t (*config_save)(void *opaque, void *buf, size_t max);
	int (*config_load)(void *opaque, const void *buf, size_t len, char *why, size_t max);

	/*
	 * What the guest has seen of its CPUs and clocks: CPUID, XSAVE features, TSC frequency,
	 * device models' versions. check compares the source's bytes with what this host can offer
	 * and names the first difference that matters.
	 */
	ssize_t (*compat_save)(void *opaque, void *buf, size_t max);
	int (*compat_check)(void *opaque, const void *buf, size_t len, char *why, size_t max);

	/*
	 * Dirty pages. One bit a page, numbered through ranges[] in order. start arms the log with
	 * all clear; fetch ORs in what was written since the last fetch (KVM's log, the VMM's own
	 * writes, pages that changed their kind, writable mirrors) and re-arms; stop disarms. The
	 * last fetch comes after state_save(), whose vcpu_put writes steal time.
	 */
	int (*dirty_start)(void *opaque);
	int (*dirty_fetch)(void *opaque, uint64_t *bitmap, size_t npages);
	void (*dirty_stop)(void *opaque);

	/*
	 * Stop and start all vCPUs and device models; pause returns when none touches guest memory
	 * any more. Idempotent. A resume that fails has let no vCPU run: the source may get the
	 * guest back.
	 */
	int (*pause)(void *opaque);
	int (*resume)(void *opaque);

	/*
	 * Ask all vCPUs to stop and do not wait for them: in post-copy they may be waiting for
	 * pages that never come. NULL for a VMM without post-copy.
	 */
	void (*request_pause)(void *opaque);

	/* Let vCPUs run only this part of the time: 0 (no throttle) to 99 per cent taken away. */
	void (*throttle)(void *opaque, unsigned int percent);

	/*
	 * vCPUs, interrupt controllers, clock and devices as bytes; while paused. save: bytes
	 * written, and none is written behind them, or -ENOSPC.
	 */
	ssize_t (*state_save)(void *opaque, void *buf, size_t max);
	int (*state_load)(void *opaque, const void *buf, size_t len, char *why, size_t max);

	/*
	 * Disks at the hand-over: release flushes and unlocks them at the source (paused), acquire
	 * locks and opens them at the target. A source that gets its guest back calls acquire
	 * again, for seconds if it fails; then the guest stays paused, and the summary says so. A
	 * target that fails after acquire calls release.
	 */
	int (*disks_release)(void *opaque);
	int (*disks_acquire)(void *opaque, char *why, size_t max);

	/*
	 * The guest now runs at the other host: the VM here is to end without touching its disks.
	 */
	void (*handed_over)(void *opaque);

	/* May be NULL. */
	void (*progress)(void *opaque, const struct sevmirror_progress *progress);

	/*
	 * Target, while it waits for the source: a peer at address connected, did not authenticate
	 * and was disconnected. May be NULL.
	 */
	void (*unauthenticated_peer)(void *opaque, const char *address, const char *why);

	/*
	 * On each of these threads (not on those that callbacks are called from), first of all, to
	 * name, pin or confine it; it must not fail. May be NULL.
	 */
	void (*thread_begins)(void *opaque, enum sevmirror_thread kind);

	/*
	 * Source, after each round of pre-copy, while the guest runs: write back what the disks'
	 * files have in the host's cache, so that the flush at the stop has little left. How long
	 * it takes is part of the estimated downtime. A failure is disks_release()'s to tell. May
	 * be NULL.
	 */
	void (*disks_flush)(void *opaque);
};

#endif
