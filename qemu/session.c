/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One sealing session a migration, as a section of QEMU's stream:
 *
 *   setup      the source says hello; the target makes its offer by the return path; the source
 *              has its secure processor send the helper's core; the target says that it has it
 *   final      after the last page: the map of shared pages and the manifest. The target checks
 *              both before it loads devices, and a target that refuses tells so by the return path
 *
 * The pages between them are in RAM's section (pages.c), or in multifd's channels (multifd.c).
 */
#include "internal.h"

#include "migration/migration.h"
#include "migration/misc.h"
#include "migration/options.h"
#include "migration/qemu-file.h"
#include "migration/register.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "sev.h"
#include "system/sevmirror.h"

#define STREAM_VERSION 2
#define RP_CHUNK       480 /* the source's buffer for a message has 512 bytes */
#define WAIT_MS	       100
#define PATIENCE_MS    60000
#define MAP_MAX	       (64u << 20)

enum { PART_HELLO = 1, PART_FINAL = 2 };

/* Of multifd; 0: pages go by the main channel. */
static unsigned int channels(void)
{
	return migrate_multifd() ? migrate_multifd_channels() : 0;
}

const char *session_why(const SevmirrorHelper *helper, int err)
{
	const char *why = sevmirror_seal_why(helper->session);

	if (*why)
		return why;
	return err == -EBADMSG ? "what came is not what the source sealed for this target" :
				 strerror(-err);
}

void session_report(const SevmirrorHelper *helper, int err)
{
	error_report("sevmirror-helper: %s", session_why(helper, err));
}

static int session_create(SevmirrorHelper *helper, bool source, Error **errp)
{
	struct sevmirror_seal_config config = {
		.source = source,
		.rings = MIN(MAX(channels(), 1), SESSION_RINGS),
		.lanes = MAX(channels(), 1),
		.depth = SESSION_DEPTH,
		.any_ring = channels() > 0,
		.vendor_chain = helper->vendor_chain_bytes,
		.vendor_chain_bytes = helper->vendor_chain_len,
	};
	int err;

	err = sevmirror_seal_create(&helper->session, &helper->vm, &config);
	if (err)
		error_setg(errp, "the sealing session: %s", strerror(-err));
	return err;
}

/* With the lock. */
static void destroy(SevmirrorHelper *helper)
{
	sevmirror_seal_destroy(helper->session);
	helper->session = NULL;
	helper->ending = false;
	helper->waiting = helper->in_flight = 0;
}

/*
 * Now, or when multifd's channels have ended: at the source QEMU ends them after its sections.
 * Until then they send from the session's memory.
 */
static void session_end(SevmirrorHelper *helper)
{
	QEMU_LOCK_GUARD(&helper->lock);
	helper->open = false;
	helper->ending = true;
	if (!helper->users)
		destroy(helper);
}

/* false: a channel uses it, of which none should now. */
static bool session_close(SevmirrorHelper *helper)
{
	QEMU_LOCK_GUARD(&helper->lock);
	helper->open = false;
	return !helper->users;
}

static void session_open(SevmirrorHelper *helper)
{
	QEMU_LOCK_GUARD(&helper->lock);
	helper->open = true;
}

SevmirrorHelper *session_get(void)
{
	SevmirrorHelper *helper = sevmirror_active();

	if (!helper)
		return NULL;
	QEMU_LOCK_GUARD(&helper->lock);
	if (!helper->open)
		return NULL;
	helper->users++;
	return helper;
}

void session_put(SevmirrorHelper *helper)
{
	QEMU_LOCK_GUARD(&helper->lock);
	helper->users--;
	if (!helper->users && helper->ending)
		destroy(helper);
}

static void put_blob(QEMUFile *f, struct sevmirror_blob *blob)
{
	qemu_put_be32(f, (uint32_t)blob->len);
	qemu_put_buffer(f, blob->bytes, blob->len);
	explicit_bzero(blob->bytes, blob->len); /* without SEV the core has the session's secret */
	free(blob->bytes);
}

/* NULL, and the stream has an error, when it is longer than max. */
static void *get_blob(QEMUFile *f, size_t max, size_t *len)
{
	void *bytes;

	*len = qemu_get_be32(f);
	if (qemu_file_get_error(f) || *len > max)
		return NULL;
	bytes = g_malloc(*len + 1);
	if (qemu_get_buffer(f, bytes, *len) == *len)
		return bytes;
	g_free(bytes);
	return NULL;
}

/* The return path's thread. */
void sevmirror_rp_message(const void *bytes, size_t len)
{
	SevmirrorHelper *helper = sevmirror_active();

	if (!helper)
		return;
	QEMU_LOCK_GUARD(&helper->lock);
	/* Once it is whole it is read without the lock; what comes then is the second answer. */
	if (helper->offer_complete) {
		helper->accepted = !len;
	} else {
		if (len && helper->offer->len + len <= SEVMIRROR_OFFER_MAX)
			g_byte_array_append(helper->offer, bytes, len);
		helper->offer_complete = !len;
	}
	qemu_cond_signal(&helper->target_said);
}

