/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The source's priority stream: what somebody waits for goes at once, then some pages around it,
 * unless the next one waits by then. The background streams continue from there.
 */
#include <errno.h>
#include <string.h>

#include "lib/util/clock.h"
#include "lib/migrate/stream_out_private.h"
#include "lib/util/stack.h"

#define CHUNK_PAGES (1u << HELPER_CHUNK_SHIFT)

static struct stream_out *owner_of(struct streams_out *all, uint64_t number)
{
	return &all->stream[helper_ring_of(page_gfn(&all->m->numbering, number), all->n)];
}

/* Seal at most a batch of pages of one ring, which were taken out of the set, and send them. */
static int send_pages(struct stream_out *s, const uint64_t *numbers, unsigned int n)
{
	uint64_t gpas[SEVMIRROR_BATCH_MAX];
	unsigned int count = 0;
	int err = 0;

	for (unsigned int i = 0; i < n && !err; i++)
		err = stream_out_add(s, numbers[i], gpas, &count);
	if (!err)
		err = stream_out_flush_shared(s);
	if (err || count == 0)
		return err;
	err = stream_out_submit(s, gpas, count);
	return err ? err : stream_out_finish(s);
}

/*
 * Send those of the numbers that are not sent yet. Each frame begins with the oldest of
 * them; later ones of the same ring go with it, because all pages of a frame belong to one ring. So
 * a request waits for no more frames than there are older requests.
 */
static int send_requested(struct stream_out *s, const uint64_t *numbers, unsigned int n)
{
	struct streams_out *all = s->all;
	int err = 0;

	for (unsigned int oldest = 0; oldest < n && !err; oldest++) {
		const struct stream_out *owner = owner_of(all, numbers[oldest]);
		uint64_t batch[SEVMIRROR_BATCH_MAX];
		unsigned int k = 0;

		if (!page_set_remove(all->set, numbers[oldest]))
			continue;
		batch[k++] = numbers[oldest];
		for (unsigned int i = oldest + 1; i < n && k < SEVMIRROR_BATCH_MAX; i++)
			if (owner_of(all, numbers[i]) == owner &&
			    page_set_remove(all->set, numbers[i]))
				batch[k++] = numbers[i];
		err = send_pages(s, batch, k);
	}
	return err;
}

/* Pages behind one that was waited for, to the end of its chunk at most. */
static int send_ahead(struct stream_out *s, uint64_t number)
{
	struct streams_out *all = s->all;
	struct stream_out *owner = owner_of(all, number);
	uint64_t batch[PREFETCH_MAX], end;
	unsigned int n, k = 0;
	uint64_t first = prefetch_fault(&all->priority.prefetch, number, &n);

	end = (number / CHUNK_PAGES + 1) * CHUNK_PAGES;
	if (first + n < end)
		end = first + n;
	for (uint64_t i = first; i < end; i++)
		if (page_set_remove(all->set, i))
			batch[k++] = i;
	atomic_store(&owner->hint, number);
	return k ? send_pages(s, batch, k) : 0;
}

/* Wait for requests; how many were taken, 0 when it is over. */
static unsigned int take_requests(struct streams_out *all, uint64_t *numbers)
{
	struct priority *p = &all->priority;
	unsigned int n;

	pthread_mutex_lock(&all->lock);
	p->busy = false;
	atomic_store(&p->pressing, p->nqueue > 0);
	stream_out_rests(all);
	while (!p->nqueue && !p->quit)
		pthread_cond_wait(&p->changed, &all->lock);
	n = p->quit ? 0 : p->nqueue;
	memcpy(numbers, p->queue, n * sizeof(numbers[0]));
	p->nqueue = 0;
	p->busy = n > 0;
	atomic_store(&p->pressing, p->busy);
	pthread_mutex_unlock(&all->lock);
	return n;
}

static bool more_requests(struct streams_out *all)
{
	bool more;

	pthread_mutex_lock(&all->lock);
	more = all->priority.nqueue || all->priority.quit;
	pthread_mutex_unlock(&all->lock);
	return more;
}

void *priority_out_serve(void *arg)
{
	struct stream_out *s = arg;
	struct streams_out *all = s->all;
	uint64_t numbers[WIRE_MAX_REQUESTS];
	unsigned int n;
	int err = 0;

	session_thread_begins(all->m, SEVMIRROR_THREAD_URGENT);
	while (!err && (n = take_requests(all, numbers)) > 0) {
		err = send_requested(s, numbers, n);
		for (unsigned int i = 0; i < n && !err && !more_requests(all); i++)
			err = send_ahead(s, numbers[i]);
	}
	if (err)
		stream_out_give_up(s, err);
	pthread_mutex_lock(&all->lock);
	all->priority.busy = false;
	stream_out_rests(all);
	pthread_mutex_unlock(&all->lock);
	util_stack_wipe();
	return NULL;
}
