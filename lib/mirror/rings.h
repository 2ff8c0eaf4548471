/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The host side of the helper: a mirror VM with the helper running in it, and its rings, one a
 * vCPU. A ring is used by one thread at a time; different rings by different threads at will. The
 * helper is not trusted either: what it writes is copied, checked against what was asked, and a
 * ring that answers nonsense is dead from then on (-EPROTO).
 *
 * Pages of the window are named by number; rings_data() says which belong to a ring, and the user
 * shares them out.
 */
#ifndef LIB_MIRROR_RINGS_H
#define LIB_MIRROR_RINGS_H

#include <stddef.h>
#include <stdint.h>

#include "helper/protocol.h"
#include "lib/mirror/mirror.h"
#include "lib/mirror/region.h"

struct rings;

struct rings_config {
	int kvm_fd; /* or -1 */
	int primary_fd; /* VM fd of the SEV primary, or -1 without SEV */
	const struct region_plan *plan;
	/* of the region: a file and where it begins there; the core is in it */
	int region_fd;
	uint64_t region_offset;
	const struct sevmirror_ram_range *ram; /* guest RAM with its files */
	unsigned int nram;
	/* 1 .. HELPER_VCPUS_MAX; both hosts of a migration use the same number */
	unsigned int nrings;
	uint32_t data_pages; /* window pages for each ring besides its control pages */
	uint64_t boot_timeout; /* nanoseconds, 0: 30 s */
	void (*thread_begins)(void *opaque); /* as in mirror_config */
	void *thread_opaque;
};

/*
 * Create the mirror and start the helper in it. Errors: mirror_create()'s; -EBUSY (another helper
 * runs over this region); -EBADMSG (the core is not what the session sealed, or another build's);
 * -EPROTO (the helper crashed or answered nonsense); -ETIMEDOUT. why may be NULL. The primary
 * is not touched.
 */
int rings_create(struct rings **rings, const struct rings_config *config, struct why *why);
/*
 * Stops the helper wherever it is. Does not wipe the session: rings_session_wipe() before that
 * does. NULL is allowed.
 */
void rings_destroy(struct rings *rings);

struct mirror *rings_mirror(const struct rings *rings);
const struct region_plan *rings_plan(const struct rings *rings);
unsigned int rings_count(const struct rings *rings);
/* "VAES/AVX-512", "AVX2", "SSE": the GCM kernel that the helper chose. */
const char *rings_kernel(const struct rings *rings);
/* The ring that serves the page at gpa. */
unsigned int rings_of(const struct rings *rings, uint64_t gpa);

/* First window page of a ring's own data pages, and how many there are. */
uint32_t rings_data(const struct rings *rings, unsigned int ring, uint32_t *npages);
/* The host's address of a window page; NULL if there is none with this number. */
void *rings_page(const struct rings *rings, uint32_t page);

/*
 * Hand a request to the helper; its id is chosen here and put into *id if not NULL. -EAGAIN when
 * HELPER_RING_ENTRIES are under way, or the error of a dead ring. Wakes a sleeping helper.
 */
int rings_submit(struct rings *rings, unsigned int ring, const struct helper_request *request,
		 uint32_t *id);
/* Requests submitted whose completion was not taken yet. */
unsigned int rings_pending(const struct rings *rings, unsigned int ring);
/*
 * Take a completion: 1, 0 when there is none yet, or the error of a dead ring. In the order of the
 * requests.
 */
int rings_poll(struct rings *rings, unsigned int ring, struct helper_completion *completion);
/*
 * Take a completion, waiting up to timeout nanoseconds: polls for a while, then sleeps until the
 * helper's doorbell. That rings when half of what is pending is done, so a deep queue costs few
 * exits. 0, -ETIMEDOUT, -ENOENT (nothing pending), or the error of a dead ring.
 */
int rings_wait(struct rings *rings, unsigned int ring, struct helper_completion *completion,
	       uint64_t timeout);
/*
 * Submit one request and wait for its completion, on a ring with nothing pending (-EBUSY). 0 says
 * nothing of completion->status.
 */
int rings_call(struct rings *rings, unsigned int ring, const struct helper_request *request,
	       struct helper_completion *completion, uint64_t timeout);

/*
 * For event loops: readable once count completions are there after rings_arm() returned 0; it
 * returns 1 when they are already. rings_disarm() before the next rings_poll().
 */
int rings_fd(const struct rings *rings, unsigned int ring);
int rings_arm(struct rings *rings, unsigned int ring, unsigned int count);
void rings_disarm(struct rings *rings, unsigned int ring);

/*
 * How long the helper polls before it sleeps, in polls; 0: its default. Polls of the host's
 * rings_wait() likewise.
 */
void rings_spin(struct rings *rings, uint32_t helper_polls, uint32_t host_polls);

/* For a dead ring: what happened, as text. */
const char *rings_error(const struct rings *rings, unsigned int ring);
/* What an error of a call above means: that of a helper that died with it, else errno's. */
const char *rings_explain(const struct rings *rings, int err);
/* "BAD_TAG", ... for any value. */
const char *rings_status_name(unsigned int status);

#endif
