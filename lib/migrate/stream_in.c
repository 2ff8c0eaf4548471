/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/migrate/stream_in.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/migrate/clock.h"
#include "lib/migrate/door.h"
#include "lib/migrate/frame.h"
#include "lib/migrate/postcopy_in.h"
#include "lib/migrate/record.h"
#include "lib/migrate/turn.h"
#include "lib/mirror/rings.h"
#include "lib/util/stack.h"

#define HELLO_PATIENCE_MS 3000
#define STRANGERS_MAX	  64

/* What the helper was asked to open; kept here, as the window is shared with it. */
struct batch {
	unsigned int records;
	uint64_t number[HELPER_BATCH_MAX]; /* page numbers */
};

struct stream {
	struct streams_in *all;
	unsigned int number;
	pthread_t thread;
	bool started;
	struct channel *channel;
	struct frame_cipher *cipher;
	/* The priority stream opens its batches in the ring that is theirs, after everything that is in it. */
	struct turn turn;
	uint32_t window; /* its batches' first window page */
	unsigned int head, tail; /* batches handed to the helper, and done: they count up */
	struct batch batch[RECORD_DEPTH];
	uint8_t *directory;
	uint64_t in_place; /* frames; under all->lock */
	int err; /* as is this */
	char why[SESSION_WHY_BYTES];
};

struct streams_in {
	struct sevmirror_migration *m;
	unsigned int n;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct stream *failed; /* the first one that did; under lock */
	int failed_fd; /* eventfd: one has */
	atomic_bool cancelled;
	_Atomic uint64_t pages, bytes, stale;
	_Atomic uint64_t moved; /* receipts, however small: a frame may take long */
	struct stream stream[WIRE_MAX_STREAMS + 1];
};

static int fail(struct stream *s, int err, const char *what)
{
	if (s->why[0] != '\0')
		return err;
	if (s->number == WIRE_PRIORITY_STREAM)
		snprintf(s->why, sizeof(s->why), "priority stream: %s: %s", what,
			 rings_explain(s->all->m->rings, err));
	else
		snprintf(s->why, sizeof(s->why), "stream %u: %s: %s", s->number, what,
			 rings_explain(s->all->m->rings, err));
	return err;
}

/*
 * What became of a batch: every record must have been written, or be older than what is there. In post-copy the pages written are the primary's
 * from here on; also those of a batch in which others were refused.
 */
static int judge_batch(struct stream *s, const struct helper_batch *batch, const struct batch *mine)
{
	struct postcopy_in *postcopy = atomic_load(&s->all->m->postcopy);
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
			snprintf(s->why, sizeof(s->why),
				 "stream %u: the page at %#llx was refused: %s", s->number,
				 (unsigned long long)(page_gfn(&s->all->m->numbering,
							       mine->number[i]) *
						      SEVMIRROR_PAGE_BYTES),
				 rings_status_name(status));
		}
	}
	if (!postcopy)
		return err;
	install = postcopy_in_installed(postcopy, written, n, s->number == WIRE_PRIORITY_STREAM);
	if (install && !err)
		err = fail(s, install, "mapping pages");
	return err;
}

/* In one's turn at the ring: take the oldest batch back from the helper. blame: whose error it is. */
static int finish_batch(struct stream *s, struct stream *blame)
{
	struct sevmirror_migration *m = s->all->m;
	const struct helper_batch *batch =
		rings_page(m->rings, record_batch_page(s->window, s->tail));
	const struct batch *mine = &s->batch[s->tail % RECORD_DEPTH];
	struct helper_completion completion;
	int err = rings_wait(m->rings, s->number, &completion, HELPER_PATIENCE_NS);

	if (err)
		return fail(blame, err, "waiting for the helper");
	s->tail++; /* it is answered, well or not: nobody must wait for it again */
	if (completion.op != HELPER_OP_OPEN)
		return fail(blame, -EIO, "the helper answered another question");
	return judge_batch(blame, batch, mine);
}

/* In one's turn. Goes on after a refused record, whose error it returns: what the helper has opened must not be forgotten. */
static int drain_locked(struct stream *s, struct stream *blame)
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

