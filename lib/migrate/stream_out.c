/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/stream_out_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <sevmirror/pagemap.h>

#include "lib/net/address.h"
#include "lib/util/clock.h"
#include "lib/migrate/page_frame.h"
#include "lib/util/page.h"
#include "lib/util/stack.h"

#define PACE_WINDOW (NS_PER_S / 10)
#define PACE_NAP    (20 * NS_PER_MS)
#define PACE_SHARE                                                                             \
	20 /* in post-copy a batch takes at most this part of a second, so that the end of the \
	      line is never far */

#define PRESSED_PAGES 16 /* of a batch in the background while somebody waits for a page */

int stream_out_fail(struct stream_out *s, int err, const char *what)
{
	return session_stream_failed(&s->why, SEVMIRROR_REASON_NONE, err, s->number, what,
				     rings_explain(s->all->m->seal->rings, err));
}

int stream_out_helper_failed(struct stream_out *s, int err, const char *what)
{
	return session_stream_failed(&s->why, SEVMIRROR_REASON_HELPER, err, s->number, what,
				     rings_explain(s->all->m->seal->rings, err));
}

void stream_out_give_up(struct stream_out *s, int err)
{
	struct streams_out *all = s->all;
	const uint64_t one = 1;

	pthread_mutex_lock(&all->lock);
	s->err = err;
	if (!all->failed)
		all->failed = s;
	pthread_mutex_unlock(&all->lock);
	streams_out_cancel(all); /* the others need not continue */
	(void)!write(all->done_fd, &one, sizeof(one));
}

/*
 * A part of what the priority stream sent, at most what this stream may send in one window: the
 * debt is spread over the streams and over time, and no stream stops for it.
 */
static uint64_t take_debt(struct streams_out *all, uint64_t limit)
{
	uint64_t most = limit / (NS_PER_S / PACE_WINDOW), debt = atomic_load(&all->debt), part;

	do {
		part = debt < most ? debt : most;
	} while (part && !atomic_compare_exchange_weak(&all->debt, &debt, debt - part));
	return part;
}

/* In naps, so that a migration that is cancelled or broken does not wait for it. */
static void sleep_until(const struct stream_out *s, uint64_t due)
{
	uint64_t t;

	while ((t = clock_ns()) < due && !atomic_load(&s->all->cancelled)) {
		uint64_t nap = due - t < PACE_NAP ? due - t : PACE_NAP;
		struct timespec ts = { .tv_nsec = (long)nap };

		nanosleep(&ts, NULL);
	}
}

/*
 * Keep this stream's share of the limit: sleep off what was sent too early, in a window short
 * enough not to burst.
 */
static void pace(struct stream_out *s, uint64_t bytes)
{
	uint64_t limit = atomic_load(&s->all->limit) / s->all->n;
	uint64_t t = clock_ns(), due;

	if (limit == 0 || t - s->pace_start > PACE_WINDOW) {
		s->pace_start = t;
		s->pace_bytes = 0;
	}
	s->pace_bytes += bytes;
	if (limit == 0)
		return;
	s->pace_bytes += take_debt(s->all, limit);
	due = s->pace_start + (uint64_t)((double)s->pace_bytes * NS_PER_S / (double)limit);
	if (due > t) {
		sleep_until(s, due);
		s->pace_start = due;
		s->pace_bytes = 0;
	}
}

static void count(struct stream_out *s, uint64_t pages, uint64_t bytes)
{
	atomic_fetch_add(&s->all->pages, pages);
	atomic_fetch_add(&s->all->bytes, bytes);
	if (s->number == WIRE_PRIORITY_STREAM)
		atomic_fetch_add(&s->all->debt, bytes);
	else
		pace(s, bytes);
}

/*
 * Seal and send the shared pages collected so far: all their gpas first, then the pages (record.h).
 */
