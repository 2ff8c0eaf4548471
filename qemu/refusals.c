/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is refused, each thing by a sentence that names it: guests that can never be migrated, and
 * ways of saving and migrating that would take an encrypted guest's pages for plain ones.
 */
#include "internal.h"

#include "cpu.h"
#include "hw/boards.h"
#include "qapi/qapi-types-migration.h"
#include "migration/client-options.h"
#include "migration/misc.h"
#include "migration/options.h"
#include "migration/register.h"
#include "sev.h"
#include "system/sevmirror.h"

Error *sevmirror_blocker(void)
{
	Error *reason = NULL;

	if (!sev_enabled() || sevmirror_active())
		return NULL;
	if (sev_snp_enabled())
		error_setg(&reason, "SEV-SNP guests cannot be migrated, only plain SEV guests can");
	else if (sev_es_enabled())
		error_setg(&reason,
			   "SEV-ES guests cannot be migrated, only plain SEV guests can: the "
			   "guest's policy has the bit SEV-ES (0x4)");
	else
		error_setg(&reason, "this SEV guest cannot be migrated: it was started without the "
				    "Migration Helper (-object sevmirror-helper,id=mh0)");
	return reason;
}

bool sevmirror_allows(const char *what, Error **errp)
{
	if (!sev_enabled())
		return true;
	error_setg(errp,
		   "%s of an encrypted (SEV) guest: QEMU would take ciphertext for its memory",
		   what);
	return false;
}

bool sevmirror_check_address(const MigrationAddress *address, Error **errp)
{
	if (!sevmirror_active())
		return true;
	switch (address->transport) {
	case MIGRATION_ADDRESS_TYPE_FILE:
		error_setg(errp,
			   "an SEV guest cannot be migrated to a file: its key goes to another "
			   "host's secure processor, which must answer");
		return false;
	case MIGRATION_ADDRESS_TYPE_RDMA:
		error_setg(errp,
			   "an SEV guest cannot be migrated by RDMA: use TCP or a Unix socket");
		return false;
	default:
		return true;
	}
}

/* Capabilities that do not go with private pages. */
static const struct {
	bool (*on)(void);
	const char *name;
	const char *why;
} refused_capabilities[] = {
	{ migrate_xbzrle, "xbzrle", "it compares pages, and QEMU sees only their ciphertext" },
	{ migrate_mapped_ram, "mapped-ram", "pages go to another host, not to a file" },
	{ migrate_ignore_shared, "x-ignore-shared", "the target has a key of its own" },
	{ migrate_background_snapshot, "background-snapshot", "QEMU sees only ciphertext" },
	{ migrate_postcopy_ram, "postcopy-ram", "an SEV guest's memory is pinned" },
	{ migrate_release_ram, "release-ram", "an SEV guest's memory is pinned" },
	{ migrate_colo, "x-colo", "two hosts cannot run the same SEV guest" },
	{ migrate_zero_copy_send, "zero-copy-send", "pages are sealed before they are sent" },
};

/* A parameter of multifd that does not go with private pages, or NULL. */
static Error *refused_multifd(void)
{
	Error *reason = NULL;

	if (!migrate_multifd())
		return NULL;
	if (migrate_multifd_compression() != MULTIFD_COMPRESSION_NONE)
		error_setg(&reason,
			   "an SEV guest cannot be migrated with multifd-compression '%s': sealed "
			   "pages do not get smaller; set it to 'none'",
			   MultiFDCompression_str(migrate_multifd_compression()));
	else if (migrate_multifd_channels() > SESSION_LANES)
		error_setg(&reason,
			   "an SEV guest cannot be migrated with %d multifd-channels: %d at most",
			   migrate_multifd_channels(), SESSION_LANES);
	return reason;
}

static Error *refused_capability(void)
{
	Error *reason = NULL;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(refused_capabilities); i++) {
		if (!refused_capabilities[i].on())
			continue;
		error_setg(
			&reason,
			"an SEV guest cannot be migrated with the capability '%s': %s; switch it "
			"off",
			refused_capabilities[i].name, refused_capabilities[i].why);
		return reason;
	}
	if (migrate_mode() != MIG_MODE_NORMAL)
		error_setg(&reason,
			   "an SEV guest cannot be migrated in mode '%s' (CPR): the new QEMU "
			   "would have no access to its key",
			   MigMode_str(migrate_mode()));
	else if (!migrate_return_path())
		error_setg(&reason,
			   "an SEV guest needs the capability 'return-path': the target's secure "
			   "processor answers the source's (virsh: not with --tunnelled, and the "
			   "guest cannot be saved to a file)");
	return reason ? reason : refused_multifd();
}

Error *refusal_now(const SevmirrorHelper *helper)
{
	Error *reason = NULL;

	if (!shared_map_live(helper)) {
		error_setg(&reason,
			   "this SEV guest cannot be migrated yet: its firmware or boot loader "
			   "runs, and its kernel has not told which pages it shares with the "
			   "host (Linux 5.16 or later does so at boot)");
		return reason;
	}
	if (!helper_memory_unchanged(helper)) {
		error_setg(&reason,
			   "this SEV guest cannot be migrated: memory was plugged or unplugged "
			   "since its launch");
		return reason;
	}
	return refused_capability();
}

int refusals_prepare(void *opaque, Error **errp)
{
	Error *reason = refusal_now(opaque);

	if (!reason)
		return 0;
	error_propagate(errp, reason);
	return -EINVAL;
}