static int drain(struct stream *s)
{
	int err;

	turn_take(&s->turn, false);
	err = drain_locked(s, s);
	turn_end(&s->turn);
	return err;
}

/* The helper has batches of the stream. The priority stream may be taking them back just now. */
static bool has_pending(struct stream *s)
{
	bool pending;

	turn_take(&s->turn, false);
	pending = s->head != s->tail;
	turn_end(&s->turn);
	return pending;
}

/*
 * The bodies of a batch, from the socket into the window, where their pages follow one another. In post-copy pages that are open do not
 * wait for the network, so they are taken one by one.
 */
static int recv_bodies(struct stream *s, const struct wire_frame *header, uint32_t page)
{
	struct sevmirror_migration *m = s->all->m;
	bool postcopy = atomic_load(&m->postcopy);
	uint32_t piece = postcopy ? SEVMIRROR_PAGE_BYTES : header->payload_bytes;
	int err = 0;

	for (uint32_t done = 0; done < header->payload_bytes; done += piece) {
		uint8_t *at = rings_page(m->rings, page + 1);

		if (postcopy && has_pending(s) && !channel_readable(s->channel))
			err = drain(s);
		if (err)
			return err;
		err = channel_recv(s->channel, at + done, piece, m->timeout_ms);
		if (err)
			return fail(s, err, "receiving pages");
		atomic_fetch_add(&s->all->moved, 1);
	}
	return 0;
}

/* Put a received batch into the window at `page`, where the helper will look. */
static int recv_batch(struct stream *s, const struct wire_frame *header, size_t len, uint32_t page,
		      struct batch *mine)
{
	struct sevmirror_migration *m = s->all->m;
	const struct record_private *records =
		(const void *)(s->directory + sizeof(struct record_batch));
	struct helper_batch *batch = rings_page(m->rings, page);
	uint32_t body = 0;

	if (len != sizeof(struct record_batch) + header->records * sizeof(records[0]))
		return fail(s, -EPROTO, "a directory of a wrong size");
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
		mine->number[i] = page_number(&m->numbering, records[i].gpa / SEVMIRROR_PAGE_BYTES);
		if (mine->number[i] == UINT64_MAX)
			return fail(s, -EPROTO, "a page that is not the guest's memory");
	}
	if (body * SEVMIRROR_PAGE_BYTES != header->payload_bytes)
		return fail(s, -EPROTO, "a payload that does not match its directory");
	return recv_bodies(s, header, page);
}

static int open_private(struct stream *s, const struct wire_frame *header, size_t len)
{
	struct helper_request request = { .op = HELPER_OP_OPEN, .count = header->records };
	int err = 0;

	turn_take(&s->turn, false);
	if (s->head - s->tail >= record_depth(atomic_load(&s->all->m->postcopy) != NULL))
		err = finish_batch(s, s);
	turn_end(&s->turn);
	request.page = record_batch_page(s->window, s->head);
	if (!err)
		err = recv_batch(s, header, len, request.page, &s->batch[s->head % RECORD_DEPTH]);
	if (err)
		return err;
	turn_take(&s->turn, false);
	err = rings_submit(s->all->m->rings, s->number, &request, NULL);
	if (!err)
		s->head++;
	turn_end(&s->turn);
	return err ? fail(s, err, "asking the helper to open pages") : 0;
}

/* A batch of the priority stream goes through the ring of its pages, which the helper insists on. */
static int open_priority(struct stream *s, const struct wire_frame *header, size_t len)
{
	struct sevmirror_migration *m = s->all->m;
	struct helper_request request = { .op = HELPER_OP_OPEN, .count = header->records };
	struct helper_completion completion;
	struct stream *owner;
	uint64_t gpa;
	int err;

	if (len < sizeof(struct record_batch) + sizeof(gpa))
		return fail(s, -EPROTO, "a directory of a wrong size");
	memcpy(&gpa, s->directory + sizeof(struct record_batch), sizeof(gpa));
	owner = &s->all->stream[helper_ring_of(gpa / SEVMIRROR_PAGE_BYTES, s->all->n)];
	request.page = record_priority_page(owner->window);
	err = recv_batch(s, header, len, request.page, &s->batch[0]);
	if (err)
		return err;
	turn_take(&owner->turn, true);
	err = drain_locked(owner, s);
	if (!err) {
		err = rings_call(m->rings, owner->number, &request, &completion,
				 HELPER_PATIENCE_NS);
		err = err ? fail(s, err, "asking the helper to open pages") :
			    judge_batch(s, rings_page(m->rings, request.page), &s->batch[0]);
	}
	turn_end(&owner->turn);
	return err;
}

