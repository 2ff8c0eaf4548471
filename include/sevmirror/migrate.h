/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Live migration of a VM between two hosts. A migration is an object: create it for one side, run
 * it (blocks until the outcome is known), cancel it from any thread, destroy it. The VM is reached
 * through struct sevmirror_host_ops.
 *
 * If the migration fails before the hand-over, the guest keeps running on the source and the target
 * keeps nothing. After the hand-over only the target may run the guest.
 *
 * With post-copy the guest starts on the target while pages are missing. Pages that it touches come
 * first, the others in the background. If the connection breaks meanwhile, no page is lost. The
 * source keeps the guest's memory; its run ends with SEVMIRROR_BROKEN. The target waits for the
 * source to connect again and prove that it is the same one (phase BROKEN). Meanwhile the guest
 * keeps running with the pages that it has, and vCPUs that touch a missing page wait. The source
 * continues with sevmirror_migration_recover(), as often as it takes.
 */
#ifndef SEVMIRROR_MIGRATE_H
#define SEVMIRROR_MIGRATE_H

#include <stdbool.h>
#include <stdint.h>

#include <sevmirror/host.h>

struct sevmirror_migration;

/*
 * How the hosts know each other: exactly one of the three. Files are PEM; the strings are borrowed
 * until the migration is destroyed.
 */
struct sevmirror_security {
	const char *certificate; /* with key and ca: mutual TLS */
	const char *key;
	const char *ca;
	/* the name the peer's certificate must bear; NULL: any that ca signed */
	const char *peer_name;
	const char *psk_file; /* 32 to 64 bytes in hexadecimal, owner-only */
	bool insecure; /* bare sockets: for tests */
};

enum sevmirror_postcopy_mode {
	/* default: the guest goes with its memory complete or not at all */
	SEVMIRROR_POSTCOPY_NEVER = 0,
	SEVMIRROR_POSTCOPY_AUTO = 1, /* when pre-copy would not converge */
	SEVMIRROR_POSTCOPY_ALWAYS = 2,
};

/* What to do with a migration that has not come to the guest's stop in max_time. */
enum sevmirror_overtime {
	SEVMIRROR_OVERTIME_CANCEL = 0, /* default: it fails, and the guest stays */
	SEVMIRROR_OVERTIME_POSTCOPY = 1, /* begin post-copy; postcopy must not be NEVER */
	SEVMIRROR_OVERTIME_FORCE = 2, /* stop the guest, however long that takes */
};

/* Zero means the default. Times are nanoseconds, rates bytes a second. */
struct sevmirror_source_options {
	const char *address; /* "HOST:PORT", "[IPv6]:PORT", "unix:PATH" */
	struct sevmirror_security security;
	unsigned int streams; /* data connections and helper vCPUs: default 2 */
	uint64_t max_downtime; /* default 300 ms */
	uint64_t bandwidth; /* at most; 0: no limit */
	bool throttle; /* slow the guest down if it would not converge */
	/*
	 * A private page of zeros goes as a mark instead of a page. That tells both hosts which
	 * pages are zeros, and the network how many of each batch.
	 */
	bool zero_marks;
	unsigned int max_rounds; /* default 30 */
	enum sevmirror_postcopy_mode postcopy; /* not NEVER: a target that cannot do it refuses */
	/*
	 * rounds of pre-copy after which post-copy begins: ALWAYS then (0: at once), AUTO then if
	 * it has not converged (0: when it makes no progress)
	 */
	unsigned int postcopy_after;
	uint64_t timeout; /* how long the connection may be silent: default 10 s */
	uint64_t max_time; /* from the beginning to the guest's stop; 0: no limit */
	enum sevmirror_overtime overtime; /* what to do then */
	/*
	 * ASK and ARK of the target's chip, as the operator got them from the vendor; NULL with
	 * --sev=off
	 */
	const void *vendor_chain;
	uint64_t vendor_chain_bytes;
};

struct sevmirror_target_options {
	int listen_fd; /* borrowed */
	struct sevmirror_security security;
	unsigned int max_streams; /* default 16 */
	uint64_t timeout;
	/* ASK and ARK of this platform's chip, which the source is told; NULL with --sev=off */
	const void *vendor_chain;
	uint64_t vendor_chain_bytes;
	/*
	 * /dev/userfaultfd, borrowed, for post-copy in a process that may not open it itself any
	 * more; 0 or -1: none
	 */
	int uffd_device;
};

