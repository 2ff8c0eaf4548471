/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The host's end of one ring: indices, and what was asked. It knows nothing of VMs, so tests and
 * fuzzers drive it with a helper of their own. Used by one thread, except for ring_has_work().
 */
#ifndef LIB_MIRROR_RING_H
#define LIB_MIRROR_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "helper/protocol.h"

/* What was asked: the completion must match it. */
struct ring_pending {
	uint32_t id;
	uint32_t count;
	uint16_t op;
};

struct host_ring {
	/* In the window: the helper may write it at any time. */
	struct helper_ring_control *control;
	struct helper_request *requests;
	struct helper_completion *completions;

	struct ring_pending pending[HELPER_RING_ENTRIES];
	_Atomic uint32_t submitted;
	uint32_t taken;
	uint32_t next_id;
	_Atomic int error; /* negative errno once the ring is dead */
};

/* pages: HELPER_RING_PAGES of the window, zeroed. */
void ring_init(struct host_ring *ring, void *pages);
/* Nobody uses the ring any more; the first error stays. Any thread. */
void ring_die(struct host_ring *ring, int error);
int ring_error(const struct host_ring *ring);
unsigned int ring_pending(const struct host_ring *ring);
/* 0, -EAGAIN when full, or the dead ring's error. */
int ring_submit(struct host_ring *ring, const struct helper_request *request, uint32_t *id);
/*
 * 1 and a checked copy of the next completion, 0, or the dead ring's error; a completion that
 * answers nothing kills the ring.
 */
int ring_poll(struct host_ring *ring, struct helper_completion *completion);
/* Requests are waiting for the helper. For its vCPU's thread while it does not run. */
bool ring_has_work(const struct host_ring *ring);
/*
 * Ask for the doorbell when count more completions (at most what is pending) are there; true when
 * there is no need to wait for it.
 */
bool ring_arm(struct host_ring *ring, unsigned int count);
void ring_disarm(struct host_ring *ring);

#endif