int stream_out_flush_shared(struct stream_out *s)
{
	struct wire_frame header = { .type = WIRE_FRAME_SHARED, .records = (uint16_t)s->nshared };
	size_t len = s->nshared * (sizeof(uint64_t) + PAGE_BYTES);
	struct iovec iov[2];
	int err;

	if (s->nshared == 0)
		return 0;
	memmove(s->shared + s->nshared * sizeof(uint64_t),
		s->shared + WIRE_MAX_RECORDS * sizeof(uint64_t), s->nshared * PAGE_BYTES);
	err = frame_seal(s->cipher, &header, s->shared, len);
	if (err)
		return stream_out_fail(s, err, "the source cannot seal shared pages");
	iov[0] = (struct iovec){ &header, sizeof(header) };
	iov[1] = (struct iovec){ s->shared, header.directory_bytes };
	err = channel_sendv(s->channel, iov, 2, s->all->m->timeout_ms);
	if (err)
		return stream_out_fail(s, err, "the source cannot send shared pages");
	count(s, s->nshared, sizeof(header) + header.directory_bytes);
	s->nshared = 0;
	return 0;
}

static int add_shared(struct stream_out *s, uint64_t gpa)
{
	uint8_t *page = s->shared + WIRE_MAX_RECORDS * sizeof(uint64_t) + s->nshared * PAGE_BYTES;

	memcpy(s->shared + s->nshared * sizeof(uint64_t), &gpa, sizeof(gpa));
	memcpy(page, page_hva(&s->all->m->vm, gpa), PAGE_BYTES);
	return ++s->nshared == WIRE_MAX_RECORDS ? stream_out_flush_shared(s) : 0;
}

int stream_out_add(struct stream_out *s, uint64_t number, uint64_t gpas[SEVMIRROR_BATCH_MAX],
		   unsigned int *count)
{
	const struct sevmirror_migration *m = s->all->m;
	uint64_t gfn = page_gfn(&m->numbering, number), gpa = gfn * PAGE_BYTES;

	if (m->vm.pagemap && !sev_pagemap_is_private(m->vm.pagemap, gfn))
		return add_shared(s, gpa);
	gpas[(*count)++] = gpa;
	return 0;
}

int stream_out_submit(struct stream_out *s, const uint64_t *gpas, unsigned int n)
{
	unsigned int taken;
	int err = sevmirror_lane_seal_submit(s->all->m->seal, s->lane, s->head % RECORD_DEPTH, gpas,
					     n, s->number == WIRE_PRIORITY_STREAM, &taken);

	if (!err)
		s->head++;
	if (!err && taken != n)
		err = -EPROTO;
	return err ? stream_out_helper_failed(s, err,
					      "the source cannot ask the helper to seal pages") :
		     0;
}

/* How many pages a batch may have: a page that somebody waits for comes after it in the helper. */
static unsigned int batch_max(const struct stream_out *s)
{
	uint64_t pages = atomic_load(&s->all->limit) / s->all->n / PACE_SHARE / PAGE_BYTES;
	unsigned int most = SEVMIRROR_BATCH_MAX;

	if (s->all->postcopy && atomic_load(&s->all->priority.pressing))
		most = PRESSED_PAGES;
	if (!s->all->postcopy || !atomic_load(&s->all->limit) || pages >= most)
		return most;
	return pages ? (unsigned int)pages : 1;
}

/*
 * Take pages out of the set and hand the private ones to the helper. *took is false when nothing
 * was left for this stream.
 */
static int submit_batch(struct stream_out *s, bool *took)
{
	uint64_t numbers[SEVMIRROR_BATCH_MAX], gpas[SEVMIRROR_BATCH_MAX];
	uint64_t hint = atomic_exchange(&s->hint, NO_HINT);
	unsigned int n, count = 0;
	int err = 0;

	if (hint != NO_HINT)
		s->cursor = hint;
	n = page_set_take(s->all->set, s->number, s->all->n, &s->cursor, numbers, batch_max(s));
	*took = n > 0;
	for (unsigned int i = 0; i < n && !err; i++)
		err = stream_out_add(s, numbers[i], gpas, &count);
	return err || count == 0 ? err : stream_out_submit(s, gpas, count);
}

