/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/postcopy_in.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "helper/protocol.h"
#include "lib/util/clock.h"
#include "lib/migrate/message.h"
#include "lib/migrate/latency.h"
#include "lib/migrate/sealing.h"
#include "lib/migrate/uffd.h"
#include "lib/seal/engine.h"
#include "lib/util/page.h"

#define CHUNK_PAGES (1u << HELPER_CHUNK_SHIFT)
#define RUN_PAGES   64 /* mapped at once around a fault on a page that is there */
#define READ_MAX    32
#define SAMPLE	    8 /* of the pages that came ahead, one in so many is watched */

/* A page that something waits for. */
struct waiting {
	uint64_t number;
	uint64_t since;
};

struct postcopy_in {
	struct sevmirror_migration *m;
	int fd; /* userfaultfd */
	int stop_fd, done_fd; /* eventfds */
	pthread_t thread;
	bool started;

	struct page_set *missing; /* private and shared */
	struct page_set *shared; /* those of missing that are shared */
	struct page_set *asked; /* something waited or waits for the page */
	struct page_set *watched; /* there, but not mapped, to see whether it is touched */
	uint64_t mapped; /* fault thread: pages before this were mapped, if they were there */

	pthread_mutex_t lock; /* of what follows */
	struct waiting waiting[WIRE_MAX_REQUESTS];
	unsigned int nwaiting;
	struct latency latency;
	struct sevmirror_postcopy numbers;
	uint64_t guest_start;

	/* one writer at a time on the control connection, and none while it changes */
	pthread_mutex_t send_lock;
	bool connected;
};

static void *hva_of(const struct postcopy_in *p, uint64_t number)
{
	return page_hva(&p->m->vm, page_gfn(&p->m->numbering, number) * PAGE_BYTES);
}

static uint64_t number_at(const struct postcopy_in *p, const void *addr)
{
	for (unsigned int i = 0; i < p->m->vm.nranges; i++) {
		const struct sevmirror_ram_range *r = &p->m->vm.ranges[i];
		uint64_t offset = (uintptr_t)addr - (uintptr_t)r->hva;

		if ((uintptr_t)addr >= (uintptr_t)r->hva && offset < r->bytes)
			return page_number(&p->m->numbering, (r->gpa + offset) / PAGE_BYTES);
	}
	return UINT64_MAX;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one));
}

/*
 * Map pages that are there. One that is not even in the file (nobody ever wrote it) is put there
 * first, as zeros.
 */
static int map_run(struct postcopy_in *p, uint64_t number, uint64_t n)
{
	uint64_t bytes = n * PAGE_BYTES;
	int err = uffd_continue(p->fd, hva_of(p, number), bytes);

	if (err != -EFAULT)
		return err;
	mirror_populate(rings_mirror(p->m->seal->rings),
			page_gfn(&p->m->numbering, number) * PAGE_BYTES, bytes);
	return uffd_continue(p->fd, hva_of(p, number), bytes);
}

static bool can_map(const struct postcopy_in *p, uint64_t number)
{
	return !page_set_has(p->missing, number) && !page_set_has(p->watched, number);
}

/* From `number` on, within its chunk: how many pages, at most max, can be mapped. */
static uint64_t run_length(const struct postcopy_in *p, uint64_t number, uint64_t max)
{
	uint64_t left = CHUNK_PAGES - number % CHUNK_PAGES, n = 0;

	if (max > left)
		max = left;
	while (n < max && can_map(p, number + n))
		n++;
	return n;
}

/*
 * Pages that were there before are mapped chunk by chunk while nothing else is to do. False when
 * that is through.
 */
static bool map_some(struct postcopy_in *p)
{
	uint64_t end = (p->mapped / CHUNK_PAGES + 1) * CHUNK_PAGES;

	if (p->mapped >= p->m->numbering.npages)
		return false;
	while (p->mapped < end) {
		uint64_t n = run_length(p, p->mapped, CHUNK_PAGES);

		if (n)
			(void)map_run(p, p->mapped, n); /* else it faults, and fails there */
		p->mapped += n + 1;
	}
	p->mapped = end;
	return true;
}