/*
 * The page at gpa, in the mirror's mapping, if the host may write it: RAM, whole, of this stream, not the helper's; in post-copy missing, and
 * shared.
 */
static void *shared_page(struct stream *s, uint64_t gpa, uint64_t *number)
{
	struct sevmirror_migration *m = s->all->m;
	const struct postcopy_in *postcopy = atomic_load(&m->postcopy);
	uint64_t gfn = gpa / SEVMIRROR_PAGE_BYTES;

	*number = page_number(&m->numbering, gfn);
	if (gpa % SEVMIRROR_PAGE_BYTES || *number == UINT64_MAX ||
	    (s->number != WIRE_PRIORITY_STREAM && helper_ring_of(gfn, s->all->n) != s->number) ||
	    session_is_helper_page(m, gpa) ||
	    (postcopy && !postcopy_in_lacks_shared(postcopy, *number)))
		return NULL;
	return mirror_hva(rings_mirror(m->rings), gpa, SEVMIRROR_PAGE_BYTES);
}

static int write_shared(struct stream *s, const struct wire_frame *header, size_t len)
{
	const uint8_t *pages = s->directory + header->records * sizeof(uint64_t);
	struct postcopy_in *postcopy = atomic_load(&s->all->m->postcopy);
	int err = 0;

	if (header->payload_bytes ||
	    len != header->records * (sizeof(uint64_t) + SEVMIRROR_PAGE_BYTES))
		return fail(s, -EPROTO, "a frame of shared pages of a wrong size");
	/* An earlier, private record of the same page must not come after. In post-copy there is none. */
	if (s->number != WIRE_PRIORITY_STREAM)
		err = drain(s);
	for (unsigned int i = 0; i < header->records && !err; i++) {
		uint64_t gpa, number;
		void *page;

		memcpy(&gpa, s->directory + i * sizeof(gpa), sizeof(gpa));
		page = shared_page(s, gpa, &number);
		if (!page)
			return fail(
				s, -EPROTO,
				"a shared page that is none of this stream's, or there already");
		memcpy(page, pages + i * SEVMIRROR_PAGE_BYTES, SEVMIRROR_PAGE_BYTES);
		if (postcopy)
			err = postcopy_in_installed(postcopy, &number, 1,
						    s->number == WIRE_PRIORITY_STREAM);
		if (err)
			fail(s, err, "mapping pages");
	}
	return err;
}

/* A frame whose directory is authentic. */
static int take_frame(struct stream *s, const struct wire_frame *header, size_t len)
{
	struct postcopy_in *postcopy = atomic_load(&s->all->m->postcopy);
	bool priority = s->number == WIRE_PRIORITY_STREAM;

	if (priority && !postcopy)
		return fail(s, -EPROTO, "pages before post-copy has begun");
	/* The first pages may overtake the word of which are missing. */
	if (postcopy && !postcopy_in_wait_begin(postcopy))
		return fail(s, -ECANCELED, "stopped");
	if (header->type == WIRE_FRAME_SHARED)
		return write_shared(s, header, len);
	return priority ? open_priority(s, header, len) : open_private(s, header, len);
}

static int recv_frame(struct stream *s)
{
	struct wire_frame header;
	size_t len;
	int err = channel_recv(s->channel, &header, sizeof(header), -1);

	if (err)
		return fail(s, err, "waiting for pages");
	atomic_fetch_add(&s->all->moved, 1);
	err = wire_check_frame(&header, frame_count(s->cipher), s->why, sizeof(s->why));
	if (!err && header.directory_bytes > RECORD_SHARED_BYTES)
		err = fail(s, -EPROTO, "a directory of a wrong size");
	if (err)
		return err;
	err = channel_recv(s->channel, s->directory, header.directory_bytes, s->all->m->timeout_ms);
	if (err)
		return fail(s, err, "receiving pages");
	err = frame_open(s->cipher, &header, s->directory, &len, s->why, sizeof(s->why));
	if (!err)
		err = take_frame(s, &header, len);
	if (!err) {
		atomic_fetch_add(&s->all->pages, header.records);
		atomic_fetch_add(&s->all->bytes,
				 sizeof(header) + header.directory_bytes + header.payload_bytes);
	}
	return err;
}

