/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What the parts of a sealing session share. Private to lib/. */
#ifndef LIB_SEAL_SEAL_PRIVATE_H
#define LIB_SEAL_SEAL_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include <sevmirror/seal.h>

#include "lib/mirror/calls.h"
#include "lib/mirror/rings.h"
#include "lib/seal/blob.h"
#include "lib/seal/ring_lock.h"
#include "lib/sev/guest.h"
#include "lib/util/why.h"

#define SEAL_LANES_MAX	32
#define SEAL_DEPTH_MAX	8
#define SEAL_SLOT_PAGES (1 + HELPER_BATCH_MAX) /* struct helper_batch, bodies */
/*
 * How long a batch may take. A helper that died is noticed by its exit; this is for hosts that are
 * so busy that its vCPUs hardly run.
 */
#define SEAL_PATIENCE_NS 60000000000ULL

/* A batch in a slot of a lane. */
struct seal_job {
	uint32_t page; /* first window page of the slot */
	uint32_t count; /* records; 0: nothing was submitted */
	uint16_t op;
	uint8_t ring;
	bool urgent;
	bool answered; /* under the ring's lock */
	/* its owner does not wait for it any more, and the helper may still work on it */
	bool late;
	struct helper_completion completion;
};

/* A ring and the jobs that wait for its answers, which come in order. */
struct seal_ring {
	struct ring_lock lock;
	struct seal_job *queue[HELPER_RING_ENTRIES];
	unsigned int head, tail;
};

struct sevmirror_seal {
	struct sevmirror_seal_vm vm;
	struct sevmirror_seal_config config;
	bool has_vm;
	struct region_plan plan;
	struct sev_guest *sev; /* NULL without SEV */
	int sev_fd; /* own one, or -1 */
	struct rings *rings; /* while the helper runs */
	unsigned int nrings;
	bool any_ring;
	uint8_t session[16];
	bool sending; /* the guest's context may be in SUPDATE */
	bool over; /* committed or aborted */
	uint32_t maps_made, map_seen; /* numbers of the map's blobs */
	uint64_t platform_commands; /* to the secure processor, besides those for the guest */
	atomic_bool cancelled;
	struct seal_ring ring[HELPER_VCPUS_MAX];
	struct seal_job job[SEAL_LANES_MAX][SEAL_DEPTH_MAX];
	pthread_mutex_t why_lock; /* lanes fail on threads of their own */
	struct why why; /* the first failure */
};

/* Set the reason, once: the first failure is the one that people should read. Returns err. */
int seal_fail(struct sevmirror_seal *seal, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for a reason that does not follow from err. */
int seal_fail_because(struct sevmirror_seal *seal, enum sevmirror_reason reason, int err,
		      const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The same for what the firmware, or KVM on its behalf, refused: "WHAT: its message". */
int seal_fail_firmware(struct sevmirror_seal *seal, int err, const struct sev_error *error,
		       const char *what);

/*
 * seal_session.c: start the helper in a mirror with nrings vCPUs, for the lanes of the
 * configuration.
 */
int seal_start_helper(struct sevmirror_seal *seal, unsigned int nrings);
/* Wipe the session and end the mirror. Idempotent. */
void seal_stop_helper(struct sevmirror_seal *seal);
/* Whether the helper runs, and on this side; -EPERM with the reason if not. */
int seal_need(struct sevmirror_seal *seal, bool source);

/*
 * Copy a blob's head (head_bytes, which begin with a struct seal_blob) out of the len bytes that
 * came, once, if it is of this type and of this length. -EPROTO with the reason.
 */
int seal_read_head(struct sevmirror_seal *seal, const void *bytes, size_t len,
		   enum seal_blob_type type, void *head, size_t head_bytes);
/* The same of a blob that the target's helper is to open: -EPERM if there is none that could. */
int seal_take_blob(struct sevmirror_seal *seal, const void *bytes, size_t len,
		   enum seal_blob_type type, void *head, size_t head_bytes);
struct seal_blob seal_blob_head(enum seal_blob_type type, size_t bytes);

/* lane.c: window page of a ring's argument page, which no lane uses; 64 pages after it too. */
uint32_t seal_data_page(const struct sevmirror_seal *seal);

#endif
