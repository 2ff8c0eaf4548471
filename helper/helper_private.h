/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The Migration Helper from inside: its state and its parts. It is freestanding and runs in ring 3
 * of a mirror VM; the unit tests compile the same files for the host (HELPER_HOSTED), with memory
 * of their own behind the pointers of struct helper.
 */
#ifndef HELPER_HELPER_PRIVATE_H
#define HELPER_HELPER_PRIVATE_H

#include "helper/crypto.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "helper/layout.h"
#include "helper/protocol.h"

#define EPOCH_MISSING 0x80000000u /* post-copy, exact: the page has not come yet */
#define EPOCH_CLAIMED 0x40000000u /* a vCPU is at the page */
#define EPOCH_LAST    0x3fffffffu

/* What one vCPU works with. Private memory; keys in it live for one batch. */
struct helper_vcpu {
	uint8_t scratch[HELPER_PAGE_BYTES] __attribute__((aligned(64)));
	struct gcm_key gcm;
	struct helper_record record[HELPER_BATCH_MAX];
	uint8_t bitmap[HELPER_BATCH_MAX][64];
	uint8_t salt[XAES_NONCE_BYTES];
	struct helper_statistics statistics;
	uint32_t index;
	uint32_t taken; /* requests taken: never read back from the window */
	uint32_t idle;
	uint32_t busy; /* in a request that uses the session: atomic */
};

struct helper {
	const struct helper_layout *layout;
	struct helper_keys *keys;
	uint8_t *region; /* where the helper sees the region, RAM's gpa 0 and the window */
	uint8_t *ram;
	uint8_t *window;
	uint32_t *epochs;
	uint32_t window_pages;
	uint32_t nvcpus;
	uint32_t state; /* enum helper_state: atomic */
	uint32_t broken; /* RDRAND failed: for good. Atomic */
	const struct gcm_kernel *gcm;
	struct cmac_key record_key;
	struct cmac_key manifest_key;
	struct cmac_key data_key;
	struct helper_vcpu *vcpus[HELPER_VCPUS_MAX];
};

/*
 * What a batch starts with: a key derived from v->salt, scheduled in v->gcm; batch_end() wipes it.
 */
void batch_begin(struct helper *h, struct helper_vcpu *v, const struct cmac_key *key);
void batch_end(struct helper_vcpu *v);

/* main.c: one request, if there is one. The guest does this for ever (start.c). */
bool helper_poll(struct helper *h, struct helper_vcpu *v);

/* ring.c: false when there is no request. The request is a private copy. */
bool ring_take(struct helper *h, struct helper_vcpu *v, struct helper_request *request);
void ring_complete(struct helper *h, struct helper_vcpu *v,
		   const struct helper_completion *completion);
void ring_idle(struct helper *h, struct helper_vcpu *v);

/* ring.c: the address of a window page that is not a ring's, or NULL. */
void *window_page(const struct helper *h, uint32_t page);

/* epoch.c */
enum helper_status page_check(const struct helper *h, const struct helper_vcpu *v, uint64_t gpa,
			      uint32_t **epoch);
uint64_t epoch_index(const struct helper_layout *layout, uint64_t gpa);
enum helper_status touch(struct helper *h, struct helper_vcpu *v, uint64_t gpa, uint32_t npages,
			 bool write, uint32_t *done);
enum helper_status missing(struct helper *h, struct helper_vcpu *v,
			   const struct helper_request *request, uint32_t *done);

/*
 * epoch.c: take a page for this vCPU, until epoch_set() gives it back with its epoch. *was is what
 * it has. false: another one has it.
 */
bool epoch_claim(uint32_t *epoch, uint32_t *was);
void epoch_set(uint32_t *epoch, uint32_t value);

/* data.c: HELPER_OP_DATA_* and HELPER_OP_EPOCHS_*. */
enum helper_status data_batch(struct helper *h, struct helper_vcpu *v,
			      const struct helper_request *request, uint32_t *done);

/* seal_batch.c, open.c, manifest.c: a whole request each. */
enum helper_status seal_batch(struct helper *h, struct helper_vcpu *v,
			      const struct helper_request *request, uint32_t *done);
enum helper_status open_batch(struct helper *h, struct helper_vcpu *v,
			      const struct helper_request *request, uint32_t *done);
enum helper_status manifest(struct helper *h, struct helper_vcpu *v,
			    const struct helper_request *request, bool check, uint32_t *done);

/* session_secret.c */
enum helper_status session_boot(struct helper *h);
uint32_t session_state(const struct helper *h);
enum helper_status session_broken(struct helper *h);
enum helper_status session_make(struct helper *h, struct helper_vcpu *v, uint32_t flags);
enum helper_status session_wipe(struct helper *h, struct helper_vcpu *v);
/* From TARGET to HELPER_POSTCOPY or HELPER_EXACT. */
enum helper_status session_narrow(struct helper *h, struct helper_vcpu *v, uint32_t to);
bool session_live(uint32_t state); /* there is a session, in this state */
bool session_enter(struct helper *h, struct helper_vcpu *v, uint32_t *state);
void session_leave(struct helper_vcpu *v);
void page_aad(uint8_t aad[16], const struct helper_record *record);

/* tables.c: the run-time page tables. 0, or false when the window is in RAM or is too large. */
bool tables_fill(const struct helper_layout *layout, uint8_t *region, uint64_t window_gpa,
		 uint64_t window_bytes);

/* start.c in the guest; the tests bring their own. */
void hw_event(struct helper_vcpu *v, uint32_t value);
void hw_doorbell(struct helper_vcpu *v);

#endif
