/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/workload.h"

#include <errno.h>
#include <stdatomic.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/util/page.h"

/*
 * A payload that has nothing to do for a while says for how long; this is short enough to be wrong
 * by.
 */
#define NAP_NS 100000

struct workload {
	struct mirror *mirror;
	struct workload_plan plan;
	uint64_t npages;
	_Atomic uint64_t *dirty; /* shared with the VMM */
	uint64_t *log; /* as KVM gave it */
	int event_fd;
	_Atomic enum workload_end end;
	uint32_t detail;
};

static int step(struct why *why, const char *what, int err)
{
	return err ? why_set(why, err, "%s: %s", what, strerror(-err)) : 0;
}

static int map_dirty(struct workload *w, int fd)
{
	struct stat st;
	void *at;

	/* A file that ends too early would end this process when it is written. */
	if (fstat(fd, &st) || st.st_size < (off_t)(w->npages / 8))
		return -EINVAL;
	at = mmap(NULL, w->npages / 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	w->dirty = at;
	return 0;
}

static int make_mirror(struct workload *w, const struct mirror_offer *offer, int kvm_fd,
		       void (*thread_begins)(void *opaque), struct why *why)
{
	const struct mirror_config config = {
		.kvm_fd = kvm_fd,
		.primary_fd = offer->primary_fd,
		.ram = offer->ram,
		.nram = offer->nram,
		.window_bytes = WORKLOAD_WINDOW_BYTES,
		.nvcpus = 1,
		.cbit_mask = offer->cbit_mask,
		.read_only = !offer->workload.writes_memory,
		.writable_gpa = offer->workload.gpa,
		.writable_bytes = offer->workload.bytes,
		.log_dirty = true,
		.thread_begins = thread_begins,
	};
	const struct mirror_entry entry = {
		.cr3 = w->plan.cr3,
		.tss = WORKLOAD_TSS_VA,
		.tss_limit = WORKLOAD_TSS_BYTES - 1,
		.rip = w->plan.rip,
		.rdi = WORKLOAD_PARAMS_VA,
	};
	int err = mirror_create(&w->mirror, &config, why);

	return err ? err :
		     step(why, "cannot set up the mirror's vCPU",
			  mirror_vcpu_enter(w->mirror, 0, &entry));
}

int workload_create(struct workload **workload, const struct mirror_offer *offer, int kvm_fd,
		    void (*thread_begins)(void *opaque), struct why *why)
{
	struct workload *w;
	unsigned int i;
	int err;

	*workload = NULL;
	if (!offer->workload.bytes)
		return step(why, "the guest was launched without a workload", -EINVAL);
	w = calloc(1, sizeof(*w));
	if (!w)
		return step(why, "cannot allocate the mirror", -ENOMEM);
	w->plan = offer->workload;
	for (i = 0; i < offer->nram; i++)
		w->npages += offer->ram[i].bytes / PAGE_BYTES;
	if (w->npages == 0 || w->npages % WORD_BITS) {
		free(w);
		return step(why, "the size of the guest's memory is not valid", -EINVAL);
	}
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->log = calloc(w->npages / WORD_BITS, sizeof(*w->log));
	err = step(why, "cannot allocate the mirror", w->event_fd < 0 || !w->log ? -ENOMEM : 0);
	if (!err)
		err = step(why, "cannot map the VMM's dirty bitmap", map_dirty(w, offer->dirty_fd));
	if (!err)
		err = make_mirror(w, offer, kvm_fd, thread_begins, why);
	if (err) {
		workload_destroy(w);
		return err;
	}
	*workload_shared(w) = (struct payload_shared){ .magic = PAYLOAD_SHARED_MAGIC,
						       .version = PAYLOAD_VERSION };
	*workload = w;
	return 0;
}

void workload_destroy(struct workload *w)
{
	if (!w)
		return;
	mirror_destroy(w->mirror);
	if (w->dirty)
		munmap(w->dirty, w->npages / 8);
	if (w->event_fd >= 0)
		close(w->event_fd);
	free(w->log);
	free(w);
}

struct payload_shared *workload_shared(const struct workload *w)
{
	return mirror_window(w->mirror);
}

/* How an exit ends it; WORKLOAD_RUNS if it does not. */
static enum workload_end end_of(const struct mirror_exit *exit)
{
	static const enum workload_end ends[] = {
		[MIRROR_EXIT_STOPPED] = WORKLOAD_STOPPED,
		[MIRROR_EXIT_CRASHED] = WORKLOAD_CRASHED,
		[MIRROR_EXIT_FAILED] = WORKLOAD_FAILED,
	};

	if (exit->kind != MIRROR_EXIT_OUT)
		return ends[exit->kind];
	if (exit->port != PAYLOAD_DOORBELL_PORT)
		return WORKLOAD_CRASHED;
	switch (exit->value) {
	case PAYLOAD_BELL_LOG:
	case PAYLOAD_BELL_STATE:
	case PAYLOAD_BELL_SLEEP:
		return WORKLOAD_RUNS;
	case PAYLOAD_BELL_EXIT:
		return WORKLOAD_DONE;
	default:
		return WORKLOAD_CRASHED;
	}
}

static bool handle(void *opaque, unsigned int vcpu, const struct mirror_exit *exit)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	enum workload_end end = end_of(exit);
	struct workload *w = opaque;

	(void)vcpu;
	if (end == WORKLOAD_RUNS && exit->value == PAYLOAD_BELL_SLEEP) {
		nanosleep(&nap, NULL);
		return true;
	}
	w->detail = exit->detail;
	atomic_store_explicit(&w->end, end, memory_order_release);
	eventfd_write(w->event_fd, 1);
	return end == WORKLOAD_RUNS;
}

int workload_start(struct workload *w)
{
	return mirror_vcpu_start(w->mirror, 0, handle, w);
}

int workload_fd(const struct workload *w)
{
	return w->event_fd;
}

enum workload_end workload_attend(struct workload *w)
{
	eventfd_t count;

	(void)eventfd_read(w->event_fd, &count);
	return atomic_load_explicit(&w->end, memory_order_acquire);
}

uint32_t workload_detail(const struct workload *w)
{
	return w->detail;
}

void workload_stop(struct workload *w, int grace_ms)
{
	struct timespec nap = { .tv_nsec = 1000000 };

	__atomic_store_n(&workload_shared(w)->command, PAYLOAD_CMD_STOP, __ATOMIC_SEQ_CST);
	while (grace_ms-- > 0 && workload_attend(w) == WORKLOAD_RUNS)
		nanosleep(&nap, NULL);
	mirror_vcpu_stop(w->mirror, 0);
}

int workload_log(struct workload *w)
{
	uint64_t i;
	int err = mirror_dirty_fetch(w->mirror, w->log, w->npages);

	/* The VMM may be taking bits out at the same time. */
	for (i = 0; i < w->npages / WORD_BITS; i++) {
		if (w->log[i])
			atomic_fetch_or(&w->dirty[i], w->log[i]);
		w->log[i] = 0;
	}
	return err;
}
