/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/migrate_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/migrate/migration_helper.h"
#include "lib/migrate/record.h"
#include "lib/mirror/calls.h"

#define PAGE   SEVMIRROR_PAGE_BYTES
#define WINDOW (RIG_STREAMS * RECORD_RING_PAGES)

/* One ring: requests under way, oldest first. A ring is used by one thread at a time. */
struct rings {
	struct {
		struct helper_request request[RECORD_DEPTH];
		unsigned int head, tail;
		size_t answered;
		bool dead; /* from then on it answers nothing, as lib/mirror/ring.c has it */
	} ring[RIG_STREAMS];
	const struct rig *rig;
};

static uint8_t ram[RIG_RAM_BYTES] __attribute__((aligned(4096)));
static uint8_t window[WINDOW][PAGE] __attribute__((aligned(4096)));
static struct rings helper;

void rig_need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

void rig_reset(struct rig *rig, const uint8_t *answers, size_t nanswers)
{
	memset(rig, 0, sizeof(*rig));
	memset(&helper, 0, sizeof(helper));
	rig->answers = answers;
	rig->nanswers = nanswers;
	helper.rig = rig;
}

uint8_t rig_byte(struct rig_bytes *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

size_t rig_take(struct rig_bytes *in, void *out, size_t max)
{
	size_t len = rig_byte(in);

	len = len > max ? max : len;
	len = len > in->left ? in->left : len;
	if (len)
		memcpy(out, in->data, len);
	in->data += len;
	in->left -= len;
	return len;
}

static uint8_t next_answer(unsigned int ring)
{
	const struct rig *rig = helper.rig;

	if (!rig->nanswers)
		return 0;
	return rig->answers[(helper.ring[ring].answered++ + ring) % rig->nanswers];
}

/* ---- the helper, in place of lib/migrate/migration_helper.c and lib/mirror ---- */

int migration_helper_plan(struct sevmirror_migration *m)
{
	m->core_bytes = RIG_CORE_PAGES * PAGE;
	m->helper_bytes = RIG_RAM_BYTES - RIG_HELPER_GPA;
	return 0;
}

int migration_helper_start(struct sevmirror_migration *m)
{
	m->rings = &helper;
	return migration_helper_plan(m);
}

int migration_helper_make_session(struct sevmirror_migration *m)
{
	return 0;
}

int migration_helper_check_session(struct sevmirror_migration *m)
{
	return 0;
}

uint64_t migration_helper_exits(const struct sevmirror_migration *m)
{
	return 0;
}

void migration_helper_stop(struct sevmirror_migration *m)
{
	m->rings = NULL;
}

uint32_t rings_data(const struct rings *rings, unsigned int ring, uint32_t *npages)
{
	rig_need(ring < RIG_STREAMS, "a ring that is none");
	*npages = RECORD_RING_PAGES;
	return ring * RECORD_RING_PAGES;
}

void *rings_page(const struct rings *rings, uint32_t page)
{
	return page < WINDOW ? window[page] : NULL;
}

int rings_submit(struct rings *rings, unsigned int ring, const struct helper_request *request,
		 uint32_t *id)
{
	rig_need(ring < RIG_STREAMS, "a ring that is none");
	rig_need(rings->ring[ring].head - rings->ring[ring].tail < RECORD_DEPTH,
		 "more batches than there is room for");
	rig_need(request->count >= 1 && request->count <= HELPER_BATCH_MAX,
		 "a batch of an impossible size");
	rig_need(request->page / RECORD_RING_PAGES == ring &&
			 request->page % RECORD_BATCH_PAGES == 0,
		 "a batch that is not the ring's");
	rings->ring[ring].request[rings->ring[ring].head++ % RECORD_DEPTH] = *request;
	return 0;
}

static uint32_t seal(const struct helper_request *request, struct helper_record *r, unsigned int i)
{
	rig_need(r->slot == request->page + 1 + i, "a slot of another batch");
	rig_need(r->gpa % PAGE == 0 && r->gpa < RIG_HELPER_GPA, "the helper is to seal its own");
	r->epoch = 1;
	r->kind = HELPER_PAGE;
	r->index = (uint16_t)i;
	memcpy(window[r->slot], ram + r->gpa, PAGE);
	return HELPER_OK;
}

static uint32_t open_record(const struct helper_request *request, const struct helper_record *r,
			    unsigned int ring)
{
	if (r->kind != HELPER_PAGE && r->kind != HELPER_ZERO)
		return HELPER_BAD_REQUEST;
	if (r->gpa % PAGE || r->gpa >= RIG_HELPER_GPA)
		return HELPER_BAD_GPA;
	if (helper_ring_of(r->gpa / PAGE, RIG_STREAMS) != ring)
		return HELPER_NOT_MINE;
	if (r->kind == HELPER_PAGE) {
		rig_need(r->slot > request->page && r->slot < request->page + RECORD_BATCH_PAGES,
			 "a slot of another batch");
		memcpy(ram + r->gpa, window[r->slot], PAGE);
	}
	return HELPER_OK;
}

unsigned int rings_pending(const struct rings *rings, unsigned int ring)
{
	return rings->ring[ring].head - rings->ring[ring].tail;
}

int rings_wait(struct rings *rings, unsigned int ring, struct helper_completion *completion,
	       uint64_t timeout)
{
	const struct helper_request *request =
		&rings->ring[ring].request[rings->ring[ring].tail % RECORD_DEPTH];
	struct helper_batch *batch = (struct helper_batch *)window[request->page];
	uint8_t answer = next_answer(ring);

	rig_need(rings_pending(rings, ring) > 0, "a wait for nothing");
	rings->ring[ring].dead |= answer == 1;
	if (rings->ring[ring].dead)
		return -EPROTO;
	rings->ring[ring].tail++;
	memset(completion, 0, sizeof(*completion));
	completion->op = answer == 2 ? HELPER_OP_HELLO : request->op;
	completion->status = answer == 3 ? HELPER_BAD_STATE : HELPER_OK;
	completion->count = answer == 4 ? answer * 100u : request->count;
	for (unsigned int i = 0; i < request->count; i++) {
		struct helper_record *r = &batch->record[i];

		r->status = request->op == HELPER_OP_SEAL ? seal(request, r, i) :
							    open_record(request, r, ring);
		if (answer > 4 && answer < 32 && i == answer % request->count)
			r->status = answer;
	}
	return 0;
}

const char *rings_status_name(unsigned int status)
{
	return "a status";
}

uint32_t rings_manifest_spans(const struct rings *rings)
{
	return 1;
}

int rings_manifest_make(struct rings *rings, struct rings_manifest *manifest)
{
	memset(manifest->span, RIG_MANIFEST_TAG, sizeof(manifest->span[0]));
	return 0;
}

int rings_manifest_check(struct rings *rings, const struct rings_manifest *manifest,
			 uint32_t *differing, uint32_t *first)
{
	*differing = 1;
	*first = 0;
	for (size_t i = 0; i < sizeof(manifest->span[0]); i++)
		if (((const uint8_t *)manifest->span)[i] != RIG_MANIFEST_TAG)
			return -EBADMSG;
	return 0;
}

/* ---- the VM ---- */

static int op_describe(void *opaque, struct sevmirror_vm *vm)
{
	*vm = (struct sevmirror_vm){ .name = "rig",
				     .kvm_fd = -1,
				     .vm_fd = -1,
				     .sev_fd = -1,
				     .helper_gpa = RIG_HELPER_GPA,
				     .nranges = 1,
				     .ranges = {
					     { .bytes = RIG_RAM_BYTES, .fd = -1, .hva = ram } } };
	return 0;
}

static ssize_t op_save(void *opaque, void *buf, size_t max)
{
	memcpy(buf, "rig", 3);
	return 3;
}

static int op_check(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	if (len && *(const uint8_t *)buf == 'r')
		return 0;
	snprintf(why, max, "refused");
	return -EINVAL;
}

static int op_config_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct rig *rig = opaque;

	rig->built++;
	return op_check(opaque, buf, len, why, max);
}

