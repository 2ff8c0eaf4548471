/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/stream_in_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/migrate/postcopy_in.h"
#include "lib/mirror/rings.h"
#include "lib/util/page.h"

int stream_in_fail(struct stream_in *s, int err, const char *what)
{
	return session_stream_failed(&s->why, SEVMIRROR_REASON_NONE, err, s->number, what,
				     rings_explain(s->all->m->rings, err));
}

int stream_in_helper_failed(struct stream_in *s, int err, const char *what)
{
	return session_stream_failed(&s->why, SEVMIRROR_REASON_HELPER, err, s->number, what,
				     rings_explain(s->all->m->rings, err));
}

/*
 * What became of a batch: every record must have been written, or be older than what is there. In
 * post-copy the pages written are the primary's from here on; also those of a batch in which others
 * were refused.
 */
static int judge_batch(struct stream_in *s, const struct helper_batch *batch,
		       const struct batch *mine)
{
	struct postcopy_in *postcopy = atomic_load(&s->all->m->postcopy);
	char name[SESSION_STREAM_NAME_BYTES];
	uint64_t written[HELPER_BATCH_MAX];
	unsigned int n = 0;
	int err = 0, install;

	for (unsigned int i = 0; i < mine->records; i++) {
		uint32_t status = batch->record[i].status;

		if (status == HELPER_OK) {
			written[n++] = mine->number[i];
		} else if (status == HELPER_STALE && !postcopy) {
			atomic_fetch_add(&s->all->stale, 1);
		} else if (!err) {
			err = -EBADMSG;
			session_stream_name(s->number, name);
			why_because(&s->why, SEVMIRROR_REASON_HELPER, err,
				    "%s: the helper refused the page at %#llx: %s", name,
				    (unsigned long long)(page_gfn(&s->all->m->numbering,
								  mine->number[i]) *
							 PAGE_BYTES),
				    rings_status_name(status));
		}
	}
	if (!postcopy)
		return err;
	install = postcopy_in_installed(postcopy, written, n, s->number == WIRE_PRIORITY_STREAM);
	if (install && !err)
		err = stream_in_fail(s, install, "mapping pages");
	return err;
}

/*
 * With the ring locked: take the oldest batch back from the helper. blame: whose error it is.
 */
static int finish_batch(struct stream_in *s, struct stream_in *blame)
{
	struct sevmirror_migration *m = s->all->m;
	const struct helper_batch *batch =
		rings_page(m->rings, record_batch_page(s->window, s->tail));
	const struct batch *mine = &s->batch[s->tail % RECORD_DEPTH];
	struct helper_completion completion;
	int err = rings_wait(m->rings, s->number, &completion, HELPER_PATIENCE_NS);

	if (err)
		return stream_in_helper_failed(blame, err, "waiting for the helper");
	s->tail++; /* it is answered, well or not: nobody must wait for it again */
	if (completion.op != HELPER_OP_OPEN)
		return stream_in_helper_failed(blame, -EIO, "the helper answered another question");
	return judge_batch(blame, batch, mine);
}

/*
 * With the ring locked. Goes on after a refused record, whose error it returns: what the helper has
 * opened must not be forgotten.
 */
static int drain_locked(struct stream_in *s, struct stream_in *blame)
{
	int err = 0;

	while (s->head != s->tail) {
		unsigned int before = s->tail;
		int one = finish_batch(s, blame);

		err = err ? err : one;
		if (s->tail == before)
			return err;
	}
	return err;
}

int stream_in_drain(struct stream_in *s)
{
	int err;

	ring_lock_acquire(&s->ring_lock, false);
	err = drain_locked(s, s);
	ring_lock_release(&s->ring_lock);
	return err;
}

/* The helper has batches of the stream. The priority stream may be taking them back just now. */
static bool has_pending(struct stream_in *s)
{
	bool pending;

	ring_lock_acquire(&s->ring_lock, false);
	pending = s->head != s->tail;
	ring_lock_release(&s->ring_lock);
	return pending;
}