/* One more page to send; pages that follow one another in the window are one piece. */
static void add_body(struct iovec *iov, unsigned int *niov, void *page)
{
	struct iovec *last = &iov[*niov - 1];

	if (*niov > 2 && (char *)last->iov_base + last->iov_len == page)
		last->iov_len += PAGE_BYTES;
	else
		iov[(*niov)++] = (struct iovec){ page, PAGE_BYTES };
}

/* Send a batch, with the bodies as they are in the window. */
static int send_batch(struct stream_out *s, union record_directory *directory, uint8_t *bodies)
{
	const struct sevmirror_batch *batch = &directory->batch;
	struct wire_frame header = { .type = WIRE_FRAME_PRIVATE,
				     .records = (uint16_t)batch->count };
	struct iovec iov[2 + SEVMIRROR_BATCH_MAX];
	unsigned int niov = 2;
	int err;

	for (unsigned int i = 0; i < batch->count; i++) {
		if (batch->record[i].kind != SEVMIRROR_PAGE)
			continue;
		add_body(iov, &niov, bodies + i * PAGE_BYTES);
		header.payload_bytes += PAGE_BYTES;
	}
	err = frame_seal(s->cipher, &header, directory, SEVMIRROR_BATCH_BYTES(batch->count));
	if (err)
		return stream_out_fail(s, err, "the source cannot seal a frame's directory");
	iov[0] = (struct iovec){ &header, sizeof(header) };
	iov[1] = (struct iovec){ directory, header.directory_bytes };
	err = channel_sendv(s->channel, iov, niov, s->all->m->timeout_ms);
	if (err)
		return stream_out_fail(s, err, "the source cannot send pages");
	count(s, header.records, sizeof(header) + header.directory_bytes + header.payload_bytes);
	return 0;
}

int stream_out_finish(struct stream_out *s)
{
	struct sevmirror_seal *seal = s->all->m->seal;
	unsigned int slot = s->tail++ % RECORD_DEPTH;
	union record_directory directory;
	int err = sevmirror_lane_seal_finish(seal, s->lane, slot, &directory.batch);

	if (err == -EBADMSG)
		return stream_out_helper_failed(s, -EIO, "the helper refused to seal a page");
	if (err == -EIO)
		return stream_out_helper_failed(s, err,
						"the helper did not seal the pages of a request");
	if (err)
		return stream_out_helper_failed(s, err, "the helper did not finish a request");
	return send_batch(s, &directory, sevmirror_lane_bodies(seal, s->lane, slot));
}

/* Shared pages wait for a full frame, but in post-copy the guest may wait for one of them. */
static bool must_flush(const struct stream_out *s)
{
	return s->all->postcopy && s->nshared;
}

/* Until the set holds nothing for this stream. What is sealed goes first. */
static int work(struct stream_out *s)
{
	bool took = true;
	int err = 0;

	while (!err && (took || s->head != s->tail)) {
		if (atomic_load(&s->all->cancelled) || atomic_load(&s->all->m->cancelled))
			return stream_out_fail(s, -ECANCELED, "the source stopped it");
		took = !atomic_load(&s->all->halted);
		while (!err && took && !must_flush(s) &&
		       s->head - s->tail < record_depth(s->all->postcopy))
			err = submit_batch(s, &took);
		if (!err && s->head != s->tail)
			err = stream_out_finish(s);
		if (!err && must_flush(s))
			err = stream_out_flush_shared(s);
	}
	return err ? err : stream_out_flush_shared(s);
}

/* With the lock. */
static bool working(const struct streams_out *all)
{
	for (unsigned int i = 0; i < all->n; i++)
		if (all->stream[i].command == WORK)
			return true;
	return all->priority.busy;
}