static void announce(struct stream *s, int err)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&s->all->lock);
	s->err = err;
	if (err && !s->all->failed)
		s->all->failed = s;
	if (err)
		(void)!write(s->all->failed_fd, &one, sizeof(one));
	s->in_place = frame_count(s->cipher);
	pthread_cond_broadcast(&s->all->changed);
	pthread_mutex_unlock(&s->all->lock);
}

static void *serve(void *arg)
{
	struct stream *s = arg;
	int err = 0;

	session_thread_begins(s->all->m, SEVMIRROR_THREAD_STREAM);
	while (!err) {
		if (!channel_readable(s->channel)) {
			err = drain(s);
			announce(s, err);
		}
		if (!err)
			err = recv_frame(s);
	}
	(void)drain(s);
	announce(s, err);
	if (!atomic_load(&s->all->cancelled))
		session_interrupt(s->all->m);
	util_stack_wipe();
	return NULL;
}

/* Which stream's hello this is; -EPERM if it is none's, or one that is there already. */
static int match_hello(struct streams_in *all, const struct wire_stream_hello *hello)
{
	char why[128];

	if (hello->stream > WIRE_PRIORITY_STREAM || !all->stream[hello->stream].cipher ||
	    all->stream[hello->stream].channel ||
	    frame_check_hello(all->stream[hello->stream].cipher, hello, why, sizeof(why)))
		return -EPERM;
	return (int)hello->stream;
}

/* One connection: whose it is, or -EPERM for a stranger's, which is closed. */
static int take_connection(struct streams_in *all, struct door *door, uint64_t deadline)
{
	static const struct channel_security bare = { .insecure = true };
	struct wire_stream_hello hello;
	struct channel *channel;
	char why[128];
	int fd = door_next(door, deadline), number;

	if (fd < 0)
		return session_cancelled(all->m) ?
			       -ECANCELED :
			       session_fail(all->m, fd, "waiting for the data streams: %s",
					    strerror(-fd));
	if (channel_open(&channel, fd, true, &bare, HELLO_PATIENCE_MS, why, sizeof(why)))
		return -EPERM;
	number = channel_recv_within(channel, &hello, sizeof(hello), HELLO_PATIENCE_MS) ?
			 -EPERM :
			 match_hello(all, &hello);
	if (number < 0)
		channel_close(channel);
	else
		all->stream[number].channel = channel;
	return number;
}

static int prepare(struct streams_in *all, unsigned int number)
{
	struct stream *s = &all->stream[number];
	uint32_t window_pages;

	if (number != WIRE_PRIORITY_STREAM)
		s->window = rings_data(all->m->rings, number, &window_pages);
	s->directory = malloc(RECORD_SHARED_BYTES);
	if (!s->directory)
		return session_fail(all->m, -ENOMEM, "out of memory for stream %u", number);
	if (frame_cipher_create(&s->cipher, all->m->control, all->m->stream_session, number))
		return session_fail(all->m, -EIO, "no key for stream %u", number);
	return 0;
}

static int accept_all(struct streams_in *all, struct door *door)
{
	uint64_t deadline = clock_ns() + (uint64_t)all->m->timeout_ms * NS_PER_MS;
	unsigned int want = all->n + !!(all->m->hello.flags & WIRE_F_POSTCOPY);
	unsigned int have = 0, strangers = 0;

	while (have < want) {
		int number = take_connection(all, door, deadline);
		struct stream *s;

		if (number == -EPERM && ++strangers < STRANGERS_MAX && !session_cancelled(all->m))
			continue;
		if (number < 0)
			return session_fail(all->m, number,
					    "too many strangers at the data streams' door");
		s = &all->stream[number];
		if (pthread_create(&s->thread, NULL, serve, s))
			return session_fail(all->m, -EAGAIN, "no thread for stream %d", number);
		s->started = true;
		have++;
	}
	return 0;
}

