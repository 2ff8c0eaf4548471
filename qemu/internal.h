/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this folder share. */
#ifndef SEVMIRROR_INTERNAL_H
#define SEVMIRROR_INTERNAL_H

#include "qemu/osdep.h"
#include "exec/cpu-common.h"
#include "qapi/error.h"
#include "qemu/thread.h"
#include "qom/object.h"

#include <sevmirror/helper.h>
#include <sevmirror/pagemap.h>
#include <sevmirror/seal.h>

#define TYPE_SEVMIRROR_HELPER "sevmirror-helper"
OBJECT_DECLARE_SIMPLE_TYPE(SevmirrorHelper, SEVMIRROR_HELPER)

/*
 * How far the guest's kernel has come with telling which pages it shares. On boot it reports all
 * RAM as encrypted, then its shared data, then each change (Linux, arch/x86/kernel/kvm.c,
 * kvm_init_platform()).
 */
enum shared_map_state {
	SHARED_MAP_UNKNOWN, /* firmware, boot loader, or a kernel that does not tell */
	SHARED_MAP_SWEEP, /* RAM has been reported as encrypted */
	SHARED_MAP_LIVE,
};

/* Batches of pages that the helper works on at once. */
#define SESSION_DEPTH 4
/* At most, of the library: multifd channels, and vCPUs of the helper that serve them. */
#define SESSION_LANES 32
#define SESSION_RINGS 16

struct SevmirrorHelper {
	Object parent;

	bool plain; /* for tests: a guest without encryption */
	char *vendor_chain; /* the file's name */
	char *vendor_chain_bytes;
	gsize vendor_chain_len;

	/* Of the guest-physical pages; from machine-init-done on. */
	struct sev_pagemap *map;
	uint32_t map_state; /* enum shared_map_state; changed by vCPU threads, atomically */
	/* The map in which every page is private, as sev_pagemap_save() writes it: for resets. */
	uint8_t *blank;
	size_t blank_bytes;

	/* launch.c: the guest's memory and the helper's; what of it is flash. */
	struct sevmirror_seal_vm vm;
	struct sevmirror_ram_range flash;
	bool incoming; /* it was started to receive a guest, and has not yet */

	/* session.c: the migration under way, NULL without one. */
	struct sevmirror_seal *session;
	/* Of what follows until the pages: threads of the return path and of channels use it. */
	QemuMutex lock;
	QemuCond target_said;
	GByteArray *offer;
	bool offer_complete, accepted;
	unsigned int users; /* multifd channels that use the session */
	bool open; /* for channels */
	bool ending; /* when the last channel has let it go */

	/*
	 * pages.c, the source's main channel: pages to be sealed; slots that are under way, the
	 * next one to use.
	 */
	uint64_t gpas[SEVMIRROR_BATCH_MAX];
	unsigned int waiting, in_flight, next_slot;
};

/*
 * The object, if the guest is plain SEV and so can be migrated by it; NULL otherwise. Not before
 * the machine has its confidential-guest-support.
 */
SevmirrorHelper *sevmirror_active(void);

/* shared-map.c: from machine-init-done on. */
void shared_map_init(SevmirrorHelper *helper);
bool shared_map_live(const SevmirrorHelper *helper);

/* launch.c: false if memory was added or taken away since the launch. */
bool helper_memory_unchanged(const SevmirrorHelper *helper);

/* pages.c: whether this page goes sealed, and its address. */
bool page_private(const SevmirrorHelper *helper, const RAMBlock *block, ram_addr_t offset,
		  uint64_t *gpa);

/* session.c: registers the section of QEMU's stream. */
void session_init(SevmirrorHelper *helper);
/*
 * For the threads of multifd's channels: the session stays until put. NULL: there is none yet, or
 * no page belongs to it any more.
 */
SevmirrorHelper *session_get(void);
void session_put(SevmirrorHelper *helper);
/* What failed, in words; err is what the library returned. */
const char *session_why(const SevmirrorHelper *helper, int err);
void session_report(const SevmirrorHelper *helper, int err);

/*
 * pages.c, target. QEMU marks each page that it loads itself, so unsealed, in its block's
 * receivedmap. Each batch that has been opened, on whatever channel, must be unmarked:
 * opened is what sevmirror_lane_open_finish() said of its records. Any thread.
 */
void pages_unmark_opened(const SevmirrorHelper *helper, const struct sevmirror_batch *batch,
			 const uint8_t *opened);

/*
 * pages.c, target, once all has been loaded: whether QEMU has loaded a page itself that is private,
 * and so had to come sealed. *gpa: where.
 */
bool pages_find_unsealed(const SevmirrorHelper *helper, uint64_t *gpa);

/* refusals.c: why 'migrate' is refused at this moment, or NULL. Freed by the caller. */
Error *refusal_now(const SevmirrorHelper *helper);
/* The check that 'migrate' and 'savevm' make before they begin. */
int refusals_prepare(void *opaque, Error **errp);

#endif
