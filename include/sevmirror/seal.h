/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A sealing session: what one guest's private memory needs to move, and nothing else. It has no
 * sockets, no threads of its own beside the mirror's vCPUs, and no rounds: the caller carries the
 * bytes, decides which pages go and when, and keeps everything that is not private memory.
 *
 *   source                                      target
 *   sevmirror_seal_create(source)               sevmirror_seal_create(target)
 *                          <-- offer blob --    sevmirror_seal_offer()
 *   sevmirror_seal_core()  -- core blob -->     sevmirror_seal_accept()
 *                          <-- (done) --        by the caller's own protocol
 *   sevmirror_lane_seal()  -- batch, bodies --> sevmirror_lane_open()        any number of times
 *   sevmirror_seal_map()   -- map blob -->      sevmirror_seal_map_load()
 *   sevmirror_seal_manifest() -- manifest -->   sevmirror_seal_manifest_check()
 *   sevmirror_seal_commit()                     sevmirror_seal_commit()
 *
 * A one-way session (a file in place of the target) is the same: the offer was made and stored
 * before, and the target reads core, batches, map and manifest later, without an answer.
 *
 * Any number of sessions, of different VMs, may live in one process. Functions return 0 or a
 * negative errno; sevmirror_seal_why() then has a sentence for people. Calls of one session are not
 * to overlap, except those of different lanes.
 */
#ifndef SEVMIRROR_SEAL_H
#define SEVMIRROR_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sevmirror/helper.h>
#include <sevmirror/host.h>

struct sev_pagemap;
struct sevmirror_seal;

/* The VM as the session sees it. Descriptors and mappings are borrowed until destroy. */
struct sevmirror_seal_vm {
	int kvm_fd; /* /dev/kvm, or -1: it is opened */
	int vm_fd; /* of the primary */
	int sev_fd; /* /dev/sev as KVM knows it; -1: the guest is not encrypted (for tests) */
	uint64_t cbit_mask; /* 1 << CPUID 0x8000001F EBX[5:0], 0 without SEV */
	/* What the helper may touch: RAM and encrypted flash; ascending, whole pages of 4 KiB. */
	unsigned int nranges;
	struct sevmirror_ram_range ranges[SEVMIRROR_MAX_RAM_RANGES];
	/*
	 * Memory of the helper, outside of the guest's (sevmirror_helper_place()): a memfd of
	 * region.bytes. The source launched its first region.core_bytes; both have registered it
	 * with the primary (KVM_MEMORY_ENCRYPT_REG_REGION) by its address.
	 */
	struct sevmirror_helper_memory helper;
};

struct sevmirror_seal_config {
	bool source;
	unsigned int rings; /* vCPUs of the mirror, 1 to 16; both sides use the same number */
	unsigned int lanes; /* callers that seal or open at the same time, 1 to 17 */
	unsigned int depth; /* batches of a lane that may be under way at once, 1 to 8 */
	/* First of all on each thread of a mirror's vCPU, to name, pin or confine it. May be NULL.
	 */
	void (*thread_begins)(void *opaque);
	void *opaque;
	/*
	 * ASK and ARK of the chips. Source: of the target's chip, in place of what the offer says,
	 * if not NULL. Target: goes into the offer.
	 */
	const void *vendor_chain;
	size_t vendor_chain_bytes;
};

/* Nothing of the guest or the host changes yet. -EINVAL, -ENOMEM. */
int sevmirror_seal_create(struct sevmirror_seal **seal, const struct sevmirror_seal_vm *vm,
			  const struct sevmirror_seal_config *config);
/*
 * Ends the mirror. Without sevmirror_seal_commit() before, it is an abort. NULL is allowed.
 */
void sevmirror_seal_destroy(struct sevmirror_seal *seal);

/* What the last failure was, in words; "" when there was none. Never NULL. */
const char *sevmirror_seal_why(const struct sevmirror_seal *seal);

/*
 * Blobs are versioned and length-checked; the caller frees them (free()). What comes in is a
 * stranger's and every byte of it is checked.
 */
struct sevmirror_blob {
	void *bytes;
	size_t len;
};

#define SEVMIRROR_OFFER_MAX (16u << 10) /* no offer is longer */
#define SEVMIRROR_CORE_MAX  (1u << 20)

/*
 * Target: who it is: version, helper's digest, C-bit, the platform's certificates. Needs no VM to
 * run: vm may be NULL then. May be stored and used for many sessions, until the platform's PDH
 * changes.
 */
int sevmirror_seal_offer(struct sevmirror_seal *seal, struct sevmirror_blob *offer);

/*
 * Source: start the helper, have it make a fresh session, and have the secure processor send its
 * core to the one who made the offer (SEND_START checks the certificates and enforces the policy).
 * -EPROTO: not an offer, or of another version or helper; -EIO: the firmware refuses. After a
 * failure the guest is as it was.
 */
int sevmirror_seal_core(struct sevmirror_seal *seal, const void *offer, size_t len,
			struct sevmirror_blob *core);

/*
 * Target, on a fresh VM (KVM_SEV_INIT done, no launch, memory registered): RECEIVE_START, the core,
 * RECEIVE_FINISH; then the helper is started and checks it. After 0 pages can be opened.
 */