/*
 * The bodies of a batch, from the socket into the window, where their pages follow one another. In
 * post-copy pages that are open do not wait for the network, so they are taken one by one.
 */
static int recv_bodies(struct stream_in *s, const struct wire_frame *header, uint32_t page)
{
	struct sevmirror_migration *m = s->all->m;
	bool postcopy = atomic_load(&m->postcopy);
	uint32_t piece = postcopy ? PAGE_BYTES : header->payload_bytes;
	int err = 0;

	for (uint32_t done = 0; done < header->payload_bytes; done += piece) {
		uint8_t *at = rings_page(m->rings, page + 1);

		if (postcopy && has_pending(s) && !channel_readable(s->channel))
			err = stream_in_drain(s);
		if (err)
			return err;
		err = channel_recv(s->channel, at + done, piece, m->timeout_ms);
		if (err)
			return stream_in_fail(s, err, "receiving pages");
		atomic_fetch_add(&s->all->moved, 1);
	}
	return 0;
}

/* Put a received batch into the window at `page`, where the helper will look. */
static int recv_batch(struct stream_in *s, const struct wire_frame *header, size_t len,
		      uint32_t page, struct batch *mine)
{
	struct sevmirror_migration *m = s->all->m;
	const struct record_private *records =
		(const void *)(s->directory + sizeof(struct record_batch));
	struct helper_batch *batch = rings_page(m->rings, page);
	uint32_t body = 0;

	if (len != sizeof(struct record_batch) + header->records * sizeof(records[0]))
		return stream_in_fail(s, -EPROTO, "the source sent a directory of a wrong size");
	memcpy(batch->salt, s->directory, sizeof(batch->salt));
	mine->records = header->records;
	for (unsigned int i = 0; i < header->records; i++) {
		struct helper_record *r = &batch->record[i];

		memset(r, 0, sizeof(*r));
		r->gpa = records[i].gpa;
		r->epoch = records[i].epoch;
		r->kind = records[i].kind;
		r->index = records[i].index;
		memcpy(r->tag, records[i].tag, sizeof(r->tag));
		r->status =
			HELPER_BAD_REQUEST; /* what it stays if the helper does not look at it */
		if (r->kind == HELPER_PAGE)
			r->slot = page + 1 + body++;
		mine->number[i] = page_number(&m->numbering, records[i].gpa / PAGE_BYTES);
		if (mine->number[i] == UINT64_MAX)
			return stream_in_fail(
				s, -EPROTO,
				"the source sent a page that is not the guest's memory");
	}
	if (body * PAGE_BYTES != header->payload_bytes)
		return stream_in_fail(
			s, -EPROTO, "the source sent a payload that does not match its directory");
	return recv_bodies(s, header, page);
}

static int open_private(struct stream_in *s, const struct wire_frame *header, size_t len)
{
	struct helper_request request = { .op = HELPER_OP_OPEN, .count = header->records };
	int err = 0;

	ring_lock_acquire(&s->ring_lock, false);
	if (s->head - s->tail >= record_depth(atomic_load(&s->all->m->postcopy) != NULL))
		err = finish_batch(s, s);
	ring_lock_release(&s->ring_lock);
	request.page = record_batch_page(s->window, s->head);
	if (!err)
		err = recv_batch(s, header, len, request.page, &s->batch[s->head % RECORD_DEPTH]);
	if (err)
		return err;
	ring_lock_acquire(&s->ring_lock, false);
	err = rings_submit(s->all->m->rings, s->number, &request, NULL);
	if (!err)
		s->head++;
	ring_lock_release(&s->ring_lock);
	return err ? stream_in_helper_failed(s, err, "asking the helper to open pages") : 0;
}

/*
 * A batch of the priority stream goes through the ring of its pages, which the helper insists on.
 */
