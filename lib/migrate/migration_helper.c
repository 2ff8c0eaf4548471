/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/migration_helper.h"

#include <errno.h>
#include <string.h>

#include "helper/layout.h"
#include "lib/seal/helper_place.h"
#include "lib/migrate/record.h"
#include "lib/mirror/calls.h"
#include "lib/mirror/mirror.h"
#include "lib/mirror/region.h"
#include "lib/mirror/rings.h"
#include "lib/util/page.h"

/*
 * Some microseconds each: batches wait for one another in both directions, and when CPUs are fewer
 * than streams and vCPUs, whoever polls takes the time from whom it waits for. With four batches on
 * the way an exit to sleep comes once in hundreds of pages.
 */
#define HELPER_POLLS 200
#define HOST_POLLS   100

static int plan_region(struct sevmirror_migration *m, struct region_plan *plan)
{
	int err = helper_place_plan(plan, m->vm.ranges, m->vm.nranges, m->vm.cbit_mask);

	if (err)
		return session_fail_because(m, SEVMIRROR_REASON_HELPER, err,
					    "the guest can have no helper region: %s",
					    strerror(-err));
	m->core_bytes = plan->core_bytes;
	m->helper_bytes = plan->bytes;
	return 0;
}

int migration_helper_plan(struct sevmirror_migration *m)
{
	struct region_plan plan;

	return plan_region(m, &plan);
}

static void helper_thread_begins(void *opaque)
{
	session_thread_begins(opaque, SEVMIRROR_THREAD_HELPER);
}

int migration_helper_start(struct sevmirror_migration *m)
{
	struct mirror_ram ram[SEVMIRROR_MAX_RAM_RANGES];
	struct region_plan plan;
	struct rings_config config = {
		.kvm_fd = m->vm.kvm_fd,
		.primary_fd = m->vm.sev ? m->vm.vm_fd : -1,
		.plan = &plan,
		.region_fd = m->vm.helper.fd,
		.region_offset = m->vm.helper.offset,
		.ram = ram,
		.nram = m->vm.nranges,
		.nrings = m->hello.streams,
		.data_pages = RECORD_RING_PAGES,
		.thread_begins = helper_thread_begins,
		.thread_opaque = m,
	};
	struct why why;
	int err = plan_region(m, &plan);

	if (err)
		return err;
	for (unsigned int i = 0; i < m->vm.nranges; i++)
		ram[i] = helper_place_ram(&m->vm.ranges[i]);
	err = rings_create(&m->rings, &config, &why);
	if (!err)
		rings_spin(m->rings, HELPER_POLLS, HOST_POLLS);
	return err ? session_fail_because(m, SEVMIRROR_REASON_HELPER, err,
					  "the Migration Helper cannot start at the %s: %s",
					  m->is_source ? "source" : "target", why.text) :
		     0;
}

int migration_helper_make_session(struct sevmirror_migration *m)
{
	enum helper_state state;
	int err = rings_hello(m->rings, &state, m->helper_session);

	/* A migration that broke off with batches under way could not wipe its session. */
	if (!err && state != HELPER_EMPTY)
		err = rings_session_wipe(m->rings);
	if (!err)
		err = rings_session_make(m->rings, 0, m->helper_session);
	return err ? session_fail_because(m, SEVMIRROR_REASON_HELPER, err,
					  "the helper cannot make a session at the source: %s",
					  rings_explain(m->rings, err)) :
		     0;
}

int migration_helper_check_session(struct sevmirror_migration *m)
{
	enum helper_state state;
	int err = rings_hello(m->rings, &state, m->helper_session);

	if (!err && state != HELPER_TARGET)
		err = -EPROTO;
	return err ? session_fail_because(
			     m, SEVMIRROR_REASON_HELPER, err,
			     "the helper at the target has no session to receive pages in") :
		     0;
}

uint64_t migration_helper_exits(const struct sevmirror_migration *m)
{
	return m->rings ? mirror_exits(rings_mirror(m->rings)) : 0;
}

/*
 * A helper that is dead, or does not answer, has not wiped its keys. Without SEV the host can: the
 * key page, and what the helper makes anew at its start. With SEV nobody but the helper can read
 * them, and the next session begins by wiping.
 */
static void wipe_for_helper(struct sevmirror_migration *m)
{
	uint8_t *region = m->vm.helper.hva;

	for (unsigned int i = 0; i < rings_count(m->rings); i++)
		mirror_vcpu_stop(rings_mirror(m->rings), i);
	explicit_bzero(region + HELPER_CORE_KEYS * PAGE_BYTES, PAGE_BYTES);
	explicit_bzero(region + m->core_bytes, m->helper_bytes - m->core_bytes);
}

void migration_helper_stop(struct sevmirror_migration *m)
{
	if (!m->rings)
		return;
	/* After a failure batches may be pending and this fails. */
	if (rings_session_wipe(m->rings) && !m->vm.sev)
		wipe_for_helper(m);
	rings_destroy(m->rings);
	m->rings = NULL;
}
