/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/migrate/stream_in.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/migrate/address.h"
#include "lib/migrate/clock.h"
#include "lib/migrate/frame.h"
#include "lib/migrate/record.h"
#include "lib/mirror/rings.h"

#define HELPER_PATIENCE_NS (10 * NS_PER_S)
#define HELLO_PATIENCE_MS  3000
#define STRANGERS_MAX	   64

struct stream {
	struct streams_in *all;
	unsigned int number;
	pthread_t thread;
	bool started;
	struct channel *channel;
	struct frame_cipher *cipher;
	uint32_t window; /* its batches' first window page */
	unsigned int head, tail; /* batches handed to the helper, and done: they count up */
	unsigned int records[RECORD_DEPTH];
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
	atomic_bool cancelled;
	_Atomic uint64_t pages, bytes, stale;
	struct stream stream[WIRE_MAX_STREAMS];
};

static int fail(struct stream *s, int err, const char *what)
{
	if (s->why[0] == '\0')
		snprintf(s->why, sizeof(s->why), "stream %u: %s: %s", s->number, what,
			 strerror(-err));
	return err;
}

/* Take the oldest batch back from the helper: every record of it must have been written, or be older than what is there. */
static int finish_batch(struct stream *s)
{
	struct sevmirror_migration *m = s->all->m;
	uint32_t page = record_batch_page(s->window, s->tail);
	const struct helper_batch *batch = rings_page(m->rings, page);
	struct helper_completion completion;
	int err = rings_wait(m->rings, s->number, &completion, HELPER_PATIENCE_NS);

	if (err)
		return fail(s, err, "waiting for the helper");
	if (completion.op != HELPER_OP_OPEN)
		return fail(s, -EIO, "the helper answered another question");
	for (unsigned int i = 0; i < s->records[s->tail % RECORD_DEPTH]; i++) {
		uint32_t status = batch->record[i].status;

		if (status == HELPER_STALE) {
			atomic_fetch_add(&s->all->stale, 1);
		} else if (status != HELPER_OK) {
			snprintf(s->why, sizeof(s->why),
				 "stream %u: the page at %#llx was refused: %s", s->number,
				 (unsigned long long)batch->record[i].gpa,
				 rings_status_name(status));
			return -EBADMSG;
		}
	}
	s->tail++;
	return 0;
}

static int drain(struct stream *s)
{
	int err = 0;

	while (!err && s->head != s->tail)
		err = finish_batch(s);
	return err;
}

/* The bodies of a batch, from the socket into the window. */
static int recv_bodies(struct stream *s, const struct wire_frame *header, uint32_t page)
{
	for (uint32_t i = 0; i < header->payload_bytes / SEVMIRROR_PAGE_BYTES; i++) {
		int err = channel_recv(s->channel, rings_page(s->all->m->rings, page + 1 + i),
				       SEVMIRROR_PAGE_BYTES, s->all->m->timeout_ms);

		if (err)
			return fail(s, err, "receiving pages");
	}
	return 0;
}

static int open_private(struct stream *s, const struct wire_frame *header, size_t len)
{
	struct sevmirror_migration *m = s->all->m;
	struct helper_request request = { .op = HELPER_OP_OPEN, .count = header->records };
	const struct record_private *records =
		(const void *)(s->directory + sizeof(struct record_batch));
	struct helper_batch *batch;
	uint32_t body = 0;
	int err = 0;

	if (len != sizeof(struct record_batch) + header->records * sizeof(records[0]))
		return fail(s, -EPROTO, "a directory of a wrong size");
	if (s->head - s->tail == RECORD_DEPTH)
		err = finish_batch(s);
	if (err)
		return err;
	request.page = record_batch_page(s->window, s->head);
	batch = rings_page(m->rings, request.page);
	memcpy(batch->salt, s->directory, sizeof(batch->salt));
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
			r->slot = request.page + 1 + body++;
	}
	if (body * SEVMIRROR_PAGE_BYTES != header->payload_bytes)
		return fail(s, -EPROTO, "a payload that does not match its directory");
	err = recv_bodies(s, header, request.page);
	if (err)
		return err;
	s->records[s->head % RECORD_DEPTH] = header->records;
	err = rings_submit(m->rings, s->number, &request, NULL);
	if (err)
		return fail(s, err, "asking the helper to open pages");
	s->head++;
	return 0;
}

/* The primary's page at gpa if the host may write it: RAM, whole, of this stream, not the helper's. */
static void *shared_page(struct stream *s, uint64_t gpa)
{
	struct sevmirror_migration *m = s->all->m;
	uint64_t gfn = gpa / SEVMIRROR_PAGE_BYTES;

	if (gpa % SEVMIRROR_PAGE_BYTES || helper_ring_of(gfn, s->all->n) != s->number ||
	    (gpa >= m->vm.helper_gpa && gpa - m->vm.helper_gpa < m->helper_bytes))
		return NULL;
	for (unsigned int i = 0; i < m->vm.nranges; i++) {
		const struct sevmirror_ram_range *r = &m->vm.ranges[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->bytes)
			return (char *)r->hva + (gpa - r->gpa);
	}
	return NULL;
}