static int op_state_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct rig *rig = opaque;

	rig->loaded++;
	return op_check(opaque, buf, len, why, max);
}

static int op_dirty_start(void *opaque)
{
	return 0;
}

static int op_dirty_fetch(void *opaque, uint64_t *bitmap, size_t npages)
{
	bitmap[0] |= next_answer(0);
	return 0;
}

static void op_dirty_stop(void *opaque)
{
}

static int op_pause(void *opaque)
{
	((struct rig *)opaque)->paused++;
	return 0;
}

static int op_resume(void *opaque)
{
	((struct rig *)opaque)->resumed++;
	return 0;
}

static void op_throttle(void *opaque, unsigned int percent)
{
}

static int op_disks_release(void *opaque)
{
	((struct rig *)opaque)->released++;
	return 0;
}

static int op_disks_acquire(void *opaque, char *why, size_t max)
{
	((struct rig *)opaque)->acquired++;
	return 0;
}

static void op_handed_over(void *opaque)
{
	((struct rig *)opaque)->handed_over++;
}

const struct sevmirror_host_ops rig_ops = {
	.describe = op_describe,
	.config_save = op_save,
	.config_load = op_config_load,
	.compat_save = op_save,
	.compat_check = op_check,
	.dirty_start = op_dirty_start,
	.dirty_fetch = op_dirty_fetch,
	.dirty_stop = op_dirty_stop,
	.pause = op_pause,
	.resume = op_resume,
	.throttle = op_throttle,
	.state_save = op_save,
	.state_load = op_state_load,
	.disks_release = op_disks_release,
	.disks_acquire = op_disks_acquire,
	.handed_over = op_handed_over,
};