int sevmirror_seal_accept(struct sevmirror_seal *seal, const void *core, size_t len);

/* One batch of page records. The bodies, a page of ciphertext each, travel as the caller likes. */
#define SEVMIRROR_BATCH_MAX 64

enum sevmirror_page_kind {
	SEVMIRROR_PAGE = 1, /* 4096 bytes of ciphertext */
	SEVMIRROR_PAGE_ZERO = 2, /* no body */
};

struct sevmirror_page_record {
	uint64_t gpa;
	uint32_t epoch;
	uint16_t kind; /* enum sevmirror_page_kind */
	uint16_t index; /* in the batch in which it was sealed */
	uint8_t tag[16];
};

/* As it travels: little-endian, no padding, SEVMIRROR_BATCH_BYTES(count) bytes. */
struct sevmirror_batch {
	uint8_t salt[24];
	uint32_t count;
	uint32_t reserved; /* 0 */
	struct sevmirror_page_record record[SEVMIRROR_BATCH_MAX];
};

#define SEVMIRROR_BATCH_BYTES(count) (32 + 32 * (size_t)(count))

/*
 * Lanes: number from 0, one thread at a time each. Slots: number from 0 to depth - 1. Bodies lie in
 * memory that the mirror sees, so they can be sent from there and received into there without a
 * copy: body i of a slot is SEVMIRROR_PAGE_BYTES at sevmirror_lane_body(), bodies follow one
 * another. They belong to the caller until the next submit in this slot.
 */
void *sevmirror_lane_body(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			  unsigned int i);

/*
 * Source: begin to seal pages, all of the batch or as many of the first ones as one vCPU serves
 * (chunks of 2 MiB alternate between them): *taken, at least one. finish waits for it and fills
 * *batch: record i has body i unless its kind says that it has none.
 */
int sevmirror_lane_seal_submit(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       const uint64_t *gpas, unsigned int n, unsigned int *taken);
int sevmirror_lane_seal_finish(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       struct sevmirror_batch *batch);

/* What became of a record that was to be opened. */
enum sevmirror_opened {
	SEVMIRROR_OPENED = 0, /* the guest's page has been written */
	SEVMIRROR_STALE, /* not newer than what is there: ignored, no error */
	SEVMIRROR_REFUSED, /* not what the source sealed in this session: nothing was written */
};

/*
 * Target: begin to open the records of a batch, or some of them (the salt goes with each); body i
 * of the slot is that of record i. Likewise *taken. finish: -EBADMSG when a record was refused;
 * opened[], if not NULL, says what became of each.
 */
int sevmirror_lane_open_submit(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       const struct sevmirror_batch *batch, unsigned int *taken);
int sevmirror_lane_open_finish(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       uint8_t opened[SEVMIRROR_BATCH_MAX]);

/*
 * The map of shared ranges (<sevmirror/pagemap.h>), sealed under the session by the helper: the
 * caller sends it at the end of each round and once the guest has stopped. load checks it and gives
 * it to map.
 */
int sevmirror_seal_map(struct sevmirror_seal *seal, const struct sev_pagemap *map,
		       struct sevmirror_blob *blob);
int sevmirror_seal_map_load(struct sevmirror_seal *seal, struct sev_pagemap *map, const void *blob,
			    size_t len);

/*
 * The same for bytes of the caller, where nothing else protects them (a file): the VMM's state.
 * name distinguishes them: a blob opens under the name that it was sealed with, and in this session
 * only. unseal: -EBADMSG.
 */
int sevmirror_seal_state(struct sevmirror_seal *seal, const char *name, const void *bytes,
			 size_t len, struct sevmirror_blob *blob);
int sevmirror_unseal_state(struct sevmirror_seal *seal, const char *name, const void *blob,
			   size_t len, struct sevmirror_blob *bytes);

/*
 * The manifest: source, once the guest has stopped and no batch is under way. check: 0 when every
 * page is what was sealed last; -EBADMSG, with the first range that differs in the sentence.
 */
int sevmirror_seal_manifest(struct sevmirror_seal *seal, struct sevmirror_blob *manifest);
int sevmirror_seal_manifest_check(struct sevmirror_seal *seal, const void *manifest, size_t len);

/*
 * The epoch of each page, sealed: given to the target before the pages, each page is then accepted
 * in exactly the version that was sealed last, once. Source: as for the manifest.
 */
int sevmirror_seal_epochs(struct sevmirror_seal *seal, struct sevmirror_blob *epochs);
int sevmirror_seal_epochs_load(struct sevmirror_seal *seal, const void *epochs, size_t len);

/*
 * The guest has moved (source: SEND_FINISH), or is here. Keys are wiped, the mirror ends. A source
 * whose firmware does not finish is no failure: 1, with the sentence in why.
 */
int sevmirror_seal_commit(struct sevmirror_seal *seal);
/* Source: SEND_CANCEL. Keys are wiped, the mirror ends, the guest is as it was. Idempotent. */
void sevmirror_seal_abort(struct sevmirror_seal *seal);

#endif