/* What a run ended with. */
enum sevmirror_outcome {
	SEVMIRROR_MIGRATED = 0, /* the guest runs on the target */
	SEVMIRROR_FAILED = 1, /* the guest keeps running on the source; the target keeps nothing */
	SEVMIRROR_CANCELLED = 2, /* the same, by sevmirror_migration_cancel() */
	/* the connection broke in the hand-over: the guest is paused here and may run there */
	SEVMIRROR_UNKNOWN = 3,
	/*
	 * source, post-copy: the guest runs there, pages that it needs are here:
	 * sevmirror_migration_recover()
	 */
	SEVMIRROR_BROKEN = 4,
	/*
	 * post-copy: the guest was started on the target, and pages of its memory will never arrive
	 * there; the target has asked it to pause
	 */
	SEVMIRROR_LOST = 5,
};

#define SEVMIRROR_OUTCOMES (SEVMIRROR_LOST + 1)

/* "migrated", "failed", "cancelled", "unknown", "broken", "lost"; "unknown" for another number. */
const char *sevmirror_outcome_name(enum sevmirror_outcome outcome);

/*
 * From now on OpenSSL's memory is wiped when it is freed, in this process. Without it TLS's
 * exporter secret, and with it the keys of the data streams, stays in the heap after a migration:
 * OpenSSL wipes most of its secrets, and not this one. For the first line of main(), before
 * anything uses OpenSSL; -EBUSY when it is too late.
 */
int sevmirror_wipe_openssl_memory(void);

/*
 * 0, -ENOMEM, or -EINVAL for options that make no sense (the reason in why, max bytes, terminated).
 */
int sevmirror_source_create(struct sevmirror_migration **migration,
			    const struct sevmirror_host_ops *ops, void *opaque,
			    const struct sevmirror_source_options *options, char *why, size_t max);
int sevmirror_target_create(struct sevmirror_migration **migration,
			    const struct sevmirror_host_ops *ops, void *opaque,
			    const struct sevmirror_target_options *options, char *why, size_t max);

/*
 * Do it. *summary is always filled; on failure its error says why in words. Once for each object.
 */
enum sevmirror_outcome sevmirror_migration_run(struct sevmirror_migration *migration,
					       struct sevmirror_summary *summary);

/*
 * Source, after BROKEN, or UNKNOWN of a run that had begun post-copy: connect again, to address
 * (NULL: where it was before), prove to be the same source, and continue with the pages that
 * are missing on the target. Blocks and fills *summary as the run does; the outcomes are the run's,
 * from the hand-over on. A target that does not know this migration any more, or cannot be reached:
 * the outcome is what it was before.
 */
enum sevmirror_outcome sevmirror_migration_recover(struct sevmirror_migration *migration,
						   const char *address,
						   struct sevmirror_summary *summary);

/*
 * Any thread, any time, idempotent. Before the hand-over the run ends with CANCELLED. In post-copy
 * a source drops its connection (BROKEN), a target gives up the pages that are missing (LOST).
 * Otherwise this does nothing.
 */
void sevmirror_migration_cancel(struct sevmirror_migration *migration);

/*
 * Bytes of guest memory that the source has announced; 0 before it has. A target's config_load()
 * compares it with the configuration before it commits memory.
 */
uint64_t sevmirror_migration_ram_bytes(const struct sevmirror_migration *migration);

/*
 * Source, any thread, while it runs: change the limits of options; NULL leaves one as it is, and 0
 * is its default. The next round is judged by them. 0, or -EINVAL with the reason in why.
 */
int sevmirror_migration_tune(struct sevmirror_migration *migration, const uint64_t *max_downtime,
			     const uint64_t *bandwidth, char *why, size_t max);

/*
 * After the run has returned. NULL is allowed. After LOST at the target: only once vCPUs have been
 * told to stop for good (they need not have stopped). A thread that waits for a page that
 * never came continues from here, with whatever is in that page. It may be in resume(), which then
 * returns before this does, and must not let a vCPU run any more.
 */
void sevmirror_migration_destroy(struct sevmirror_migration *migration);

#endif
