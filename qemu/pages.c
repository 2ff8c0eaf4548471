/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private pages in RAM's section of QEMU's stream: batches that the helper seals and opens. What
 * the guest shares with the host goes as QEMU sends any page.
 */
#include "internal.h"

#include "exec/ramblock.h"
#include "migration/migration-stats.h"
#include "migration/qemu-file.h"
#include "migration/ram.h"
#include "qemu/error-report.h"
#include "system/sevmirror.h"

#define LANE 0

/* The page's address if it is in memory that the helper may touch. */
static bool page_gpa(const SevmirrorHelper *helper, const RAMBlock *block, ram_addr_t offset,
		     uint64_t *gpa)
{
	const char *hva = (const char *)block->host + offset;
	unsigned int i;

	for (i = 0; i < helper->vm.nranges; i++) {
		const struct sevmirror_ram_range *range = &helper->vm.ranges[i];
		const char *start = range->hva;

		if (hva < start || hva >= start + range->bytes)
			continue;
		*gpa = range->gpa + (uint64_t)(hva - start);
		return true;
	}
	return false;
}

/* Wait for the oldest batch that is being sealed, and send it. */
static int send_oldest(SevmirrorHelper *helper, QEMUFile *f)
{
	unsigned int slot = (helper->next_slot - helper->in_flight) % SESSION_DEPTH;
	struct sevmirror_batch batch;
	const uint8_t *bodies = sevmirror_lane_bodies(helper->session, LANE, slot);
	uint64_t bytes;
	unsigned int i;
	int err = sevmirror_lane_seal_finish(helper->session, LANE, slot, &batch);

	helper->in_flight--;
	if (err) {
		session_report(helper, err);
		return err;
	}
	bytes = 8 + 4 + SEVMIRROR_BATCH_BYTES(batch.count);
	qemu_put_be64(f, RAM_SAVE_FLAG_SEVMIRROR);
	qemu_put_be32(f, batch.count);
	qemu_put_buffer(f, (const uint8_t *)&batch, SEVMIRROR_BATCH_BYTES(batch.count));
	for (i = 0; i < batch.count; i++) {
		if (batch.record[i].kind != SEVMIRROR_PAGE)
			continue;
		qemu_put_buffer(f, bodies + i * SEVMIRROR_PAGE_BYTES, SEVMIRROR_PAGE_BYTES);
		bytes += SEVMIRROR_PAGE_BYTES;
	}
	ram_transferred_add(bytes);
	stat64_add(&mig_stats.normal_pages, batch.count);
	return qemu_file_get_error(f);
}

/* Have what waits sealed; the helper's vCPU works on it while QEMU collects the next pages. */
static int submit_waiting(SevmirrorHelper *helper, QEMUFile *f)
{
	unsigned int done = 0, taken;
	int err = 0;

	while (done < helper->waiting && !err) {
		if (helper->in_flight == SESSION_DEPTH)
			err = send_oldest(helper, f);
		if (!err)
			err = sevmirror_lane_seal_submit(
				helper->session, LANE, helper->next_slot % SESSION_DEPTH,
				helper->gpas + done, helper->waiting - done, false, &taken);
		if (err)
			break;
		helper->next_slot++;
		helper->in_flight++;
		done += taken;
	}
	helper->waiting = 0;
	return err;
}

bool sevmirror_save_page(QEMUFile *f, RAMBlock *block, ram_addr_t offset, int *result)
{
	SevmirrorHelper *helper = sevmirror_active();
	uint64_t gpa;
	int err = 0;

	if (!helper || !helper->session || !page_gpa(helper, block, offset, &gpa) ||
	    !sev_pagemap_is_private(helper->map, gpa / SEVMIRROR_PAGE_BYTES))
		return false;
	helper->gpas[helper->waiting++] = gpa;
	if (helper->waiting == SEVMIRROR_BATCH_MAX)
		err = submit_waiting(helper, f);
	*result = err ? err : 1;
	return true;
}

int sevmirror_flush_pages(QEMUFile *f)
{
	SevmirrorHelper *helper = sevmirror_active();
	int err;

	if (!helper || !helper->session)
		return 0;
	err = submit_waiting(helper, f);
	while (!err && helper->in_flight)
		err = send_oldest(helper, f);
	return err;
}

int sevmirror_load_pages(QEMUFile *f)
{
	SevmirrorHelper *helper = sevmirror_active();
	uint32_t count = qemu_get_be32(f);
	struct sevmirror_batch batch;
	unsigned int i, bodies = 0;
	size_t bytes;
	int err;

	if (!helper || !helper->session || !count || count > SEVMIRROR_BATCH_MAX) {
		error_report("sevmirror-helper: %u pages that nobody expects", count);
		return -EINVAL;
	}
	bytes = SEVMIRROR_BATCH_BYTES(count);
	if (qemu_get_buffer(f, (uint8_t *)&batch, bytes) != bytes || batch.count != count)
		return -EINVAL;
	for (i = 0; i < count; i++)
		bodies += batch.record[i].kind == SEVMIRROR_PAGE;
	bytes = bodies * SEVMIRROR_PAGE_BYTES;
	if (qemu_get_buffer(f, sevmirror_lane_bodies(helper->session, LANE, 0), bytes) != bytes)
		return -EINVAL;
	err = sevmirror_lane_open_submit(helper->session, LANE, 0, &batch, false);
	if (!err)
		err = sevmirror_lane_open_finish(helper->session, LANE, 0, NULL);
	if (err)
		session_report(helper, err);
	return err;
}
