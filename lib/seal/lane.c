/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Lanes: batches on their way through the helper. A ring answers in order, for all lanes; so each
 * has a queue of the jobs that wait, and a lane that waits for one takes the answers of those
 * before it.
 */
#include "lib/seal/engine.h"

#include <errno.h>
#include <string.h>

#include "lib/util/page.h"

_Static_assert(SEVMIRROR_BATCH_MAX == HELPER_BATCH_MAX, "one batch");
_Static_assert((int)SEVMIRROR_PAGE == (int)HELPER_PAGE &&
		       (int)SEVMIRROR_PAGE_ZERO == (int)HELPER_ZERO,
	       "kinds");
_Static_assert(sizeof(struct sevmirror_page_record) == 32, "no padding");
_Static_assert(sizeof(struct sevmirror_batch) == SEVMIRROR_BATCH_BYTES(SEVMIRROR_BATCH_MAX),
	       "no padding");

static struct seal_job *job_at(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot)
{
	if (!seal->rings || lane >= seal->config.lanes || slot >= seal->config.depth)
		return NULL;
	return &seal->job[lane][slot];
}

static unsigned int ring_for(const struct sevmirror_seal *seal, unsigned int lane, uint64_t gpa)
{
	return seal->any_ring ? lane % seal->nrings : rings_of(seal->rings, gpa);
}

void *sevmirror_lane_bodies(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot)
{
	const struct seal_job *job = job_at(seal, lane, slot);

	return job ? rings_page(seal->rings, job->page + 1) : NULL;
}

/* With the ring's lock: one answer, to the job that is due. */
static int reap(struct sevmirror_seal *seal, unsigned int number)
{
	struct seal_ring *ring = &seal->ring[number];
	struct helper_completion completion;
	struct seal_job *job;
	int err = rings_wait(seal->rings, number, &completion, SEAL_PATIENCE_NS);

	if (err)
		return err;
	job = ring->queue[ring->tail++ % HELPER_RING_ENTRIES];
	job->completion = completion;
	job->answered = true;
	return 0;
}

static int helper_failed(struct sevmirror_seal *seal, int err, const char *what)
{
	return err ? seal_fail_because(seal, SEVMIRROR_REASON_HELPER, err, "%s: %s", what,
				       rings_explain(seal->rings, err)) :
		     0;
}

int seal_drain(struct sevmirror_seal *seal)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < seal->nrings && !err; i++) {
		ring_lock_acquire(&seal->ring[i].lock, false);
		while (!err && seal->ring[i].head != seal->ring[i].tail)
			err = reap(seal, i);
		ring_lock_release(&seal->ring[i].lock);
	}
	return helper_failed(seal, err, "the helper did not finish a request");
}

int seal_begin_blob(struct sevmirror_seal *seal, struct sevmirror_blob *blob)
{
	int err = seal_need(seal, true);

	*blob = (struct sevmirror_blob){ 0 };
	return err ? err : seal_drain(seal);
}

static int submit(struct sevmirror_seal *seal, struct seal_job *job)
{
	struct helper_request request = { .op = job->op, .count = job->count, .page = job->page };
	struct seal_ring *ring = &seal->ring[job->ring];
	int err = 0;

	job->answered = false;
	ring_lock_acquire(&ring->lock, job->urgent);
	if (ring->head - ring->tail == HELPER_RING_ENTRIES)
		err = reap(seal, job->ring);
	if (!err)
		err = rings_submit(seal->rings, job->ring, &request, NULL);
	if (!err)
		ring->queue[ring->head++ % HELPER_RING_ENTRIES] = job;
	ring_lock_release(&ring->lock);
	if (err)
		job->count = 0;
	return helper_failed(seal, err, "cannot send a request to the helper");
}

/* The job's answer, after which its slot is the caller's. */
static int await(struct sevmirror_seal *seal, struct seal_job *job)
{
	struct seal_ring *ring = &seal->ring[job->ring];
	int err = 0;

	ring_lock_acquire(&ring->lock, job->urgent);
	while (!err && !job->answered)
		err = reap(seal, job->ring);
	job->late = err != 0;
	ring_lock_release(&ring->lock);
	return helper_failed(seal, err, "the helper did not finish a request");
}

/*
 * The slot for a batch of its owner. One whose last batch was not answered in time is in the ring's
 * queue, and the helper's, until the answer has come.
 */
static int take_slot(struct sevmirror_seal *seal, struct seal_job *job)
{
	return job->late ? await(seal, job) : 0;
}

int sevmirror_lane_seal_submit(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       const uint64_t *gpas, unsigned int n, bool urgent,
			       unsigned int *taken)
{
	struct seal_job *job = job_at(seal, lane, slot);
	struct helper_batch *batch;
	unsigned int i;
	int err;

	*taken = 0;
	if (!job || job->count || n < 1 || !seal->config.source)
		return -EINVAL;
	err = take_slot(seal, job);
	if (err)
		return err;
	batch = rings_page(seal->rings, job->page);
	job->ring = (uint8_t)ring_for(seal, lane, gpas[0]);
	job->op = HELPER_OP_SEAL;
	job->urgent = urgent;
	for (i = 0; i < n && i < HELPER_BATCH_MAX; i++) {
		if (ring_for(seal, lane, gpas[i]) != job->ring)
			break;
		batch->record[i].gpa = gpas[i];
		batch->record[i].slot = job->page + 1 + i;
	}
	job->count = i;
	err = submit(seal, job);
	if (!err)
		*taken = i;
	return err;
}

