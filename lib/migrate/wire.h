/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The whole protocol between the two hosts of a migration, on one page. Prose, state machine and
 * key schedule: docs/protocol.md.
 *
 * One control connection carries messages: a struct wire_header and a body of at most the bytes
 * that wire_limit() allows for the type. N data connections carry frames of page records (struct
 * wire_frame). All integers are little-endian and all structures have no padding. A peer that
 * breaks a rule is told so with WIRE_ABORT, and the connection is closed.
 */
#ifndef LIB_MIGRATE_WIRE_H
#define LIB_MIGRATE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util/why.h"

#include "lib/util/page.h"

#define WIRE_MAGIC	   0x524d5653u /* "SVMR" */
#define WIRE_VERSION_MAJOR 4 /* differs: refused */
#define WIRE_VERSION_MINOR 1 /* differs: the smaller one is spoken */
#define WIRE_MINOR_WORKING 1 /* the first one with WORKING */
#define WIRE_MAX_STREAMS   16
#define WIRE_MAX_REQUESTS  1024
#define WIRE_MAX_REASON	   512
#define WIRE_MAX_WORKING   57600 /* in a migration: four hours of four a second */
#define WIRE_MAX_HELLO	   4096 /* of another version; the beginning, major, is in all of them */
#define WIRE_MAX_SECTION   (16u << 20) /* configuration, compatibility, state */

enum wire_type {
	WIRE_HELLO = 1, /* both: struct wire_hello */
	WIRE_CONFIG, /* S->T: the VM's configuration, opaque to the library */
	WIRE_COMPAT, /* S->T: what the guest has seen of its CPUs, opaque */
	WIRE_ACCEPT, /* T->S: the offer of a sealing session (lib/seal/blob.h): the platform */
	WIRE_CORE = 7, /* S->T: the core of the session; 5 and 6 are of versions before 4 */
	WIRE_CORE_DONE, /* T->S: the helper runs and has checked the core */
	/* S->T: struct wire_round; T->S: the same, when every frame of the round is in place */
	WIRE_ROUND,
	/* S->T: vCPUs, interrupt controllers, clock, devices, opaque; the last round went before */
	WIRE_STATE,
	WIRE_MANIFEST, /* S->T: the manifest of the session */
	WIRE_READY, /* T->S: state loaded, manifest verified; the guest could run */
	WIRE_COMMIT, /* S->T: the hand-over: from here on only the target may run the guest */
	/*
	 * T->S: it runs; also after MISSING on a connection that begins with RECOVER, now or once
	 * it does
	 */
	WIRE_RUNNING,
	/*
	 * S->T: post-copy: two bitmaps of the pages to come: the private ones, the shared ones;
	 * T->S: the same, after RECOVER
	 */
	WIRE_MISSING,
	WIRE_PAGE_REQUEST, /* T->S: post-copy: gfns that something waits for, u64 each */
	/*
	 * S->T: post-copy: nothing is left to send; T->S: struct sevmirror_postcopy: all is in
	 * place and the manifest holds
	 */
	WIRE_LAST_PAGE,
	WIRE_RECOVER, /* both, on a new connection: struct wire_recover; T->S: then MISSING */
	WIRE_ABORT, /* both: a reason in words (UTF-8, no NUL), the migration is off */
	/* S->T: the guest will stop with pages missing; T->S: the primary's mapping is armed */
	WIRE_POSTCOPY,
	/* T->S: before ACCEPT and before CORE_DONE: it works, and the wait begins again */
	WIRE_WORKING,
	WIRE_TYPES
};

struct wire_header {
	uint32_t magic;
	uint16_t type;
	uint16_t reserved; /* 0 */
	uint32_t bytes; /* of the body */
};

#define WIRE_F_SEV	(1u << 0) /* the guest is encrypted */
#define WIRE_F_POSTCOPY (1u << 1) /* post-copy may be used */
#define WIRE_F_ALL	(WIRE_F_SEV | WIRE_F_POSTCOPY)

