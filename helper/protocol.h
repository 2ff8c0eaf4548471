/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Every message between the host and the in-guest Migration Helper. They meet in the window: memory
 * that both see (C=0, the host reads and writes it at any time), so each side copies what it takes
 * from it once and checks the copy.
 *
 *   window page 0 .. 4*n-1    rings, four pages a vCPU: control, requests, completions, spare
 *   all other window pages    batches, records' bodies, bitmaps, tags: the host says which is what
 *                             in each request
 *
 * One request gives one completion, in order. Little-endian, natural alignment, reserved fields
 * zero.
 */
#ifndef HELPER_PROTOCOL_H
#define HELPER_PROTOCOL_H

#include "helper/limits.h"

#include <stdint.h>

#define HELPER_ABI_VERSION   2
#define HELPER_RING_ENTRIES  64 /* a power of two */
#define HELPER_RING_PAGES    4
#define HELPER_BATCH_MAX     64 /* pages sealed under one salt */
#define HELPER_WINDOW_MAX    (1ULL << 30)
#define HELPER_TOUCH_MAX     65536 /* pages warmed by one request */
#define HELPER_CHUNK_SHIFT   9 /* gfns are bound to rings in chunks of 512 pages (2 MiB) */
#define HELPER_MANIFEST_SPAN 32768 /* pages under one manifest tag (128 MiB of RAM) */
#define HELPER_MANIFEST_TAGS 128 /* tags in one manifest page */

/*
 * The ring that serves a page: a page is never in two vCPUs' hands, and its records stay in order.
 */
static inline uint32_t helper_ring_of(uint64_t gfn, uint32_t nrings)
{
	return (uint32_t)((gfn >> HELPER_CHUNK_SHIFT) % nrings);
}

/*
 * Ports the helper writes (32 bits wide). Each is an exit: the doorbell can be an ioeventfd, so
 * that KVM does not leave the kernel.
 */
#define HELPER_PORT_EVENT    0xe0 /* value: enum helper_event | detail << 8: to the VMM */
#define HELPER_PORT_DOORBELL 0xe4 /* value: the ring with completions that the host sleeps for */

enum helper_event {
	/* vCPU 0: continue at the serve entry, with the run-time page tables */
	HELPER_EVENT_BOOTED = 1,
	HELPER_EVENT_SLEEP = 2, /* nothing to do: run again once submitted differs from completed */
	HELPER_EVENT_FATAL = 3, /* detail: enum helper_status; do not run again */
};

/*
 * A ring's control page: a cache line has one writer. Indices count up and wrap at 2^32; entry =
 * index % HELPER_RING_ENTRIES.
 */
struct helper_ring_control {
	uint32_t submitted; /* host: requests written so far */
	uint32_t taken; /* host: completions read so far */
	uint32_t host_sleeps; /* host: ring the doorbell once completed has reached wake_at */
	uint32_t wake_at;
	uint32_t spin; /* host: polls before sleeping, 0 = helper's default */
	uint8_t pad0[44];
	uint32_t completed; /* helper: completions written so far */
	uint8_t pad1[60];
};

enum helper_op {
	HELPER_OP_HELLO = 1, /* in any state: version and state */
	HELPER_OP_TOUCH = 2, /* warm [gpa, gpa + count pages), for writing if flags & 1 */
	HELPER_OP_SEAL = 3, /* source: seal the pages named in the batch at page */
	HELPER_OP_OPEN = 4, /* target: open the records of the batch at page */
	/* ring 0, empty: draw a session secret, seal the core; flags: HELPER_SESSION_* */
	HELPER_OP_SESSION_MAKE = 5,
	HELPER_OP_SESSION_WIPE = 6, /* ring 0: forget the session, zero keys and epochs */
	HELPER_OP_MANIFEST_MAKE = 7, /* source: count tags from span first, to page */
	HELPER_OP_MANIFEST_CHECK = 8, /* target: compare count tags from span first, at page */
	/* target, ring of the chunk: bitmap at page: these of the 512 pages from gpa are missing */
	HELPER_OP_MISSING = 9,
	HELPER_OP_POSTCOPY = 10, /* target, ring 0: from now on only missing pages may be opened */
	HELPER_OP_STATISTICS = 11, /* this vCPU's counters, to page */
	/*
	 * Pages of the host's own data, in the slots of the batch at page, in place: source,
	 * sealed; target, opened. A record's gpa is the host's label of the data, its epoch the
	 * page's number in it, its kind HELPER_DATA or for the last one HELPER_DATA_LAST; all go
	 * into the AAD.
	 */
	HELPER_OP_DATA_SEAL = 12,
	HELPER_OP_DATA_OPEN = 13,
	/*
	 * Pages of the epoch table, from page first on, count of them, to the slots of the batch at
	 * page: source, sealed. Target: opened; from HELPER_OP_EXACT on each page of RAM is
	 * accepted in the version that the table names, once.
	 */
	HELPER_OP_EPOCHS_EXPORT = 14,
	HELPER_OP_EPOCHS_IMPORT = 15,
	HELPER_OP_EXACT = 16, /* target, ring 0, after the whole table was imported */
};

