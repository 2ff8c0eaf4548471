/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A sealing session: what the private memory of one guest needs to move, and nothing else. It has
 * no sockets, no threads except the mirror's vCPUs, and no rounds: the caller carries the bytes,
 * decides which pages go and when, and keeps everything that is not private memory.
 *
 *   source                                      target
 *   sevmirror_seal_create()                     sevmirror_seal_create()
 *                              <-- offer ---    sevmirror_seal_offer()
 *   sevmirror_seal_core()      --- core --->    sevmirror_seal_accept()
 *   sevmirror_lane_seal...()   -- batches ->    sevmirror_lane_open...()     any number of times
 *   sevmirror_seal_map()       --- map ---->    sevmirror_seal_map_load()    likewise
 *   sevmirror_seal_manifest()  - manifest ->    sevmirror_seal_manifest_check()
 *   sevmirror_seal_commit()                     sevmirror_seal_commit()
 *
 * A one-way session (a file in place of the target) is the same: the offer was made and stored
 * before, and the target reads what the source wrote, without an answer. With
 * sevmirror_seal_epochs(), read before the pages, each page is checked exactly when it is opened.
 *
 * Any number of sessions, of different VMs, may live in one process. The library prints nothing,
 * installs no signal handler (its vCPU threads use SIGRTMAX, blocked outside of KVM_RUN), starts no
 * program; a failure ends a session at most. Functions return 0 or a negative errno;
 * sevmirror_seal_why() then has a sentence for people. Calls of one session must not overlap,
 * except those of different lanes, and sevmirror_seal_cancel().
 */
#ifndef SEVMIRROR_SEAL_H
#define SEVMIRROR_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sevmirror/helper.h>
#include <sevmirror/host.h>

struct sev_pagemap; /* <sevmirror/pagemap.h> */
struct sevmirror_seal;

/*
 * The VM as the session sees it. Descriptors and mappings are borrowed until destroy. The caller
 * has done KVM_SEV_INIT, the launch (source), KVM_MEMORY_ENCRYPT_REG_REGION of RAM and of the
 * helper's memory; the session does SEND_*, RECEIVE_* and the mirror.
 */
struct sevmirror_seal_vm {
	int kvm_fd; /* /dev/kvm, or -1: it is opened */
	int vm_fd; /* of the primary */
	int sev_fd; /* /dev/sev as KVM knows it; -1: the guest is not encrypted (for tests) */
	uint64_t cbit_mask; /* 1 << CPUID 0x8000001F EBX[5:0], 0 without SEV */
	/*
	 * What the helper may touch: RAM, and flash that is encrypted; ascending, whole pages of 4
	 * KiB. With a file the mirror has a mapping of its own; with fd -1 it uses hva, which must
	 * be writable at the target.
	 */
	unsigned int nranges;
	struct sevmirror_ram_range ranges[SEVMIRROR_MAX_RAM_RANGES];
	/*
	 * May serve any number of sessions, one at a time, of a guest that is source and target in
	 * turn, and is never written or zeroed by the caller after the launch.
	 */
	struct sevmirror_helper_memory helper;
};

struct sevmirror_seal_config {
	bool source;
	/* vCPUs of the mirror, 1 to 16. Unless any_ring both sides use the same number. */
	unsigned int rings;
	unsigned int lanes; /* callers that seal or open at the same time, 1 to 32 */
	unsigned int depth; /* batches of a lane that may be under way at once, 1 to 8 */
	/*
	 * Source: lane i uses vCPU i modulo rings for whatever page, instead of the one that serves
	 * the page's chunk of 2 MiB. The caller does not put a page into two lanes at once, nor
	 * opens the records of a page in another order than they were sealed in. (What breaks this
	 * is found by the manifest.)
	 */
	bool any_ring;
	/* Source: a page of zeros has no body. That tells the hosts which pages are zeros. */
	bool zero_marks;
	/* Called first on each thread of a mirror's vCPU, to name, pin or confine it; or NULL. */
	void (*thread_begins)(void *opaque);
	void *opaque;
	/*
	 * ASK and ARK of the target's chip, borrowed. Source: in place of what the offer says, if
	 * not NULL. Target: goes into the offer.
	 */
	const void *vendor_chain;
	size_t vendor_chain_bytes;
};

/*
 * Nothing of the guest or the host changes yet. vm may be NULL at a target that only makes an offer
 * (then sev_fd is opened for it). -EINVAL, -ENOMEM.
 */
int sevmirror_seal_create(struct sevmirror_seal **seal, const struct sevmirror_seal_vm *vm,
			  const struct sevmirror_seal_config *config);
/* Aborts unless it was committed. NULL is allowed. */
void sevmirror_seal_destroy(struct sevmirror_seal *seal);

/* What the first failure was, in words; "" when there was none. Never NULL. */
const char *sevmirror_seal_why(struct sevmirror_seal *seal);

/* Any thread: seal_core() and seal_accept() return -ECANCELED at the next firmware command. */
void sevmirror_seal_cancel(struct sevmirror_seal *seal);

/*
 * Bytes that travel; the caller frees them (free()). A blob that comes in is not trusted:
 * version, lengths and every number in it are checked.
 */
struct sevmirror_blob {
	void *bytes;
	size_t len;
};

#define SEVMIRROR_OFFER_MAX (32u << 10) /* no offer is longer */
#define SEVMIRROR_CORE_MAX  (2u << 20)

/*
 * Target: version, helper's digest, C-bit, the platform's certificates. May be stored and used for
 * many sessions, until the platform's PDH changes.
 */
