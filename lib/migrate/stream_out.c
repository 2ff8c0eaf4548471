/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/migrate/stream_out.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/migrate/address.h"
#include "lib/migrate/clock.h"
#include "lib/migrate/frame.h"
#include "lib/migrate/record.h"
#include "lib/mirror/rings.h"
#include <sevmirror/pagemap.h>

#define PACE_WINDOW	   (NS_PER_S / 10)
#define HELPER_PATIENCE_NS (10 * NS_PER_S)

enum command { WAIT, WORK, QUIT };

struct stream {
	struct streams_out *all;
	unsigned int number;
	pthread_t thread;
	bool started;
	struct channel *channel;
	struct frame_cipher *cipher;
	uint64_t cursor;
	uint32_t window; /* its batches' first window page */
	unsigned int head, tail; /* batches handed to the helper, and sent: they count up */
	uint8_t *shared; /* directory of the frame of shared pages being filled */
	unsigned int nshared;
	uint64_t pace_start, pace_bytes;
	enum command command; /* under all->lock */
	int err; /* as is this */
	char why[SESSION_WHY_BYTES];
};

struct streams_out {
	struct sevmirror_migration *m;
	struct page_set *set;
	unsigned int n;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct stream *failed; /* the first one that did; under lock */
	atomic_bool cancelled;
	_Atomic uint64_t limit, pages, bytes;
	struct stream stream[WIRE_MAX_STREAMS];
};

static int fail(struct stream *s, int err, const char *what)
{
	if (s->why[0] == '\0')
		snprintf(s->why, sizeof(s->why), "stream %u: %s: %s", s->number, what,
			 strerror(-err));
	return err;
}

/* Keep this stream's share of the limit: sleep off what was sent too early, in a window short enough not to burst. */
static void pace(struct stream *s, uint64_t bytes)
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
	due = s->pace_start + (uint64_t)((double)s->pace_bytes * NS_PER_S / (double)limit);
	if (due > t) {
		struct timespec ts = { (time_t)((due - t) / NS_PER_S),
				       (long)((due - t) % NS_PER_S) };

		nanosleep(&ts, NULL);
		s->pace_start = due;
		s->pace_bytes = 0;
	}
}

static void *host_page(const struct sevmirror_migration *m, uint64_t gpa)
{
	for (unsigned int i = 0; i < m->vm.nranges; i++) {
		const struct sevmirror_ram_range *r = &m->vm.ranges[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->bytes)
			return (char *)r->hva + (gpa - r->gpa);
	}
	return NULL;
}

static void count(struct stream *s, uint64_t pages, uint64_t bytes)
{
	atomic_fetch_add(&s->all->pages, pages);
	atomic_fetch_add(&s->all->bytes, bytes);
	pace(s, bytes);
}

/* Seal and send the shared pages collected so far: all their gpas first, then the pages (record.h). */
static int flush_shared(struct stream *s)
{
	struct wire_frame header = { .type = WIRE_FRAME_SHARED, .records = (uint16_t)s->nshared };
	size_t len = s->nshared * (sizeof(uint64_t) + SEVMIRROR_PAGE_BYTES);
	struct iovec iov[2];
	int err;

	if (s->nshared == 0)
		return 0;
	memmove(s->shared + s->nshared * sizeof(uint64_t),
		s->shared + WIRE_MAX_RECORDS * sizeof(uint64_t), s->nshared * SEVMIRROR_PAGE_BYTES);
	err = frame_seal(s->cipher, &header, s->shared, len);
	if (err)
		return fail(s, err, "sealing shared pages");
	iov[0] = (struct iovec){ &header, sizeof(header) };
	iov[1] = (struct iovec){ s->shared, header.directory_bytes };
	err = channel_sendv(s->channel, iov, 2, s->all->m->timeout_ms);
	if (err)
		return fail(s, err, "sending shared pages");
	count(s, s->nshared, sizeof(header) + header.directory_bytes);
	s->nshared = 0;
	return 0;
}

static int add_shared(struct stream *s, uint64_t gpa)
{
	uint8_t *page =
		s->shared + WIRE_MAX_RECORDS * sizeof(uint64_t) + s->nshared * SEVMIRROR_PAGE_BYTES;

	memcpy(s->shared + s->nshared * sizeof(uint64_t), &gpa, sizeof(gpa));
	memcpy(page, host_page(s->all->m, gpa), SEVMIRROR_PAGE_BYTES);
	return ++s->nshared == WIRE_MAX_RECORDS ? flush_shared(s) : 0;
}

static struct helper_batch *batch_of(struct stream *s, unsigned int i, uint32_t *page)
{
	*page = record_batch_page(s->window, i);
	return rings_page(s->all->m->rings, *page);
}