static int judge_seal(struct sevmirror_seal *seal, const struct seal_job *job)
{
	const struct helper_completion *c = &job->completion;

	if (c->op == HELPER_OP_SEAL && c->status == HELPER_OK && c->count == job->count)
		return 0;
	return seal_fail_because(seal, SEVMIRROR_REASON_HELPER, -EIO,
				 "the helper did not seal the pages of a request: %s",
				 rings_status_name(c->status));
}

int sevmirror_lane_seal_finish(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       struct sevmirror_batch *out)
{
	struct seal_job *job = job_at(seal, lane, slot);
	const struct helper_batch *batch;
	unsigned int i;
	int err;

	if (!job || !job->count || job->op != HELPER_OP_SEAL)
		return -EINVAL;
	err = await(seal, job);
	if (!err)
		err = judge_seal(seal, job);
	batch = rings_page(seal->rings, job->page);
	memcpy(out->salt, batch->salt, sizeof(out->salt));
	out->count = job->count;
	out->reserved = 0;
	for (i = 0; i < job->count && !err; i++) {
		struct helper_record r = batch->record[i];

		if (r.status != HELPER_OK || (r.kind != HELPER_PAGE && r.kind != HELPER_ZERO))
			err = seal_fail_because(seal, SEVMIRROR_REASON_HELPER, -EBADMSG,
						"the helper refused to seal the page at %#llx: %s",
						(unsigned long long)r.gpa,
						rings_status_name(r.status));
		out->record[i] = (struct sevmirror_page_record){
			.gpa = r.gpa, .epoch = r.epoch, .kind = r.kind, .index = r.index
		};
		memcpy(out->record[i].tag, r.tag, sizeof(r.tag));
	}
	job->count = 0;
	return err;
}

/* Into the window, where the helper will look. -EPROTO: not a batch. */
static int put_batch(struct sevmirror_seal *seal, unsigned int lane, struct seal_job *job,
		     const struct sevmirror_batch *in)
{
	struct helper_batch *batch = rings_page(seal->rings, job->page);
	uint32_t body = 0, i;

	job->ring = (uint8_t)ring_for(seal, lane, in->record[0].gpa);
	memcpy(batch->salt, in->salt, sizeof(batch->salt));
	for (i = 0; i < in->count; i++) {
		const struct sevmirror_page_record *from = &in->record[i];
		struct helper_record r = { .gpa = from->gpa,
					   .epoch = from->epoch,
					   .kind = from->kind,
					   .index = from->index };

		if (from->kind != SEVMIRROR_PAGE && from->kind != SEVMIRROR_PAGE_ZERO)
			return -EPROTO;
		memcpy(r.tag, from->tag, sizeof(r.tag));
		/* It stays so if the helper does not look at it. */
		r.status = HELPER_BAD_REQUEST;
		/* A mark has no body, but the helper wants a page of the window in any case. */
		r.slot = job->page + 1 + body;
		body += r.kind == HELPER_PAGE;
		batch->record[i] = r;
	}
	return 0;
}

int sevmirror_lane_open_submit(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       const struct sevmirror_batch *batch, bool urgent)
{
	struct seal_job *job = job_at(seal, lane, slot);
	int err;

	if (!job || job->count || seal->config.source)
		return -EINVAL;
	if (batch->count < 1 || batch->count > HELPER_BATCH_MAX || batch->reserved)
		return -EPROTO;
	err = take_slot(seal, job);
	if (err)
		return err;
	job->op = HELPER_OP_OPEN;
	job->urgent = urgent;
	err = put_batch(seal, lane, job, batch);
	if (err)
		return err;
	job->count = batch->count;
	return submit(seal, job);
}

static enum sevmirror_opened opened_as(uint32_t status)
{
	switch (status) {
	case HELPER_OK:
		return SEVMIRROR_OPENED;
	case HELPER_STALE:
		return SEVMIRROR_STALE;
	default:
		return SEVMIRROR_REFUSED;
	}
}

int seal_postcopy(struct sevmirror_seal *seal, const uint64_t *bitmap, uint64_t npages)
{
	int err = seal_need(seal, false);

	if (!err)
		err = seal_drain(seal);
	if (!err)
		err = rings_postcopy(seal->rings, bitmap, npages);
	return err ? seal_fail_because(seal, SEVMIRROR_REASON_HELPER, err,
				       "the helper on the target cannot begin post-copy: %s",
				       seal->rings ? rings_explain(seal->rings, err) :
						     strerror(-err)) :
		     0;
}

int seal_lane_open_statuses(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			    uint32_t status[SEVMIRROR_BATCH_MAX], unsigned int *count)
{
	struct seal_job *job = job_at(seal, lane, slot);
	const struct helper_batch *batch;
	unsigned int i;
	int err;

	if (!job || !job->count || job->op != HELPER_OP_OPEN)
		return -EINVAL;
	err = await(seal, job);
	if (!err && job->completion.op != HELPER_OP_OPEN)
		err = -EIO;
	batch = rings_page(seal->rings, job->page);
	for (i = 0; i < job->count; i++)
		status[i] = err ? (uint32_t)HELPER_BAD_REQUEST : batch->record[i].status;
	*count = job->count;
	job->count = 0;
	return err;
}

int sevmirror_lane_open_finish(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			       uint8_t opened[SEVMIRROR_BATCH_MAX])
{
	uint32_t status[SEVMIRROR_BATCH_MAX];
	unsigned int count = 0, i;
	int err = seal_lane_open_statuses(seal, lane, slot, status, &count);

	for (i = 0; i < count && err != -EINVAL; i++) {
		enum sevmirror_opened as = opened_as(status[i]);

		if (as == SEVMIRROR_REFUSED && !err)
			err = -EBADMSG;
		if (opened)
			opened[i] = (uint8_t)as;
	}
	return err;
}