int sevmirror_seal_offer(struct sevmirror_seal *seal, struct sevmirror_blob *offer);

/*
 * Source: start the helper, have it make a fresh session, and have the secure processor send its
 * core to the host that the offer describes (SEND_START checks the certificates and enforces the
 * policy). -EPROTO: not an offer, or of another version or helper; -ENOTSUP: a host that the guest
 * cannot run on; -EIO: the firmware refuses. After a failure the guest is as it was.
 */
int sevmirror_seal_core(struct sevmirror_seal *seal, const void *offer, size_t len,
			struct sevmirror_blob *core);

/*
 * Target, on a fresh VM: RECEIVE_START, the core, RECEIVE_FINISH; then the helper is started and
 * checks the core. From 0 on pages can be opened.
 */
int sevmirror_seal_accept(struct sevmirror_seal *seal, const void *core, size_t len);

/* After core or accept: the session's public name, the same on both sides. */
void sevmirror_seal_session(const struct sevmirror_seal *seal, uint8_t session[16]);

/* One batch of page records. The bodies, a page of ciphertext each, travel as the caller likes. */
#define SEVMIRROR_BATCH_MAX 64

enum sevmirror_page_kind {
	SEVMIRROR_PAGE = 1, /* 4096 bytes of ciphertext */
	SEVMIRROR_PAGE_ZERO = 2, /* no body */
};

struct sevmirror_page_record {
	uint64_t gpa;
	uint32_t epoch; /* how often the page was sealed in this session */
	uint16_t kind; /* enum sevmirror_page_kind */
	uint16_t index; /* in the batch in which it was sealed */
	uint8_t tag[16];
};

/* As it travels: little-endian, no padding, the first SEVMIRROR_BATCH_BYTES(count) bytes. */
struct sevmirror_batch {
	uint8_t salt[24];
	uint32_t count;
	uint32_t reserved; /* 0 */
	struct sevmirror_page_record record[SEVMIRROR_BATCH_MAX];
};

#define SEVMIRROR_BATCH_BYTES(count) (32 + 32 * (size_t)(count))

/*
 * Lanes have numbers from 0, each is used by one thread at a time. Slots have numbers from 0, below
 * depth. Bodies are in memory that the mirror sees, so they are sent from there and received into
 * there without a copy: body i of a slot is at body 0 + i pages. They belong to the caller until
 * the next submit in this slot. urgent: a page that a vCPU waits for, before all others.
 */
void *sevmirror_lane_bodies(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot);

/*
 * Source: begin to seal pages, as many of the first ones as one vCPU serves: *taken, at least one,
 * and all n with any_ring or a single ring. What a page holds at that moment is sealed, whether the
 * guest thinks it private or not. finish waits and fills *batch: record i has body i unless its
 * kind has none.
 */
int sevmirror_lane_seal_submit(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       const uint64_t *gpas, unsigned int n, bool urgent,
			       unsigned int *taken);
int sevmirror_lane_seal_finish(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       struct sevmirror_batch *batch);

/* What became of a record that was to be opened. */
enum sevmirror_opened {
	SEVMIRROR_OPENED = 0, /* the guest's page has been written */
	SEVMIRROR_STALE, /* not newer than what is there: ignored, no error */
	SEVMIRROR_REFUSED, /* not what the source sealed in this session: nothing was written */
};

/*
 * Target: open the records of a batch, or some of them (the salt goes with each), all of one vCPU's
 * chunks unless any_ring or a single ring. The bodies of those that have one follow one another in
 * the slot. finish: -EBADMSG when a record was refused; opened[i], if not NULL, says what became of
 * record i. -EPROTO: not a batch.
 */
int sevmirror_lane_open_submit(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       const struct sevmirror_batch *batch, bool urgent);
int sevmirror_lane_open_finish(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       uint8_t opened[SEVMIRROR_BATCH_MAX]);

/* The calls below wait for all lanes' batches: nobody may submit or finish meanwhile. */

/*
 * The map of shared ranges, sealed: at the end of each round, and once the guest has stopped. load
 * checks it, refuses one that is older than the last, and gives it to map.
 */
int sevmirror_seal_map(struct sevmirror_seal *seal, const struct sev_pagemap *map,
		       struct sevmirror_blob *blob);
int sevmirror_seal_map_load(struct sevmirror_seal *seal, struct sev_pagemap *map, const void *blob,
			    size_t len);

/*
 * Bytes of the caller where nothing else protects them (a file): the VMM's state, at most 1 GiB.
 * name, 1 to 7 characters: a blob opens under the name that it was sealed with, and in this session
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
 * The epoch of each page, sealed. Given to the target before any page, each page is then accepted
 * in exactly the version that was sealed last, once; anything else is refused. Source: as the
 * manifest.
 */
int sevmirror_seal_epochs(struct sevmirror_seal *seal, struct sevmirror_blob *epochs);
int sevmirror_seal_epochs_load(struct sevmirror_seal *seal, const void *epochs, size_t len);

/*
 * The guest has moved (source: SEND_FINISH), or is here. Keys are wiped, the mirror ends. Firmware
 * that does not finish is no failure of the move: 1, with the sentence in why.
 */
int sevmirror_seal_commit(struct sevmirror_seal *seal);
/*
 * In any state, idempotent, waits for no firmware but SEND_CANCEL. Keys are wiped, the mirror ends;
 * the source's guest is as it was and may be migrated again. (A source that may still get its
 * guest back after the move ends this way, too.)
 */
void sevmirror_seal_abort(struct sevmirror_seal *seal);

#endif