void stream_out_rests(struct streams_out *all)
{
	const uint64_t one = 1;

	if (!working(all))
		(void)!write(all->done_fd, &one, sizeof(one));
	pthread_cond_broadcast(&all->changed);
}

static void *serve(void *arg)
{
	struct stream_out *s = arg;
	struct streams_out *all = s->all;

	session_thread_begins(all->m, SEVMIRROR_THREAD_STREAM);
	pthread_mutex_lock(&all->lock);
	for (;;) {
		int err;

		while (s->command == WAIT)
			pthread_cond_wait(&all->changed, &all->lock);
		if (s->command == QUIT)
			break;
		pthread_mutex_unlock(&all->lock);
		err = work(s);
		if (err)
			stream_out_give_up(s, err);
		pthread_mutex_lock(&all->lock);
		if (s->command == WORK)
			s->command = WAIT;
		stream_out_rests(all);
	}
	pthread_mutex_unlock(&all->lock);
	util_stack_wipe();
	return NULL;
}

/* On a connected socket, which it takes over: prove to the target which stream this is. */
static int greet(struct stream_out *s, int fd)
{
	static const struct channel_security bare = { .insecure = true };
	struct sevmirror_migration *m = s->all->m;
	struct wire_stream_hello hello;
	int err = channel_open(&s->channel, fd, false, &bare, m->timeout_ms, &m->why);

	if (err)
		return err;
	err = frame_cipher_create(&s->cipher, m->control, m->stream_session, s->number);
	if (err)
		return err;
	err = frame_make_hello(s->cipher, &hello);
	return err ? err : channel_send(s->channel, &hello, sizeof(hello), m->timeout_ms);
}

static int open_stream(struct streams_out *all, unsigned int number)
{
	struct sevmirror_migration *m = all->m;
	struct stream_out *s = &all->stream[number];
	bool priority = number == WIRE_PRIORITY_STREAM;
	int fd, err;

	s->lane = priority ? all->n : number;
	s->shared = malloc(RECORD_SHARED_BYTES);
	if (!s->shared)
		return session_fail(m, -ENOMEM, "the source is out of memory for stream %u",
				    number);
	fd = address_connect(m->source.address, m->timeout_ms, &m->why);
	if (fd < 0)
		return fd;
	err = greet(s, fd);
	if (!err)
		err = -pthread_create(&s->thread, NULL, priority ? priority_out_serve : serve, s);
	if (err)
		return session_fail(m, err,
				    "the source cannot open data stream %u to the target: %s",
				    number, strerror(-err));
	s->started = true;
	return 0;
}

int streams_out_create(struct streams_out **out, struct sevmirror_migration *m,
		       struct page_set *set)
{
	struct streams_out *all = calloc(1, sizeof(*all));
	int err = 0;

	*out = NULL;
	if (!all)
		return session_fail(m, -ENOMEM, "the source is out of memory for the data streams");
	all->m = m;
	all->set = set;
	all->n = m->hello.streams;
	prefetch_init(&all->priority.prefetch);
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	pthread_cond_init(&all->priority.changed, NULL);
	for (unsigned int i = 0; i <= WIRE_PRIORITY_STREAM; i++) {
		struct stream_out *s = &all->stream[i];

		s->all = all;
		s->number = i;
		atomic_init(&s->hint, NO_HINT);
	}
	all->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (all->done_fd < 0)
		err = session_fail(m, -errno, "the source cannot create an eventfd: %s",
				   strerror(errno));
	for (unsigned int i = 0; i < all->n && !err; i++)
		err = open_stream(all, i);
	if (!err && m->hello.flags & WIRE_F_POSTCOPY)
		err = open_stream(all, WIRE_PRIORITY_STREAM);
	if (err) {
		streams_out_destroy(all);
		return err;
	}
	*out = all;
	return 0;
}

