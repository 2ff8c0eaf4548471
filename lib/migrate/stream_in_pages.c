/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/stream_in_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/migrate/postcopy_in.h"
#include "lib/mirror/mirror.h"
#include "lib/util/page.h"

int stream_in_fail(struct stream_in *s, int err, const char *what)
{
	return session_stream_failed(&s->why, SEVMIRROR_REASON_NONE, err, s->number, what,
				     rings_explain(s->all->m->seal->rings, err));
}

int stream_in_helper_failed(struct stream_in *s, int err, const char *what)
{
	return session_stream_failed(&s->why, SEVMIRROR_REASON_HELPER, err, s->number, what,
				     rings_explain(s->all->m->seal->rings, err));
}

/*
 * What became of a batch: every record must have been written, or be older than what is there. In
 * post-copy the pages written are the primary's from here on; also those of a batch in which others
 * were refused.
 */
static int judge_batch(struct stream_in *s, const struct batch *batch, const uint32_t *statuses,
		       unsigned int count)
{
	struct postcopy_in *postcopy = atomic_load(&s->all->m->postcopy);
	char name[SESSION_STREAM_NAME_BYTES];
	uint64_t written[SEVMIRROR_BATCH_MAX];
	unsigned int n = 0;
	int err = 0, install;

	for (unsigned int i = 0; i < count; i++) {
		uint32_t status = statuses[i];

		if (status == HELPER_OK) {
			written[n++] = batch->number[i];
		} else if (status == HELPER_STALE && !postcopy) {
			atomic_fetch_add(&s->all->stale, 1);
		} else if (!err) {
			err = -EBADMSG;
			session_stream_name(s->number, name);
			why_because(&s->why, SEVMIRROR_REASON_HELPER, err,
				    "%s: the helper refused the page at %#llx: %s", name,
				    (unsigned long long)(page_gfn(&s->all->m->numbering,
								  batch->number[i]) *
							 PAGE_BYTES),
				    rings_status_name(status));
		}
	}
	if (!postcopy)
		return err;
	install = postcopy_in_installed(postcopy, written, n, s->number == WIRE_PRIORITY_STREAM);
	if (install && !err)
		err = stream_in_fail(s, install, "the target cannot map pages");
	return err;
}

/* Take the oldest batch back from the helper. */
static int finish_batch(struct stream_in *s)
{
	unsigned int slot = s->tail++ % RECORD_DEPTH, count;
	uint32_t statuses[SEVMIRROR_BATCH_MAX];
	int err = seal_lane_open_statuses(s->all->m->seal, s->lane, slot, statuses, &count);

	if (err)
		return stream_in_helper_failed(s, err, "the helper did not finish a request");
	return judge_batch(s, &s->batch[slot], statuses, count);
}

/*
 * Continues after a refused record, whose error it returns: what the helper has opened must not be
 * forgotten.
 */
int stream_in_drain(struct stream_in *s)
{
	int err = 0, one = 0;

	while (s->head != s->tail && (!one || one == -EBADMSG)) {
		one = finish_batch(s);
		err = err ? err : one;
	}
	return err;
}

/*
 * The bodies of a batch, from the socket into the window, where their pages follow one another. In
 * post-copy pages that are open do not wait for the network, so they are taken one by one.
 */
static int recv_bodies(struct stream_in *s, const struct wire_frame *header)
{
	struct sevmirror_migration *m = s->all->m;
	uint8_t *at = sevmirror_lane_bodies(m->seal, s->lane, s->head % RECORD_DEPTH);
	bool postcopy = atomic_load(&m->postcopy);
	uint32_t piece = postcopy ? PAGE_BYTES : header->payload_bytes;
	int err = 0;

	for (uint32_t done = 0; done < header->payload_bytes; done += piece) {
		if (postcopy && s->head != s->tail && !channel_readable(s->channel))
			err = stream_in_drain(s);
		if (err)
			return err;
		err = channel_recv(s->channel, at + done, piece, m->timeout_ms);
		if (err)
			return stream_in_fail(s, err, "the target cannot receive pages");
		atomic_fetch_add(&s->all->moved, 1);
	}
	return 0;
}

/* A page that may come on this stream: its number, or UINT64_MAX. */
static uint64_t expected_page(const struct stream_in *s, uint64_t gpa)
{
	uint64_t gfn = gpa / PAGE_BYTES;

	if (s->number != WIRE_PRIORITY_STREAM && helper_ring_of(gfn, s->all->n) != s->number)
		return UINT64_MAX;
	return page_number(&s->all->m->numbering, gfn);
}

/* The batch of a frame, and its bodies into the next slot's. */
static int recv_batch(struct stream_in *s, const struct wire_frame *header, size_t len)
{
	const struct sevmirror_batch *batch = (const void *)s->directory;
	struct batch *mine = &s->batch[s->head % RECORD_DEPTH];
	uint32_t bodies = 0;

	if (len != SEVMIRROR_BATCH_BYTES(header->records) || batch->count != header->records)
		return stream_in_fail(s, -EPROTO, "the source sent a directory of a wrong size");
	if (batch->reserved)
		return stream_in_fail(s, -EPROTO,
				      "the source sent a directory with reserved bits set");
	for (unsigned int i = 0; i < batch->count; i++) {
		if (batch->record[i].kind != SEVMIRROR_PAGE &&
		    batch->record[i].kind != SEVMIRROR_PAGE_ZERO)
			return stream_in_fail(s, -EPROTO,
					      "the source sent a record of an unknown kind");
		mine->number[i] = expected_page(s, batch->record[i].gpa);
		if (mine->number[i] == UINT64_MAX)
			return stream_in_fail(
				s, -EPROTO,
				"the source sent a page that is not the guest's memory, or another "
				"stream's");
		bodies += batch->record[i].kind == SEVMIRROR_PAGE;
	}
	if (bodies * PAGE_BYTES != header->payload_bytes)
		return stream_in_fail(
			s, -EPROTO, "the source sent a payload that does not match its directory");
	return recv_bodies(s, header);
}

/*
 * Batches of the priority stream go ahead of the others that wait for their ring, and are waited
 * for.
 */
static int open_private(struct stream_in *s, const struct wire_frame *header, size_t len)
{
	bool priority = s->number == WIRE_PRIORITY_STREAM;
	int err = 0;

	if (s->head - s->tail >= record_depth(atomic_load(&s->all->m->postcopy) != NULL))
		err = finish_batch(s);
	if (!err)
		err = recv_batch(s, header, len);
	if (err)
		return err;
	err = sevmirror_lane_open_submit(s->all->m->seal, s->lane, s->head % RECORD_DEPTH,
					 (const void *)s->directory, priority);
	if (err)
		return stream_in_helper_failed(s, err,
					       "the target cannot ask the helper to open pages");
	s->head++;
	return priority ? stream_in_drain(s) : 0;
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
	return mirror_hva(rings_mirror(m->seal->rings), gpa, PAGE_BYTES);
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
			stream_in_fail(s, err, "the target cannot map pages");
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
	return open_private(s, header, len);
}