/* The target's end of the return path is closed, or the migration is cancelled. */
static bool target_is_gone(void)
{
	return !migration_is_running() || migrate_has_error(migrate_get_current());
}

/* what: "made its offer". */
static int wait_for_target(SevmirrorHelper *helper, const bool *said, const char *what,
			   Error **errp)
{
	int left = PATIENCE_MS;

	QEMU_LOCK_GUARD(&helper->lock);
	for (; !*said && left > 0 && !target_is_gone(); left -= WAIT_MS)
		qemu_cond_timedwait(&helper->target_said, &helper->lock, WAIT_MS);
	if (*said)
		return 0;
	if (left > 0)
		error_setg(errp,
			   "the migration was cancelled, or the target ended it, before the target "
			   "had %s: the target's log may tell why",
			   what);
	else
		error_setg(errp,
			   "the target has not %s in %d seconds: is it a QEMU with -object "
			   "sevmirror-helper, and with the same multifd channels?",
			   what, PATIENCE_MS / 1000);
	return -ETIMEDOUT;
}

static int make_core(SevmirrorHelper *helper, struct sevmirror_blob *core, Error **errp)
{
	int err = wait_for_target(helper, &helper->offer_complete, "made its offer", errp);

	if (!err)
		err = session_create(helper, true, errp);
	if (err)
		return err;
	err = sevmirror_seal_core(helper->session, helper->offer->data, helper->offer->len, core);
	if (err)
		error_setg(errp, "%s", session_why(helper, err));
	return err;
}

static int flush(QEMUFile *f, Error **errp)
{
	int err = qemu_fflush(f);

	if (err)
		error_setg_errno(errp, -err, "the connection to the target");
	return err;
}

/* From 0 on the target takes pages, from any channel. */
static int send_core(SevmirrorHelper *helper, QEMUFile *f, Error **errp)
{
	struct sevmirror_blob core = { 0 };
	int err = make_core(helper, &core, errp);

	if (err)
		return err;
	put_blob(f, &core);
	err = flush(f, errp);
	if (!err)
		err = wait_for_target(helper, &helper->accepted, "accepted the guest's key", errp);
	if (!err)
		session_open(helper);
	return err;
}

/* The migration thread, with QEMU's big lock, which is let go: the secure processor takes time. */
static int on_save_setup(QEMUFile *f, void *opaque, Error **errp)
{
	SevmirrorHelper *helper = opaque;
	int err;

	WITH_QEMU_LOCK_GUARD(&helper->lock)
	{
		g_byte_array_set_size(helper->offer, 0);
		helper->offer_complete = helper->accepted = false;
	}
	qemu_put_be32(f, PART_HELLO);
	qemu_put_be32(f, STREAM_VERSION);
	qemu_put_be32(f, channels());
	err = flush(f, errp);
	if (err)
		return err;
	bql_unlock();
	err = send_core(helper, f, errp);
	bql_lock();
	return err;
}

static int on_save_complete(QEMUFile *f, void *opaque)
{
	SevmirrorHelper *helper = opaque;
	struct sevmirror_blob map = { 0 }, manifest = { 0 };
	int err = sevmirror_seal_map(helper->session, helper->map, &map);

	if (!err)
		err = sevmirror_seal_manifest(helper->session, &manifest);
	if (err) {
		free(map.bytes);
		session_report(helper, err);
		return err;
	}
	qemu_put_be32(f, PART_FINAL);
	qemu_put_be32(f, helper->map_state);
	put_blob(f, &map);
	put_blob(f, &manifest);
	return 0;
}

/*
 * The source's guest is as it was, whatever came of its migration: also after one that went well,
 * because libvirt lets it run on here if the target does not get it to run.
 */
static void on_save_cleanup(void *opaque)
{
	session_end(opaque);
}

static int send_offer(SevmirrorHelper *helper, MigrationIncomingState *mis)
{
	struct sevmirror_blob offer;
	size_t at, len;
	int err = sevmirror_seal_offer(helper->session, &offer);

	if (err) {
		session_report(helper, err);
		return err;
	}
	for (at = 0; !err && at < offer.len; at += len) {
		len = MIN(offer.len - at, RP_CHUNK);
		err = migrate_send_rp_sevmirror(mis, (char *)offer.bytes + at, len);
	}
	free(offer.bytes);
	return err ? err : migrate_send_rp_sevmirror(mis, NULL, 0);
}