int postcopy_in_send(struct postcopy_in *p, enum wire_type type, const void *body, size_t len)
{
	int err = -ENOTCONN;

	pthread_mutex_lock(&p->send_lock);
	if (p->connected)
		err = message_send_one(p->m->control, type, body, len, p->m->timeout_ms);
	pthread_mutex_unlock(&p->send_lock);
	return err;
}

/*
 * Ask the source for pages, if there is one. What cannot be sent is asked for again after the
 * recovery.
 */
static void ask(struct postcopy_in *p, const uint64_t *numbers, unsigned int n)
{
	uint64_t gfns[WIRE_MAX_REQUESTS];

	if (n == 0)
		return;
	for (unsigned int i = 0; i < n; i++)
		gfns[i] = page_gfn(&p->m->numbering, numbers[i]);
	(void)postcopy_in_send(p, WIRE_PAGE_REQUEST, gfns, n * sizeof(gfns[0]));
}

/* Take note that a missing page is waited for; false if that is known. */
static bool note_waiting(struct postcopy_in *p, uint64_t number)
{
	bool is_new = true;

	pthread_mutex_lock(&p->lock);
	for (unsigned int i = 0; i < p->nwaiting && is_new; i++)
		is_new = p->waiting[i].number != number;
	if (is_new && p->nwaiting < WIRE_MAX_REQUESTS) {
		p->waiting[p->nwaiting++] = (struct waiting){ number, clock_ns() };
		p->numbers.faults++;
	}
	page_set_add(p->asked, number);
	pthread_mutex_unlock(&p->lock);
	return is_new;
}

/* The page has come: note how long the accesses to it waited. */
static void note_served(struct postcopy_in *p, uint64_t number)
{
	pthread_mutex_lock(&p->lock);
	for (unsigned int i = 0; i < p->nwaiting; i++) {
		if (p->waiting[i].number != number)
			continue;
		latency_add(&p->latency, clock_ns() - p->waiting[i].since);
		p->waiting[i] = p->waiting[--p->nwaiting];
		break;
	}
	pthread_mutex_unlock(&p->lock);
}

static void note_last(struct postcopy_in *p)
{
	pthread_mutex_lock(&p->lock);
	if (p->guest_start)
		p->numbers.last_page = clock_ns() - p->guest_start;
	pthread_mutex_unlock(&p->lock);
	signal_fd(p->done_fd);
}

/* A fault on a page that is there. */
static int map_touched(struct postcopy_in *p, uint64_t number)
{
	if (page_set_remove(p->watched, number)) {
		pthread_mutex_lock(&p->lock);
		p->numbers.prefetch_used++;
		pthread_mutex_unlock(&p->lock);
		return map_run(p, number, 1);
	}
	return map_run(p, number, run_length(p, number, RUN_PAGES));
}

/* True if the source is to be asked for the page. */
static bool take_fault(struct postcopy_in *p, uint64_t number)
{
	bool is_new;

	if (page_set_has(p->missing, number)) {
		is_new = note_waiting(p, number);
		/*
		 * Either the installer sees that the page was asked for, or this sees that it has
		 * come: postcopy_in_installed().
		 */
		atomic_thread_fence(memory_order_seq_cst);
		if (page_set_has(p->missing, number))
			return is_new;
		note_served(p, number);
	}
	(void)map_touched(p, number);
	return false;
}

void postcopy_in_release(struct postcopy_in *p)
{
	for (unsigned int i = 0; i < p->m->vm.nranges; i++)
		(void)uffd_disarm(p->fd, p->m->vm.ranges[i].hva, p->m->vm.ranges[i].bytes);
}