/* Take pages out of the set and hand the private ones to the helper. *took is false when nothing was left for this stream. */
static int submit_batch(struct stream *s, bool *took)
{
	struct sevmirror_migration *m = s->all->m;
	uint64_t numbers[HELPER_BATCH_MAX];
	unsigned int n = page_set_take(s->all->set, s->number, s->all->n, &s->cursor, numbers,
				       HELPER_BATCH_MAX);
	struct helper_request request = { .op = HELPER_OP_SEAL };
	struct helper_batch *batch = batch_of(s, s->head, &request.page);
	int err = 0;

	*took = n > 0;
	for (unsigned int i = 0; i < n && !err; i++) {
		uint64_t gfn = page_gfn(&m->numbering, numbers[i]);
		uint64_t gpa = gfn * SEVMIRROR_PAGE_BYTES;

		if (gpa >= m->vm.helper_gpa && gpa - m->vm.helper_gpa < m->helper_bytes)
			continue;
		if (m->vm.pagemap && !sev_pagemap_is_private(m->vm.pagemap, gfn)) {
			err = add_shared(s, gpa);
			continue;
		}
		batch->record[request.count].gpa = gpa;
		batch->record[request.count].slot = request.page + 1 + request.count;
		request.count++;
	}
	if (err || request.count == 0)
		return err;
	err = rings_submit(m->rings, s->number, &request, NULL);
	if (err)
		return fail(s, err, "asking the helper to seal pages");
	s->head++;
	return 0;
}

/* Make the frame of a batch that the helper has sealed: header, directory, and the bodies as they stand in the window. */
static int send_batch(struct stream *s, const struct helper_batch *batch, unsigned int n,
		      uint32_t page)
{
	struct sevmirror_migration *m = s->all->m;
	_Alignas(8) uint8_t directory[WIRE_MAX_DIRECTORY_BYTES];
	struct record_private *records =
		(struct record_private *)(directory + sizeof(struct record_batch));
	struct wire_frame header = { .type = WIRE_FRAME_PRIVATE };
	struct iovec iov[2 + HELPER_BATCH_MAX];
	unsigned int niov = 2;
	int err;

	memcpy(directory, batch->salt, sizeof(batch->salt));
	for (unsigned int i = 0; i < n; i++) {
		struct helper_record r = batch->record[i];

		if (r.status != HELPER_OK || (r.kind != HELPER_PAGE && r.kind != HELPER_ZERO))
			return fail(s, -EIO, "the helper refused to seal a page");
		memset(&records[header.records], 0, sizeof(records[0]));
		records[header.records] = (struct record_private){
			.gpa = r.gpa, .epoch = r.epoch, .kind = r.kind, .index = r.index
		};
		memcpy(records[header.records].tag, r.tag, sizeof(r.tag));
		header.records++;
		if (r.kind == HELPER_PAGE)
			iov[niov++] = (struct iovec){ rings_page(m->rings, page + 1 + i),
						      SEVMIRROR_PAGE_BYTES };
	}
	header.payload_bytes = (uint32_t)((niov - 2) * SEVMIRROR_PAGE_BYTES);
	err = frame_seal(s->cipher, &header, directory,
			 sizeof(struct record_batch) + header.records * sizeof(records[0]));
	if (err)
		return fail(s, err, "sealing a frame's directory");
	iov[0] = (struct iovec){ &header, sizeof(header) };
	iov[1] = (struct iovec){ directory, header.directory_bytes };
	err = channel_sendv(s->channel, iov, niov, m->timeout_ms);
	if (err)
		return fail(s, err, "sending pages");
	count(s, header.records, sizeof(header) + header.directory_bytes + header.payload_bytes);
	return 0;
}

static int finish_batch(struct stream *s)
{
	struct helper_completion completion;
	uint32_t page;
	const struct helper_batch *batch = batch_of(s, s->tail, &page);
	int err = rings_wait(s->all->m->rings, s->number, &completion, HELPER_PATIENCE_NS);

	if (err)
		return fail(s, err, "waiting for the helper");
	if (completion.op != HELPER_OP_SEAL || completion.status != HELPER_OK ||
	    completion.count == 0 || completion.count > HELPER_BATCH_MAX)
		return fail(s, -EIO, "the helper did not seal what it was asked to");
	s->tail++;
	return send_batch(s, batch, completion.count, page);
}

/* Until the set holds nothing for this stream. */
static int work(struct stream *s)
{
	bool took = true;
	int err = 0;

	while (!err && (took || s->head != s->tail)) {
		if (atomic_load(&s->all->cancelled) || atomic_load(&s->all->m->cancelled))
			return fail(s, -ECANCELED, "stopped");
		took = true;
		while (!err && took && s->head - s->tail < RECORD_DEPTH)
			err = submit_batch(s, &took);
		if (!err && s->head != s->tail)
			err = finish_batch(s);
	}
	return err ? err : flush_shared(s);
}