/* Whether this target can take what a source says hello to. */
static bool check_hello(const SevmirrorHelper *helper, const MigrationIncomingState *mis,
			uint32_t version, uint32_t from)
{
	if (version != STREAM_VERSION)
		error_report(
			"sevmirror-helper: the source speaks version %u, this target version %u",
			version, STREAM_VERSION);
	else if (from != channels())
		error_report("sevmirror-helper: the source has %u multifd channels, this target "
			     "%u: set the capability 'multifd' and the parameter "
			     "'multifd-channels' alike on both",
			     from, channels());
	else if (!helper->incoming || helper->session || !mis->to_src_file)
		error_report("sevmirror-helper: this QEMU waits for no SEV guest");
	else
		return true;
	return false;
}

static int load_hello(QEMUFile *f, SevmirrorHelper *helper)
{
	MigrationIncomingState *mis = migration_incoming_get_current();
	uint32_t version = qemu_get_be32(f);
	uint32_t from = version == STREAM_VERSION ? qemu_get_be32(f) : 0;
	Error *error = NULL;
	void *core;
	size_t len;
	int err;

	if (!check_hello(helper, mis, version, from))
		return -EINVAL;
	err = session_create(helper, false, &error);
	if (err) {
		error_report_err(error);
		return err;
	}
	err = send_offer(helper, mis);
	if (err)
		return err;
	core = get_blob(f, SEVMIRROR_CORE_MAX, &len);
	if (!core) {
		error_report("sevmirror-helper: the source's stream ends in the helper's core, or "
			     "the core is longer than %u bytes",
			     SEVMIRROR_CORE_MAX);
		return -EINVAL;
	}
	err = sevmirror_seal_accept(helper->session, core, len);
	explicit_bzero(core, len);
	g_free(core);
	if (err) {
		session_report(helper, err);
		return err;
	}
	if (helper->vm.sev_fd >= 0)
		sev_guest_received();
	session_open(helper);
	return migrate_send_rp_sevmirror(mis, NULL, 0);
}

static int load_final(QEMUFile *f, SevmirrorHelper *helper)
{
	uint32_t map_state = qemu_get_be32(f);
	size_t map_len, manifest_len = 0;
	g_autofree void *map = get_blob(f, MAP_MAX, &map_len);
	g_autofree void *manifest = map ? get_blob(f, SEVMIRROR_CORE_MAX, &manifest_len) : NULL;
	int err;

	if (!helper->session || !manifest || map_state > SHARED_MAP_LIVE) {
		error_report("sevmirror-helper: the source's map and manifest are damaged, or come "
			     "without a session");
		return -EINVAL;
	}
	/* An honest source's channels are idle: all have answered the last SYNC. */
	if (!session_close(helper)) {
		error_report("sevmirror-helper: a multifd channel sends pages after the last one");
		return -EINVAL;
	}
	err = sevmirror_seal_manifest_check(helper->session, manifest, manifest_len);
	if (!err)
		err = sevmirror_seal_map_load(helper->session, helper->map, map, map_len);
	if (err) {
		session_report(helper, err);
		return err;
	}
	qatomic_set(&helper->map_state, map_state);
	helper->incoming = false;
	sevmirror_seal_commit(helper->session);
	session_end(helper);
	return 0;
}

static int on_load(QEMUFile *f, void *opaque, int version)
{
	uint32_t part = qemu_get_be32(f);

	switch (part) {
	case PART_HELLO:
		return load_hello(f, opaque);
	case PART_FINAL:
		return load_final(f, opaque);
	default:
		error_report("sevmirror-helper: the source sends a part %u, which is not known",
			     part);
		return -EINVAL;
	}
}

int sevmirror_loaded(QEMUFile *f)
{
	SevmirrorHelper *helper = sevmirror_active();
	uint64_t gpa;

	if (!helper)
		return 0;
	if (helper->incoming)
		error_report("sevmirror-helper: the source's stream has no manifest at its end: "
			     "the guest does not run here");
	else if (pages_find_unsealed(helper, &gpa))
		error_report("sevmirror-helper: the private page at 0x%" PRIx64
			     " came unsealed: the guest does not run here",
			     gpa);
	else
		return 0;
	qemu_file_set_error(f, -EINVAL); /* so the source hears of it */
	return -EINVAL;
}

/* What a migration that failed on its way has left. */
static int on_load_cleanup(void *opaque)
{
	session_end(opaque);
	return 0;
}

static const SaveVMHandlers handlers = {
	.save_prepare = refusals_prepare,
	.save_setup = on_save_setup,
	.save_live_complete_precopy = on_save_complete,
	.save_cleanup = on_save_cleanup,
	.load_state = on_load,
	.load_cleanup = on_load_cleanup,
};

void session_init(SevmirrorHelper *helper)
{
	qemu_mutex_init(&helper->lock);
	qemu_cond_init(&helper->target_said);
	helper->offer = g_byte_array_new();
	register_savevm_live(TYPE_SEVMIRROR_HELPER, 0, STREAM_VERSION, &handlers, helper);
}