static void close_stream(struct streams_out *all, struct stream_out *s)
{
	struct sevmirror_batch ignored;

	/* The slots must be free for the next streams. */
	for (int err = 0; s->tail != s->head && (!err || err == -EIO || err == -EBADMSG); s->tail++)
		err = sevmirror_lane_seal_finish(all->m->seal, s->lane, s->tail % RECORD_DEPTH,
						 &ignored);
	channel_close(s->channel);
	frame_cipher_destroy(s->cipher);
	free(s->shared);
}

void streams_out_destroy(struct streams_out *all)
{
	if (!all)
		return;
	streams_out_cancel(all);
	pthread_mutex_lock(&all->lock);
	for (unsigned int i = 0; i < all->n; i++)
		all->stream[i].command = QUIT;
	all->priority.quit = true;
	pthread_cond_broadcast(&all->changed);
	pthread_cond_broadcast(&all->priority.changed);
	pthread_mutex_unlock(&all->lock);
	/*
	 * All threads first: one that fails cancels the others' channels, the priority stream's
	 * uses their rings.
	 */
	for (unsigned int i = 0; i <= WIRE_PRIORITY_STREAM; i++)
		if (all->stream[i].started)
			pthread_join(all->stream[i].thread, NULL);
	for (unsigned int i = 0; i <= WIRE_PRIORITY_STREAM; i++)
		close_stream(all, &all->stream[i]);
	if (all->done_fd >= 0)
		close(all->done_fd);
	pthread_cond_destroy(&all->priority.changed);
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

void streams_out_begin(struct streams_out *all, bool postcopy)
{
	uint64_t count;

	(void)!read(all->done_fd, &count, sizeof(count));
	pthread_mutex_lock(&all->lock);
	all->postcopy = postcopy;
	atomic_store(&all->halted, false);
	for (unsigned int i = 0; i < all->n; i++)
		all->stream[i].command = WORK;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
}

void streams_out_halt(struct streams_out *all)
{
	atomic_store(&all->halted, true);
}

int streams_out_fd(const struct streams_out *all)
{
	return all->done_fd;
}

int streams_out_wait(struct streams_out *all, int timeout_ms, uint64_t frames[WIRE_MAX_STREAMS])
{
	uint64_t due = clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	int err = 0;

	pthread_mutex_lock(&all->lock);
	while (!err && working(all))
		err = clock_cond_wait(&all->changed, &all->lock, due);
	if (working(all)) {
		pthread_mutex_unlock(&all->lock);
		return -EINPROGRESS;
	}
	memset(frames, 0, WIRE_MAX_STREAMS * sizeof(frames[0]));
	for (unsigned int i = 0; i < all->n; i++)
		frames[i] = frame_count(all->stream[i].cipher);
	err = all->failed ? session_fail_why(all->m, &all->failed->why) : 0;
	pthread_mutex_unlock(&all->lock);
	return err;
}

void streams_out_request(struct streams_out *all, const uint64_t *numbers, unsigned int n)
{
	struct priority *p = &all->priority;

	pthread_mutex_lock(&all->lock);
	/* What finds no room comes in the background. */
	for (unsigned int i = 0; i < n && p->nqueue < WIRE_MAX_REQUESTS; i++)
		p->queue[p->nqueue++] = numbers[i];
	/* A request for no page at all wakes nobody, who would take it back. */
	atomic_store(&p->pressing, p->nqueue || p->busy);
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&all->lock);
}

void streams_out_limit(struct streams_out *all, uint64_t bytes_per_second)
{
	atomic_store(&all->limit, bytes_per_second);
}

struct streams_out_count streams_out_count(const struct streams_out *all)
{
	return (struct streams_out_count){ atomic_load(&all->pages), atomic_load(&all->bytes) };
}

void streams_out_cancel(struct streams_out *all)
{
	atomic_store(&all->cancelled, true);
	for (unsigned int i = 0; i <= WIRE_PRIORITY_STREAM; i++)
		if (all->stream[i].channel)
			channel_cancel(all->stream[i].channel);
}