static int write_shared(struct stream *s, const struct wire_frame *header, size_t len)
{
	const uint8_t *pages = s->directory + header->records * sizeof(uint64_t);
	int err;

	if (header->payload_bytes ||
	    len != header->records * (sizeof(uint64_t) + SEVMIRROR_PAGE_BYTES))
		return fail(s, -EPROTO, "a frame of shared pages of a wrong size");
	err = drain(s); /* an earlier, private record of the same page must not come after */
	for (unsigned int i = 0; i < header->records && !err; i++) {
		uint64_t gpa;
		void *page;

		memcpy(&gpa, s->directory + i * sizeof(gpa), sizeof(gpa));
		page = shared_page(s, gpa);
		if (!page)
			return fail(s, -EPROTO, "a shared page that is none of this stream's");
		memcpy(page, pages + i * SEVMIRROR_PAGE_BYTES, SEVMIRROR_PAGE_BYTES);
	}
	return err;
}

static int recv_frame(struct stream *s)
{
	struct wire_frame header;
	size_t len;
	int err = channel_recv(s->channel, &header, sizeof(header), -1);

	if (err)
		return fail(s, err, "waiting for pages");
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
		err = header.type == WIRE_FRAME_PRIVATE ? open_private(s, &header, len) :
							  write_shared(s, &header, len);
	if (!err) {
		atomic_fetch_add(&s->all->pages, header.records);
		atomic_fetch_add(&s->all->bytes,
				 sizeof(header) + header.directory_bytes + header.payload_bytes);
	}
	return err;
}

static void announce(struct stream *s, int err)
{
	pthread_mutex_lock(&s->all->lock);
	s->err = err;
	if (err && !s->all->failed)
		s->all->failed = s;
	s->in_place = frame_count(s->cipher);
	pthread_cond_broadcast(&s->all->changed);
	pthread_mutex_unlock(&s->all->lock);
}

static void *serve(void *arg)
{
	struct stream *s = arg;
	int err = 0;

	while (!err) {
		if (!channel_readable(s->channel)) {
			err = drain(s);
			announce(s, err);
		}
		if (!err)
			err = recv_frame(s);
	}
	announce(s, err);
	if (!atomic_load(&s->all->cancelled))
		session_interrupt(s->all->m);
	return NULL;
}

/* Which stream's hello this is; -EPERM if it is none's, or one that is there already. */
static int match_hello(struct streams_in *all, const struct wire_stream_hello *hello)
{
	char why[128];

	if (hello->stream >= all->n || all->stream[hello->stream].channel ||
	    frame_check_hello(all->stream[hello->stream].cipher, hello, why, sizeof(why)))
		return -EPERM;
	return (int)hello->stream;
}

/* One connection: whose it is, or -EPERM for a stranger's, which is closed. */
static int take_connection(struct streams_in *all, int listen_fd, uint64_t deadline)
{
	uint64_t now = clock_ns();
	static const struct channel_security bare = { .insecure = true };
	struct wire_stream_hello hello;
	struct channel *channel;
	char why[128];
	int fd = now < deadline ?
			 address_accept(listen_fd, (int)((deadline - now) / NS_PER_MS) + 1) :
			 -ETIMEDOUT;
	int number;

	if (fd < 0)
		return session_fail(all->m, fd, "waiting for the data streams: %s", strerror(-fd));
	if (channel_open(&channel, fd, true, &bare, HELLO_PATIENCE_MS, why, sizeof(why)))
		return -EPERM;
	number = channel_recv(channel, &hello, sizeof(hello), HELLO_PATIENCE_MS) ?
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

	s->all = all;
	s->number = number;
	s->window = rings_data(all->m->rings, number, &window_pages);
	s->directory = malloc(RECORD_SHARED_BYTES);
	if (!s->directory)
		return session_fail(all->m, -ENOMEM, "out of memory for stream %u", number);
	if (frame_cipher_create(&s->cipher, all->m->control, all->m->hello.session, number))
		return session_fail(all->m, -EIO, "no key for stream %u", number);
	return 0;
}

static int accept_all(struct streams_in *all, int listen_fd)
{
	uint64_t deadline = clock_ns() + (uint64_t)all->m->timeout_ms * NS_PER_MS;
	unsigned int have = 0, strangers = 0;

	while (have < all->n) {
		int number = take_connection(all, listen_fd, deadline);
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
	int err = 0;

	*out = NULL;
	if (!all)
		return session_fail(m, -ENOMEM, "out of memory for the data streams");
	all->m = m;
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	for (unsigned int i = 0; i < m->hello.streams && !err; i++) {
		all->n++;
		err = prepare(all, i);
	}
	if (!err)
		err = accept_all(all, listen_fd);
	if (err) {
		streams_in_destroy(all);
		return err;
	}
	*out = all;
	return 0;
}

void streams_in_destroy(struct streams_in *all)
{
	if (!all)
		return;
	streams_in_cancel(all);
	for (unsigned int i = 0; i < all->n; i++) {
		struct stream *s = &all->stream[i];

		if (s->started)
			pthread_join(s->thread, NULL);
		channel_close(s->channel);
		frame_cipher_destroy(s->cipher);
		free(s->directory);
	}
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
	free(all);
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
		uint64_t before = s->in_place;

		while (!err && !s->err && s->in_place < frames[i]) {
			if (wait_change(all) == ETIMEDOUT && s->in_place == before)
				err = session_fail(all->m, -ETIMEDOUT,
						   "data stream %u stands still", i);
			before = s->in_place;
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

void streams_in_cancel(struct streams_in *all)
{
	atomic_store(&all->cancelled, true);
	for (unsigned int i = 0; i < all->n; i++)
		if (all->stream[i].channel)
			channel_cancel(all->stream[i].channel);
}
