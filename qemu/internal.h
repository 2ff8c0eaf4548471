/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this folder share. */
#ifndef SEVMIRROR_INTERNAL_H
#define SEVMIRROR_INTERNAL_H

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qom/object.h"

#include <sevmirror/pagemap.h>

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

struct SevmirrorHelper {
	Object parent;

	char *vendor_chain;

	/* Of the guest-physical pages; from machine-init-done on. */
	struct sev_pagemap *map;
	uint32_t map_state; /* enum shared_map_state; changed by vCPU threads, atomically */
	/* The map in which every page is private, as sev_pagemap_save() writes it: for resets. */
	uint8_t *blank;
	size_t blank_bytes;
	/* vmstate: the map on its way. */
	uint8_t *saved;
	uint32_t saved_bytes;
};

/*
 * The object, if the guest is plain SEV and so can be migrated by it; NULL otherwise. Not before
 * the machine has its confidential-guest-support.
 */
SevmirrorHelper *sevmirror_active(void);

/* shared-map.c: from machine-init-done on. */
void shared_map_init(SevmirrorHelper *helper);
bool shared_map_live(const SevmirrorHelper *helper);

/* refusals.c: registers the check that 'migrate' and 'savevm' make before they begin. */
void refusals_init(SevmirrorHelper *helper);
/* Why 'migrate' is refused at this moment, or NULL. Freed by the caller. */
Error *refusal_now(const SevmirrorHelper *helper);

#endif