static void *serve(void *arg)
{
	struct postcopy_in *p = arg;
	struct pollfd fds[2] = { { .fd = p->fd, .events = POLLIN },
				 { .fd = p->stop_fd, .events = POLLIN } };
	bool busy = true;

	session_thread_begins(p->m, SEVMIRROR_THREAD_URGENT);
	for (;;) {
		uint64_t numbers[READ_MAX];
		void *addrs[READ_MAX];
		unsigned int asking = 0;
		int n;

		poll(fds, 2, busy ? 0 : -1);
		if (fds[1].revents)
			return NULL;
		n = uffd_read(p->fd, addrs, READ_MAX);
		for (int i = 0; i < n; i++) {
			uint64_t number = number_at(p, addrs[i]);

			if (number != UINT64_MAX && take_fault(p, number))
				numbers[asking++] = number;
		}
		ask(p, numbers, asking);
		busy = n > 0 || map_some(p);
	}
}

static int create_sets(struct postcopy_in *p)
{
	struct page_set **sets[] = { &p->missing, &p->shared, &p->asked, &p->watched };
	int err = 0;

	for (unsigned int i = 0; i < sizeof(sets) / sizeof(sets[0]) && !err; i++)
		err = page_set_create(sets[i], &p->m->numbering);
	p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return err ? err : p->stop_fd < 0 || p->done_fd < 0 ? -EMFILE : 0;
}

int postcopy_in_create(struct postcopy_in **out, struct sevmirror_migration *m)
{
	struct postcopy_in *p = calloc(1, sizeof(*p));
	int err;

	*out = NULL;
	if (!p)
		return session_fail(m, -ENOMEM, "the target is out of memory for post-copy");
	p->m = m;
	p->fd = m->uffd;
	m->uffd = -1;
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->send_lock, NULL);
	err = create_sets(p);
	for (unsigned int i = 0; i < m->vm.nranges && !err; i++)
		err = uffd_arm(p->fd, m->vm.ranges[i].hva, m->vm.ranges[i].bytes);
	if (err) {
		postcopy_in_destroy(p);
		return session_fail(m, err,
				    "the target cannot arm the guest's memory for post-copy: %s",
				    strerror(-err));
	}
	*out = p;
	return 0;
}

void postcopy_in_destroy(struct postcopy_in *p)
{
	if (!p)
		return;
	if (p->started) {
		signal_fd(p->stop_fd);
		pthread_join(p->thread, NULL);
	}
	/* Closing disarms all and wakes all waiters. */
	close(p->fd);
	if (p->stop_fd >= 0)
		close(p->stop_fd);
	if (p->done_fd >= 0)
		close(p->done_fd);
	page_set_destroy(p->missing);
	page_set_destroy(p->shared);
	page_set_destroy(p->asked);
	page_set_destroy(p->watched);
	pthread_mutex_destroy(&p->send_lock);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

int postcopy_in_begin(struct postcopy_in *p, const uint64_t *private_pages,
		      const uint64_t *shared_pages)
{
	struct sevmirror_migration *m = p->m;
	int err;

	for (uint64_t i = 0; i < m->numbering.npages / 64; i++)
		if (private_pages[i] & shared_pages[i])
			return session_fail(m, -EPROTO,
					    "the source announced a page as private and as shared");
	page_set_add_bitmap(p->missing, private_pages);
	page_set_add_bitmap(p->shared, shared_pages);
	page_set_add_bitmap(p->missing, shared_pages);
	p->numbers.pages = page_set_count(p->missing);
	if (p->numbers.pages == 0)
		signal_fd(p->done_fd);
	err = sealing_postcopy(m, private_pages);
	if (err)
		return err;
	p->connected = true;
	err = -pthread_create(&p->thread, NULL, serve, p);
	if (err)
		return session_fail(m, err, "the target cannot start a thread for post-copy: %s",
				    strerror(-err));
	p->started = true;
	return 0;
}

bool postcopy_in_lacks_shared(const struct postcopy_in *p, uint64_t number)
{
	return page_set_has(p->missing, number) && page_set_has(p->shared, number);
}

/*
 * A page that came ahead of the rest: true if it is to stay unmapped, to see whether it is touched.
 */
static bool watch(struct postcopy_in *p, uint64_t number)
{
	bool sample;

	pthread_mutex_lock(&p->lock);
	sample = p->numbers.prefetched++ % SAMPLE == 0;
	if (sample) {
		p->numbers.prefetch_samples++;
		page_set_add(p->watched, number);
	}
	pthread_mutex_unlock(&p->lock);
	return sample;
}

int postcopy_in_installed(struct postcopy_in *p, const uint64_t *numbers, unsigned int n,
			  bool priority)
{
	uint64_t first = 0, run = 0;
	int err = 0;

	/* Watched before it ceases to be missing, so that nobody maps it in between. */
	for (unsigned int i = 0; i < n; i++) {
		if (priority && !page_set_has(p->asked, numbers[i]))
			(void)watch(p, numbers[i]);
		page_set_remove(p->missing, numbers[i]);
	}
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned int i = 0; i <= n && !err; i++) {
		bool asked = i < n && page_set_has(p->asked, numbers[i]);

		/* Asked for while it was being installed: then somebody waits. */
		if (asked)
			page_set_remove(p->watched, numbers[i]);
		if (i < n && run && numbers[i] == first + run && numbers[i] % CHUNK_PAGES &&
		    can_map(p, numbers[i])) {
			run++;
			continue;
		}
		if (run)
			err = map_run(p, first, run);
		run = i < n && can_map(p, numbers[i]);
		first = run ? numbers[i] : 0;
	}
	for (unsigned int i = 0; i < n; i++)
		if (page_set_has(p->asked, numbers[i]))
			note_served(p, numbers[i]);
	if (page_set_count(p->missing) == 0)
		note_last(p);
	return err;
}