static void *serve(void *arg)
{
	struct stream *s = arg;
	struct streams_out *all = s->all;

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
			streams_out_cancel(all); /* the others need not go on */
		pthread_mutex_lock(&all->lock);
		s->err = err;
		if (err && !all->failed)
			all->failed = s;
		if (s->command == WORK)
			s->command = WAIT;
		pthread_cond_broadcast(&all->changed);
	}
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

static int open_stream(struct streams_out *all, unsigned int number)
{
	static const struct channel_security bare = { .insecure = true };
	struct sevmirror_migration *m = all->m;
	struct stream *s = &all->stream[number];
	struct wire_stream_hello hello;
	uint32_t window_pages;
	int fd, err;

	s->all = all;
	s->number = number;
	s->window = rings_data(all->m->rings, number, &window_pages);
	s->shared = malloc(RECORD_SHARED_BYTES);
	if (!s->shared)
		return session_fail(m, -ENOMEM, "out of memory for stream %u", number);
	fd = address_connect(m->source.address, m->timeout_ms, m->why, sizeof(m->why));
	if (fd < 0)
		return fd;
	err = channel_open(&s->channel, fd, false, &bare, m->timeout_ms, m->why, sizeof(m->why));
	if (!err)
		err = frame_cipher_create(&s->cipher, m->control, m->hello.session, number);
	if (!err)
		err = frame_make_hello(s->cipher, &hello);
	if (!err)
		err = channel_send(s->channel, &hello, sizeof(hello), m->timeout_ms);
	if (!err)
		err = -pthread_create(&s->thread, NULL, serve, s);
	if (err)
		return session_fail(m, err, "opening data stream %u: %s", number, strerror(-err));
	s->started = true;
	return 0;
}

int streams_out_create(struct streams_out **out, struct sevmirror_migration *m,
		       struct page_set *set)
{
	struct streams_out *all = calloc(1, sizeof(*all));
	pthread_condattr_t monotonic;
	int err = 0;

	*out = NULL;
	if (!all)
		return session_fail(m, -ENOMEM, "out of memory for the data streams");
	all->m = m;
	all->set = set;
	pthread_mutex_init(&all->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&all->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	for (unsigned int i = 0; i < m->hello.streams && !err; i++) {
		all->n++;
		err = open_stream(all, i);
	}
	if (err) {
		streams_out_destroy(all);
		return err;
	}
	*out = all;
	return 0;
}

void streams_out_destroy(struct streams_out *all)
{
	if (!all)
		return;
	streams_out_cancel(all);
	pthread_mutex_lock(&all->lock);
	for (unsigned int i = 0; i < all->n; i++)
		all->stream[i].command = QUIT;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	for (unsigned int i = 0; i < all->n; i++) {
		struct stream *s = &all->stream[i];

		if (s->started)
			pthread_join(s->thread, NULL);
		channel_close(s->channel);
		frame_cipher_destroy(s->cipher);
		free(s->shared);
	}
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

void streams_out_begin(struct streams_out *all)
{
	pthread_mutex_lock(&all->lock);
	for (unsigned int i = 0; i < all->n; i++)
		all->stream[i].command = WORK;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
}

static bool working(const struct streams_out *all)
{
	for (unsigned int i = 0; i < all->n; i++)
		if (all->stream[i].command == WORK)
			return true;
	return false;
}

int streams_out_wait(struct streams_out *all, int timeout_ms, uint64_t frames[WIRE_MAX_STREAMS])
{
	uint64_t due = clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	struct timespec until = { (time_t)(due / NS_PER_S), (long)(due % NS_PER_S) };
	int err = 0;

	pthread_mutex_lock(&all->lock);
	while (!err && working(all))
		err = -pthread_cond_timedwait(&all->changed, &all->lock, &until);
	if (working(all)) {
		pthread_mutex_unlock(&all->lock);
		return -EINPROGRESS;
	}
	memset(frames, 0, WIRE_MAX_STREAMS * sizeof(frames[0]));
	for (unsigned int i = 0; i < all->n; i++)
		frames[i] = frame_count(all->stream[i].cipher);
	err = all->failed ? session_fail(all->m, all->failed->err, "%s", all->failed->why) : 0;
	pthread_mutex_unlock(&all->lock);
	return err;
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
	for (unsigned int i = 0; i < all->n; i++)
		if (all->stream[i].channel)
			channel_cancel(all->stream[i].channel);
}