int streams_in_create(struct streams_in **out, struct sevmirror_migration *m, int listen_fd)
{
	struct streams_in *all = calloc(1, sizeof(*all));
	struct door door;
	int err = 0;

	*out = NULL;
	if (!all)
		return session_fail(m, -ENOMEM, "out of memory for the data streams");
	all->m = m;
	all->n = m->hello.streams;
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	for (unsigned int i = 0; i <= WIRE_PRIORITY_STREAM; i++) {
		all->stream[i].all = all;
		all->stream[i].number = i;
		turn_init(&all->stream[i].turn);
	}
	all->failed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (all->failed_fd < 0)
		err = session_fail(m, -errno, "no eventfd: %s", strerror(errno));
	for (unsigned int i = 0; i < all->n && !err; i++)
		err = prepare(all, i);
	if (!err && m->hello.flags & WIRE_F_POSTCOPY)
		err = prepare(all, WIRE_PRIORITY_STREAM);
	door_init(&door, listen_fd, m->cancel_fd, -1);
	if (!err)
		err = accept_all(all, &door);
	door_close(&door);
	if (err) {
		streams_in_destroy(all);
		return err;
	}
	*out = all;
	return 0;
}

static void close_stream(struct stream *s)
{
	if (s->started)
		pthread_join(s->thread, NULL);
	channel_close(s->channel);
	frame_cipher_destroy(s->cipher);
	free(s->directory);
	turn_destroy(&s->turn);
}

void streams_in_destroy(struct streams_in *all)
{
	if (!all)
		return;
	streams_in_cancel(all);
	/* The priority stream first, as it uses the others' rings. */
	for (unsigned int i = WIRE_PRIORITY_STREAM + 1; i > 0; i--)
		close_stream(&all->stream[i - 1]);
	if (all->failed_fd >= 0)
		close(all->failed_fd);
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

int streams_in_failed_fd(const struct streams_in *all)
{
	return all->failed_fd;
}

static int wait_change(struct streams_in *all)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += all->m->timeout_ms / 1000 + 1;
	return pthread_cond_timedwait(&all->changed, &all->lock, &until);
}

int streams_in_wait(struct streams_in *all, const uint64_t frames[WIRE_MAX_STREAMS])
{
	int err = 0;

	pthread_mutex_lock(&all->lock);
	for (unsigned int i = 0; i < all->n && !err; i++) {
		struct stream *s = &all->stream[i];
		uint64_t before = streams_in_moved(all);

		while (!err && !s->err && s->in_place < frames[i]) {
			if (wait_change(all) == ETIMEDOUT && streams_in_moved(all) == before)
				err = session_fail(all->m, -ETIMEDOUT,
						   "data stream %u stands still", i);
			before = streams_in_moved(all);
		}
		if (!err && s->err && s->in_place < frames[i])
			err = session_fail(all->m, s->err, "%s", s->why);
	}
	pthread_mutex_unlock(&all->lock);
	return err;
}

int streams_in_error(struct streams_in *all, char *why, size_t max)
{
	int err = 0;

	pthread_mutex_lock(&all->lock);
	if (all->failed) {
		err = all->failed->err;
		snprintf(why, max, "%s", all->failed->why);
	}
	pthread_mutex_unlock(&all->lock);
	return err;
}

struct streams_in_count streams_in_count(const struct streams_in *all)
{
	return (struct streams_in_count){ atomic_load(&all->pages), atomic_load(&all->bytes),
					  atomic_load(&all->stale) };
}

uint64_t streams_in_moved(const struct streams_in *all)
{
	return atomic_load(&all->moved);
}

void streams_in_cancel(struct streams_in *all)
{
	atomic_store(&all->cancelled, true);
	for (unsigned int i = 0; i <= WIRE_PRIORITY_STREAM; i++)
		if (all->stream[i].channel)
			channel_cancel(all->stream[i].channel);
}
