/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What the engine asks of the helper outside the hot path, each call over as many rings as it
 * takes. They wait for the answers, so no ring may have anything pending (-EBUSY). All return 0 or
 * a negative errno: a dead ring's, -ETIMEDOUT, or for what the helper refused: -EPERM (wrong state
 * of the session), -EAGAIN (another vCPU is at work), -EIO (no random numbers: the session is
 * over),
 * -EINVAL (anything else; the helper and this library disagree).
 */
#ifndef LIB_MIRROR_CALLS_H
#define LIB_MIRROR_CALLS_H

#include "lib/mirror/rings.h"

/* The session's state (enum helper_state) and its public name. */
int rings_hello(struct rings *rings, enum helper_state *state, uint8_t session[16]);

/*
 * Source: draw a session secret inside the guest (flags: HELPER_SESSION_*); the region's core then
 * holds it, sealed by a MAC, until rings_session_wipe(). What carries the core to the target
 * (SEND_UPDATE_DATA; without SEV the engine) takes [plan->gpa, plan->gpa + plan->core_bytes) now.
 */
int rings_session_make(struct rings *rings, uint16_t flags, uint8_t session[16]);
/* Both sides, at the end: zero every key and the epochs. */
int rings_session_wipe(struct rings *rings);

/*
 * Have KVM map all of guest RAM into the mirror, on all rings at once; write: for writing, as the
 * target needs.
 */
int rings_touch(struct rings *rings, bool write, uint64_t *touched);

/* The manifest: one tag for each HELPER_MANIFEST_SPAN pages, under one salt a page of tags. */
struct rings_manifest {
	uint32_t nspans;
	struct {
		uint8_t salt[24];
		uint8_t tag[16];
	} span[];
};

uint32_t rings_manifest_spans(const struct rings *rings);
/*
 * Source: fill manifest, which has room for rings_manifest_spans(). Nothing may be sealed
 * meanwhile.
 */
int rings_manifest_make(struct rings *rings, struct rings_manifest *manifest);
/*
 * Target: compare. 0 when every page is the version that the source sealed last. -EBADMSG:
 * *differing spans are not; the first one's number is in *first: pages [first *
 * HELPER_MANIFEST_SPAN, ...), counted through RAM without its holes.
 */
int rings_manifest_check(struct rings *rings, const struct rings_manifest *manifest,
			 uint32_t *differing, uint32_t *first);

/*
 * Target: from now on only the pages set in bitmap may be opened, each once. One bit a page,
 * counted through RAM without its holes; npages is all of RAM.
 */
int rings_postcopy(struct rings *rings, const uint64_t *bitmap, uint64_t npages);

/* Sum of all rings' counters. */
int rings_statistics(struct rings *rings, struct helper_statistics *sum);

#endif