void postcopy_in_disconnect(struct postcopy_in *p)
{
	pthread_mutex_lock(&p->send_lock);
	p->connected = false;
	pthread_mutex_unlock(&p->send_lock);
}

void postcopy_in_connect(struct postcopy_in *p)
{
	uint64_t numbers[WIRE_MAX_REQUESTS];
	unsigned int n;

	pthread_mutex_lock(&p->lock);
	p->numbers.recoveries++;
	for (n = 0; n < p->nwaiting; n++)
		numbers[n] = p->waiting[n].number;
	pthread_mutex_unlock(&p->lock);
	pthread_mutex_lock(&p->send_lock);
	p->connected = true;
	pthread_mutex_unlock(&p->send_lock);
	ask(p, numbers, n);
}

uint64_t postcopy_in_left(const struct postcopy_in *p)
{
	return page_set_count(p->missing);
}

int postcopy_in_fd(const struct postcopy_in *p)
{
	return p->done_fd;
}

void postcopy_in_bitmaps(const struct postcopy_in *p, uint64_t *private_pages,
			 uint64_t *shared_pages)
{
	page_set_copy(p->missing, private_pages);
	page_set_copy(p->shared, shared_pages);
	for (uint64_t i = 0; i < p->m->numbering.npages / 64; i++) {
		shared_pages[i] &= private_pages[i];
		private_pages[i] &= ~shared_pages[i];
	}
}

void postcopy_in_started(struct postcopy_in *p)
{
	pthread_mutex_lock(&p->lock);
	p->guest_start = clock_ns();
	pthread_mutex_unlock(&p->lock);
}

void postcopy_in_numbers(struct postcopy_in *p, struct sevmirror_postcopy *numbers)
{
	pthread_mutex_lock(&p->lock);
	*numbers = p->numbers;
	numbers->fault_p50 = latency_percentile(&p->latency, 50);
	numbers->fault_p95 = latency_percentile(&p->latency, 95);
	numbers->fault_p99 = latency_percentile(&p->latency, 99);
	numbers->fault_max = p->latency.max;
	latency_classes(&p->latency, numbers->fault_class);
	pthread_mutex_unlock(&p->lock);
}
