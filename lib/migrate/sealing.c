/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/sealing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/migrate/keep_alive.h"
#include "lib/migrate/record.h"
#include "lib/mirror/mirror.h"
#include "lib/seal/engine.h"

/* The session's own words are the reason. */
static int session_failed(struct sevmirror_migration *m, int err)
{
	struct why why;

	if (err && seal_take_why(m->seal, &why))
		(void)session_fail_why(m, &why);
	return err ? session_fail(m, err, "%s cannot use the guest's Migration Helper: %s",
				  m->is_source ? "the source" : "the target", strerror(-err)) :
		     0;
}

static void helper_thread_begins(void *opaque)
{
	session_thread_begins(opaque, SEVMIRROR_THREAD_HELPER);
}

static struct sevmirror_seal_config config_of(struct sevmirror_migration *m)
{
	bool priority = m->hello.flags & WIRE_F_POSTCOPY;

	return (struct sevmirror_seal_config){
		.source = m->is_source,
		.rings = m->hello.streams,
		.lanes = m->hello.streams + priority,
		.depth = RECORD_DEPTH,
		.zero_marks = m->is_source && m->source.zero_marks,
		.thread_begins = helper_thread_begins,
		.opaque = m,
		.vendor_chain = m->is_source ? m->source.vendor_chain : m->target.vendor_chain,
		.vendor_chain_bytes =
			m->is_source ? m->source.vendor_chain_bytes : m->target.vendor_chain_bytes,
	};
}

/* From here on sevmirror_migration_cancel() reaches it. */
static void set_seal(struct sevmirror_migration *m, struct sevmirror_seal *seal)
{
	pthread_mutex_lock(&m->cancel_lock);
	m->seal = seal;
	if (seal && atomic_load(&m->cancelled))
		sevmirror_seal_cancel(seal);
	pthread_mutex_unlock(&m->cancel_lock);
}

int sealing_create(struct sevmirror_migration *m)
{
	const struct sevmirror_seal_config config = config_of(m);
	struct sevmirror_seal_vm vm = { .kvm_fd = m->vm.kvm_fd,
					.vm_fd = m->vm.vm_fd,
					.sev_fd = m->vm.sev ? m->vm.sev_fd : -1,
					.cbit_mask = m->vm.cbit_mask,
					.nranges = m->vm.nranges,
					.helper = m->vm.helper };
	struct sevmirror_seal *seal;
	int err;

	memcpy(vm.ranges, m->vm.ranges, sizeof(vm.ranges));
	err = sevmirror_seal_create(&seal, &vm, &config);
	if (err)
		return session_fail_because(m, SEVMIRROR_REASON_HELPER, err,
					    "the guest can have no helper region: %s",
					    strerror(-err));
	set_seal(m, seal);
	return 0;
}

int sealing_send_offer(struct sevmirror_migration *m)
{
	struct sevmirror_blob offer;
	int err = session_failed(m, sevmirror_seal_offer(m->seal, &offer));

	if (!err)
		err = session_send(m, WIRE_ACCEPT, offer.bytes, offer.len);
	free(offer.bytes);
	return err;
}

int sealing_receive_offer(struct sevmirror_migration *m, struct sevmirror_blob *offer)
{
	return session_recv_after_work(m, WIRE_ACCEPT, &offer->bytes, &offer->len);
}

/* Without SEV the session's secret is in it. */
static void wipe(struct sevmirror_blob *blob)
{
	if (blob->bytes)
		explicit_bzero(blob->bytes, blob->len);
	free(blob->bytes);
}

int sealing_send_core(struct sevmirror_migration *m, const struct sevmirror_blob *offer)
{
	struct sevmirror_blob core;
	int err = sevmirror_seal_core(m->seal, offer->bytes, offer->len, &core);

	sealing_count_commands(m);
	err = session_failed(m, err);
	if (!err)
		err = session_send(m, WIRE_CORE, core.bytes, core.len);
	wipe(&core);
	return err;
}

/* The source chose the number of the helper's vCPUs, and streams belong to vCPUs. */
static int check_rings(struct sevmirror_migration *m)
{
	if (!m->seal->any_ring && m->seal->nrings == m->hello.streams)
		return 0;
	return session_fail(m, -EPROTO,
			    "the source sent a core for another number of streams than %u",
			    m->hello.streams);
}

int sealing_receive_core(struct sevmirror_migration *m)
{
	struct sevmirror_blob core = { .bytes = malloc(SEVMIRROR_CORE_MAX),
				       .len = SEVMIRROR_CORE_MAX };
	struct keep_alive keep_alive;
	size_t len;
	int err;

	if (!core.bytes)
		return session_fail(m, -ENOMEM,
				    "the target is out of memory for the helper's core");
	/* Into a buffer of full size: one that grows would leave copies of the secret behind. */
	err = message_recv(m->control, WIRE_CORE, core.bytes, 0, core.len, &len, m->timeout_ms,
			   &m->why);
	if (!err)
		err = keep_alive_begin(&keep_alive, m);
	if (!err) {
		err = session_failed(m, sevmirror_seal_accept(m->seal, core.bytes, len));
		keep_alive_end(&keep_alive);
		sealing_count_commands(m);
	}
	wipe(&core);
	return err ? err : check_rings(m);
}

int manifest_send(struct sevmirror_migration *m)
{
	struct sevmirror_blob manifest;
	int err = session_failed(m, sevmirror_seal_manifest(m->seal, &manifest));

	if (!err)
		err = session_send(m, WIRE_MANIFEST, manifest.bytes, manifest.len);
	free(manifest.bytes);
	return err;
}

int manifest_check(struct sevmirror_migration *m, const void *manifest, size_t len)
{
	return session_failed(m, sevmirror_seal_manifest_check(m->seal, manifest, len));
}

int manifest_receive(struct sevmirror_migration *m)
{
	void *manifest;
	size_t len;
	int err = session_recv_alloc(m, WIRE_MANIFEST, &manifest, &len);

	if (!err)
		err = manifest_check(m, manifest, len);
	free(manifest);
	return err;
}

uint64_t sealing_helper_exits(const struct sevmirror_migration *m)
{
	return m->seal && m->seal->rings ? mirror_exits(rings_mirror(m->seal->rings)) : 0;
}

void sealing_count_commands(struct sevmirror_migration *m)
{
	if (m->seal && m->summary)
		m->summary->psp_commands = (unsigned int)seal_commands(m->seal);
}

void sealing_forget(struct sevmirror_migration *m)
{
	(void)seal_take_why(m->seal, NULL);
}

int sealing_postcopy(struct sevmirror_migration *m, const uint64_t *bitmap)
{
	return session_failed(m, seal_postcopy(m->seal, bitmap, m->numbering.npages));
}

void sealing_take_back(struct sevmirror_migration *m)
{
	if (m->seal)
		seal_stop_sending(m->seal);
}

static void commit(struct sevmirror_migration *m)
{
	sealing_forget(m);
	/*
	 * The guest has left, so this is no failure; destroying the VM ends the firmware's context
	 * as well.
	 */
	if (sevmirror_seal_commit(m->seal) > 0)
		snprintf(m->summary->warning, sizeof(m->summary->warning),
			 "the guest runs on the target, but %.300s", sevmirror_seal_why(m->seal));
}

void sealing_end(struct sevmirror_migration *m, bool moved)
{
	struct sevmirror_seal *seal = m->seal;

	if (!seal)
		return;
	if (moved)
		commit(m);
	else
		sevmirror_seal_abort(seal);
	sealing_count_commands(m);
	set_seal(m, NULL);
	sevmirror_seal_destroy(seal);
}