#define HELPER_TOUCH_WRITE 1
/* all-zero pages become a mark: tells the host which pages are zero */
#define HELPER_SESSION_ZERO_MARKS 1
/*
 * Any ring takes any page, on both sides: the hosts see to it that the records of a page are opened
 * in the order in which they were sealed, or do without those that are STALE or BUSY.
 */
#define HELPER_SESSION_ANY_RING 2

struct helper_request {
	uint16_t op; /* enum helper_op */
	uint16_t flags;
	uint32_t id; /* comes back in the completion */
	uint64_t gpa;
	uint32_t count;
	uint32_t page; /* window page */
	uint32_t first;
	uint32_t reserved[9];
};

enum helper_status {
	HELPER_OK = 0,
	HELPER_BAD_REQUEST = 1, /* unknown op, count or flags */
	HELPER_BAD_STATE = 2, /* not in this state of the session */
	HELPER_BAD_WINDOW = 3, /* a window page out of bounds, or a ring's */
	HELPER_BAD_GPA = 4, /* unaligned, or not guest RAM */
	HELPER_NOT_EXACT = 5, /* another version than the epoch table names, or there already */
	HELPER_NOT_MINE = 6, /* the page belongs to another ring */
	HELPER_BAD_TAG = 7, /* not sealed by the source in this session, or changed since */
	HELPER_STALE = 8, /* not newer than what is there: ignored */
	HELPER_RESIDENT = 9, /* post-copy: the page is not missing: refused before it was read */
	HELPER_BUSY = 10, /* another vCPU is at work, for a record on the same page: try again */
	HELPER_NO_RANDOM = 11, /* RDRAND failed: fatal */
	HELPER_BAD_CORE = 12, /* the core's layout or MAC is wrong: fatal */
	HELPER_EPOCH_FULL = 13, /* 2^30 seals of one page: end the session */
	/* some record, page or tag was refused: see the batch or the bitmap */
	HELPER_MISMATCH = 14,
};

struct helper_completion {
	uint32_t id;
	uint16_t op;
	uint16_t status; /* enum helper_status */
	uint32_t count; /* pages or tags done well; HELLO: the ABI version */
	uint32_t state; /* enum helper_state */
	uint64_t value; /* HELLO: enum helper_gcm; MANIFEST_CHECK: see helper_manifest */
	uint8_t session[16]; /* public name of the session, zero without one */
	uint32_t reserved[6];
};

enum helper_state {
	HELPER_EMPTY = 0, /* no session */
	HELPER_SOURCE = 1, /* seals */
	HELPER_TARGET = 2, /* opens */
	HELPER_POSTCOPY = 3, /* opens missing pages only */
	HELPER_FAILED = 4, /* for good */
	HELPER_EXACT = 5, /* opens, each page once and in one version */
};

enum helper_kind {
	HELPER_PAGE = 1, /* 4096 bytes of ciphertext in the slot */
	HELPER_ZERO = 2, /* no body: the page is all zero */
	HELPER_DATA = 3, /* the host's data */
	HELPER_DATA_LAST = 4,
	HELPER_EPOCHS = 5, /* a page of the epoch table */
};

/*
 * A page record. It is XAES-256-GCM with the session's record key, nonce = salt with index XORed
 * into its last 4 bytes (big-endian), AAD = {gpa, epoch, kind}, and travels as {batch salt, this,
 * body}.
 */
struct helper_record {
	uint64_t gpa; /* SEAL: in; OPEN: in */
	/* SEAL: out; OPEN: in. Counts the seals of this page in this session, from 1 */
	uint32_t epoch;
	uint16_t kind; /* SEAL: out; OPEN: in. enum helper_kind */
	uint16_t index; /* SEAL: out; OPEN: in. Place in the batch it was sealed in */
	uint8_t tag[16]; /* SEAL: out; OPEN: in */
	uint32_t slot; /* in: window page of the body */
	uint32_t status; /* out: enum helper_status; records with another than OK hold nothing */
};

struct helper_batch {
	uint8_t salt[24]; /* SEAL: out; OPEN: in */
	uint32_t reserved[10];
	struct helper_record record[HELPER_BATCH_MAX];
};

/* Tags over the epochs of HELPER_MANIFEST_SPAN pages each, counted over RAM without its holes. */
struct helper_manifest {
	uint8_t salt[24]; /* MAKE: out; CHECK: in */
	uint32_t reserved[2];
	uint8_t differs[HELPER_MANIFEST_TAGS /
			8]; /* CHECK: out: bit i: the tag of span first + i is another here */
	uint8_t tag[HELPER_MANIFEST_TAGS][16]; /* MAKE: out; CHECK: in */
};

struct helper_statistics {
	uint64_t sealed, sealed_zero, opened, opened_zero, touched;
	uint64_t stale, bad_tag, resident, refused; /* records and pages not accepted, by why */
	uint64_t bad_requests, batches, sleeps, doorbells;
};

#endif
