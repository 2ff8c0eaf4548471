/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private pages in RAM's section of QEMU's stream, on its main channel: batches that the helper
 * seals and opens. What the guest shares with the host goes as QEMU sends any page. With multifd
 * both kinds go by its queue (multifd.c).
 */
#include "internal.h"

#include "exec/ramblock.h"
#include "migration/migration.h"
#include "migration/migration-stats.h"
#include "migration/multifd.h"
#include "migration/options.h"
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

bool page_private(const SevmirrorHelper *helper, const RAMBlock *block, ram_addr_t offset,
		  uint64_t *gpa)
{
	return page_gpa(helper, block, offset, gpa) &&
	       sev_pagemap_is_private(helper->map, *gpa / SEVMIRROR_PAGE_BYTES);
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

	if (!helper || !helper->session || !page_private(helper, block, offset, &gpa))
		return false;
	if (migrate_multifd()) {
		*result = multifd_queue_page(block, offset) ? 1 : -EIO;
		return true;
	}
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

/* The block in which this page of the guest is, and where; NULL if the helper may not touch it. */
static RAMBlock *page_block(const SevmirrorHelper *helper, uint64_t gpa, ram_addr_t *offset)
{
	unsigned int i;

	for (i = 0; i < helper->vm.nranges; i++) {
		const struct sevmirror_ram_range *range = &helper->vm.ranges[i];

		if (gpa >= range->gpa && gpa - range->gpa < range->bytes)
			return qemu_ram_block_from_host((char *)range->hva + (gpa - range->gpa),
							false, offset);
	}
	return NULL;
}

void pages_unmark_opened(const SevmirrorHelper *helper, const struct sevmirror_batch *batch,
			 const uint8_t *opened)
{
	ram_addr_t offset;
	RAMBlock *block;
	unsigned int i;

	RCU_READ_LOCK_GUARD();
	for (i = 0; i < batch->count; i++) {
		if (opened[i] != SEVMIRROR_OPENED)
			continue;
		block = page_block(helper, batch->record[i].gpa, &offset);
		if (block && block->receivedmap)
			clear_bit_atomic(offset / SEVMIRROR_PAGE_BYTES, block->receivedmap);
	}
}

/* The first private page in this range that is marked in receivedmap. */
static bool find_unsealed(const SevmirrorHelper *helper, const struct sevmirror_ram_range *range,
			  uint64_t *gpa)
{
	uint64_t at, bytes;

	for (at = 0; at < range->bytes; at += bytes) {
		unsigned long first, end, bit;
		ram_addr_t offset;
		RAMBlock *block = page_block(helper, range->gpa + at, &offset);

		if (!block || !block->receivedmap)
			return false;
		bytes = MIN(range->bytes - at, block->used_length - offset);
		first = offset / SEVMIRROR_PAGE_BYTES;
		end = first + bytes / SEVMIRROR_PAGE_BYTES;
		for (bit = find_next_bit(block->receivedmap, end, first); bit < end;
		     bit = find_next_bit(block->receivedmap, end, bit + 1)) {
			*gpa = range->gpa + at + (bit - first) * SEVMIRROR_PAGE_BYTES;
			if (sev_pagemap_is_private(helper->map, *gpa / SEVMIRROR_PAGE_BYTES))
				return true;
		}
	}
	return false;
}

bool pages_find_unsealed(const SevmirrorHelper *helper, uint64_t *gpa)
{
	unsigned int i;

	RCU_READ_LOCK_GUARD();
	for (i = 0; i < helper->vm.nranges; i++)
		if (find_unsealed(helper, &helper->vm.ranges[i], gpa))
			return true;
	return false;
}

int sevmirror_load_pages(QEMUFile *f)
{
	SevmirrorHelper *helper = sevmirror_active();
	uint32_t count = qemu_get_be32(f);
	struct sevmirror_batch batch;
	uint8_t opened[SEVMIRROR_BATCH_MAX];
	unsigned int i, bodies = 0;
	size_t bytes;
	int err;

	if (!helper || !helper->session || migrate_multifd() || !count ||
	    count > SEVMIRROR_BATCH_MAX) {
		error_report(
			"sevmirror-helper: a batch of %u pages when none is expected, or too many",
			count);
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
		err = sevmirror_lane_open_finish(helper->session, LANE, 0, opened);
	if (err)
		session_report(helper, err);
	else
		pages_unmark_opened(helper, &batch, opened);
	return err;
}