static int open_priority(struct stream_in *s, const struct wire_frame *header, size_t len)
{
	struct sevmirror_migration *m = s->all->m;
	struct helper_request request = { .op = HELPER_OP_OPEN, .count = header->records };
	struct helper_completion completion;
	struct stream_in *owner;
	uint64_t gpa;
	int err;

	if (len < sizeof(struct record_batch) + sizeof(gpa))
		return stream_in_fail(s, -EPROTO, "the source sent a directory of a wrong size");
	memcpy(&gpa, s->directory + sizeof(struct record_batch), sizeof(gpa));
	owner = &s->all->stream[helper_ring_of(gpa / PAGE_BYTES, s->all->n)];
	request.page = record_priority_page(owner->window);
	err = recv_batch(s, header, len, request.page, &s->batch[0]);
	if (err)
		return err;
	ring_lock_acquire(&owner->ring_lock, true);
	err = drain_locked(owner, s);
	if (!err) {
		err = rings_call(m->rings, owner->number, &request, &completion,
				 HELPER_PATIENCE_NS);
		err = err ? stream_in_helper_failed(s, err, "asking the helper to open pages") :
			    judge_batch(s, rings_page(m->rings, request.page), &s->batch[0]);
	}
	ring_lock_release(&owner->ring_lock);
	return err;
}

/*
 * The page at gpa, in the mirror's mapping, if the host may write it: RAM, whole, of this stream;
 * in post-copy missing, and shared.
 */
static void *shared_page(struct stream_in *s, uint64_t gpa, uint64_t *number)
{
	struct sevmirror_migration *m = s->all->m;
	const struct postcopy_in *postcopy = atomic_load(&m->postcopy);
	uint64_t gfn = gpa / PAGE_BYTES;

	*number = page_number(&m->numbering, gfn);
	if (gpa % PAGE_BYTES || *number == UINT64_MAX ||
	    (s->number != WIRE_PRIORITY_STREAM && helper_ring_of(gfn, s->all->n) != s->number) ||
	    (postcopy && !postcopy_in_lacks_shared(postcopy, *number)))
		return NULL;
	return mirror_hva(rings_mirror(m->rings), gpa, PAGE_BYTES);
}

static int write_shared(struct stream_in *s, const struct wire_frame *header, size_t len)
{
	const uint8_t *pages = s->directory + header->records * sizeof(uint64_t);
	struct postcopy_in *postcopy = atomic_load(&s->all->m->postcopy);
	int err = 0;

	if (header->payload_bytes || len != header->records * (sizeof(uint64_t) + PAGE_BYTES))
		return stream_in_fail(s, -EPROTO,
				      "the source sent a frame of shared pages of a wrong size");
	/*
	 * An earlier, private record of the same page must not come after. In post-copy there is
	 * none.
	 */
	if (s->number != WIRE_PRIORITY_STREAM)
		err = stream_in_drain(s);
	for (unsigned int i = 0; i < header->records && !err; i++) {
		uint64_t gpa, number;
		void *page;

		memcpy(&gpa, s->directory + i * sizeof(gpa), sizeof(gpa));
		page = shared_page(s, gpa, &number);
		if (!page)
			return stream_in_fail(
				s, -EPROTO,
				"the source sent a shared page of another stream, or one that is "
				"here already");
		memcpy(page, pages + i * PAGE_BYTES, PAGE_BYTES);
		if (postcopy)
			err = postcopy_in_installed(postcopy, &number, 1,
						    s->number == WIRE_PRIORITY_STREAM);
		if (err)
			stream_in_fail(s, err, "mapping pages");
	}
	return err;
}

int stream_in_take_frame(struct stream_in *s, const struct wire_frame *header, size_t len)
{
	bool priority = s->number == WIRE_PRIORITY_STREAM;

	if (priority && !atomic_load(&s->all->m->postcopy))
		return stream_in_fail(s, -EPROTO, "the source sent pages before post-copy began");
	if (header->type == WIRE_FRAME_SHARED)
		return write_shared(s, header, len);
	return priority ? open_priority(s, header, len) : open_private(s, header, len);
}