struct wire_hello {
	uint16_t major;
	uint16_t minor;
	uint32_t flags;
	uint8_t session[16]; /* the source's random name of this migration; the target echoes it */
	uint32_t streams; /* data connections; the target may answer with fewer */
	uint8_t cbit; /* position, 0 with --sev=off */
	uint8_t phys_bits; /* MAXPHYADDR of the guest's view */
	uint16_t helper_version; /* of the rings and records */
	uint8_t helper_digest[32]; /* SHA-256 of the helper's image: both sides must run the same */
	uint64_t ram_bytes;
	uint8_t recovery_salt[32]; /* contributes to the key of WIRE_RECOVER */
};

struct wire_round {
	uint32_t round;
	uint32_t streams;
	uint64_t frames[WIRE_MAX_STREAMS]; /* sent on each stream since the beginning */
};

/*
 * mac: HMAC-SHA-256 under the recovery key (of the first connection's exporter) over 'S' or 'T',
 * everything before it, and 32 bytes of the new connection's own exporter, so that it is good for
 * this connection only. The target repeats session and nonce.
 */
struct wire_recover {
	uint8_t session[16];
	uint8_t nonce[32];
	uint8_t mac[32];
};

/*
 * Number of the stream for pages that something waits for; there is one if WIRE_F_POSTCOPY was
 * agreed on. It has no chunks of its own: any page may come by it, those of one frame from one
 * chunk's ring.
 */
#define WIRE_PRIORITY_STREAM WIRE_MAX_STREAMS

/*
 * A data connection begins with this, so that nobody else can slip a stream into the session. mac:
 * HMAC-SHA-256 under the stream's hello key over everything before it. The target sends none back.
 */
struct wire_stream_hello {
	uint32_t magic;
	uint32_t stream;
	uint8_t session[16];
	uint8_t mac[32];
};

/*
 * A frame of records: this header, the directory (sealed), the payloads. The directory holds what
 * the host adds about a batch (gfns, epochs, kinds, salts); it is AES-256-GCM under the stream's
 * key with the frame's sequence number as nonce and the header as AAD, so frames can be neither
 * dropped, replayed, reordered nor swapped between streams unnoticed. Private payloads are the
 * helper's ciphertext as it is in the ring; shared pages are sealed with the directory.
 */
struct wire_frame {
	uint32_t magic;
	uint16_t type; /* enum wire_frame_type */
	uint16_t records;
	uint32_t directory_bytes; /* with its 16-byte tag */
	uint32_t payload_bytes;
	uint64_t sequence; /* from 0, by stream */
};

enum wire_frame_type {
	WIRE_FRAME_PRIVATE = 1, /* a batch sealed by the helper */
	WIRE_FRAME_SHARED, /* pages read by the VMM */
	WIRE_FRAME_TYPES
};

#define WIRE_MAX_RECORDS	 64
#define WIRE_MAX_DIRECTORY_BYTES 8192u
#define WIRE_MAX_PAYLOAD_BYTES	 (WIRE_MAX_RECORDS * (uint32_t)PAGE_BYTES)

/*
 * The largest body that a message of this type may have; 0 for an unknown type (then *known is
 * false).
 */
uint32_t wire_limit(uint16_t type, bool *known);

/* "HELLO", "CONFIG", ...; "unknown" for others, never NULL. */
const char *wire_type_name(uint16_t type);

/* What such a message carries, for people: "the guest's state (STATE)". Never NULL. */
const char *wire_type_text(uint16_t type);

/*
 * Check a header that came from the peer: magic, known type, length within wire_limit(), reserved
 * bytes zero. 0 or -EPROTO, with the reason in why.
 */
int wire_check_header(const struct wire_header *header, struct why *why);
int wire_check_frame(const struct wire_frame *frame, uint64_t expected_sequence, struct why *why);

#endif
