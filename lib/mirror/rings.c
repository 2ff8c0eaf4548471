/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/rings.h"

#include <errno.h>
#include <stdatomic.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "helper/layout.h"
#include "lib/mirror/ring.h"
#include "lib/util/clock.h"
#include "lib/util/page.h"

#define MIB2	     0x200000ULL
#define BOOT_TIMEOUT 30000000000ULL
#define SPIN_DEFAULT 2000

struct ring {
	struct host_ring host;
	struct rings *owner;
	unsigned int index;
	int doorbell; /* eventfd */
	_Atomic uint32_t event; /* the last one while booting */
};

struct rings {
	struct mirror *mirror;
	struct region_plan plan;
	int lock; /* a descriptor that holds the region's lock, or -1 */
	struct ring ring[HELPER_VCPUS_MAX];
	unsigned int nrings;
	uint32_t data_pages, window_pages;
	uint32_t host_polls;
	uint32_t kernel;
};

static void ring_bell(struct ring *r)
{
	uint64_t one = 1;

	if (write(r->doorbell, &one, sizeof(one)) < 0)
		return; /* only when the counter is full: then it is readable already */
}

static void die(struct ring *r, int error)
{
	ring_die(&r->host, error);
	ring_bell(r);
}

/* On the vCPU's thread, which is out of the guest: completed does not change. */
static bool has_work(void *opaque)
{
	const struct ring *r = opaque;

	return ring_has_work(&r->host);
}

static bool on_event(struct ring *r, uint32_t value)
{
	switch (value & 0xff) {
	case HELPER_EVENT_SLEEP:
		return mirror_park(r->owner->mirror, r->index, has_work, r);
	case HELPER_EVENT_BOOTED:
		atomic_store(&r->event, value);
		ring_bell(r);
		return false;
	case HELPER_EVENT_FATAL:
		die(r, value >> 8 == HELPER_BAD_CORE ? -EBADMSG : -EPROTO);
		return false;
	default:
		die(r, -EPROTO);
		return false;
	}
}

static bool exited(void *opaque, unsigned int vcpu, const struct mirror_exit *exit)
{
	struct rings *rings = opaque;
	struct ring *r = &rings->ring[vcpu];

	switch (exit->kind) {
	case MIRROR_EXIT_OUT:
		if (exit->port == HELPER_PORT_EVENT)
			return on_event(r, exit->value);
		if (exit->port == HELPER_PORT_DOORBELL) {
			ring_bell(r); /* where KVM has no ioeventfd */
			return true;
		}
		die(r, -EPROTO);
		return false;
	case MIRROR_EXIT_STOPPED:
		die(r, -ESHUTDOWN);
		return false;
	case MIRROR_EXIT_CRASHED:
		die(r, -EFAULT);
		return false;
	default:
		die(r, exit->detail >= 256 ? -(int)(exit->detail - 256) : -EIO);
		return false;
	}
}

const char *rings_error(const struct rings *rings, unsigned int ring)
{
	switch (ring_error(&rings->ring[ring].host)) {
	case 0:
		return "no error";
	case -EBADMSG:
		return "the helper refuses its core: it is not the one that the session sealed, or "
		       "another build's";
	case -EFAULT:
		return "the helper crashed (triple fault in the mirror)";
	case -ESHUTDOWN:
		return "the helper was stopped";
	case -EPROTO:
		return "the helper gave up or broke its protocol";
	default:
		return "KVM could not run the mirror's vCPU";
	}
}

const char *rings_explain(const struct rings *rings, int err)
{
	for (unsigned int i = 0; i < rings->nrings; i++)
		if (err && ring_error(&rings->ring[i].host) == err)
			return rings_error(rings, i);
	return strerror(-err);
}

static void setup_ring(struct rings *rings, unsigned int index)
{
	struct ring *r = &rings->ring[index];
	uint8_t *page = (uint8_t *)mirror_window(rings->mirror) +
			(size_t)index * HELPER_RING_PAGES * PAGE_BYTES;

	r->owner = rings;
	r->index = index;
	ring_init(&r->host, page);
}

static struct mirror_entry entry_at(const struct region_plan *plan, uint64_t cr3, uint32_t rip)
{
	return (struct mirror_entry){
		.cr3 = cr3,
		.tss = HELPER_REGION_VA + HELPER_CORE_TSS * PAGE_BYTES,
		.tss_limit = HELPER_TSS_LIMIT,
		.rip = HELPER_REGION_VA + HELPER_CORE_IMAGE * PAGE_BYTES + rip,
		.rsp = HELPER_REGION_VA + plan->volatile_offset, /* the entry takes its own */
	};
}

/* vCPU 0 runs the boot entry until it says that it is done. */
static int boot(struct rings *rings, const struct rings_config *config)
{
	const struct region_plan *plan = config->plan;
	struct ring *r = &rings->ring[0];
	struct mirror_entry entry =
		entry_at(plan, plan->gpa + HELPER_CORE_PML4 * PAGE_BYTES, region_image(NULL)->boot);
	struct pollfd wait = { .fd = r->doorbell, .events = POLLIN };
	uint64_t timeout = config->boot_timeout ? config->boot_timeout : BOOT_TIMEOUT;
	uint64_t ignored;
	int error;

	entry.rdi = mirror_window_gpa(rings->mirror);
	entry.rsi = (uint64_t)rings->window_pages * PAGE_BYTES;
	entry.rdx = rings->nrings;
	error = mirror_vcpu_enter(rings->mirror, 0, &entry);
	if (!error)
		error = mirror_vcpu_start(rings->mirror, 0, exited, rings);
	if (error)
		return error;
	poll(&wait, 1, (int)(timeout / NS_PER_MS));
	mirror_vcpu_stop(rings->mirror, 0);
	if (read(r->doorbell, &ignored, sizeof(ignored)) < 0)
		return -ETIMEDOUT;
	if (atomic_load(&r->event) == 0)
		return ring_error(&r->host) == -ESHUTDOWN ? -ETIMEDOUT : ring_error(&r->host);
	rings->kernel = r->event >> 8;
	atomic_store(&r->host.error, 0); /* no thread is left that could see it */
	return 0;
}

static int serve(struct rings *rings, const struct rings_config *config)
{
	const struct region_plan *plan = config->plan;
	unsigned int i;
	int error = 0;

	for (i = 0; !error && i < rings->nrings; i++) {
		struct mirror_entry entry = entry_at(plan, plan->gpa + plan->run_tables_offset,
						     region_image(NULL)->serve);

		entry.rdi = i;
		/* Without ioeventfd the doorbell is an ordinary exit. */
		(void)mirror_ioeventfd(rings->mirror, HELPER_PORT_DOORBELL, i,
				       rings->ring[i].doorbell);
		error = mirror_vcpu_enter(rings->mirror, i, &entry);
		if (!error)
			error = mirror_vcpu_start(rings->mirror, i, exited, rings);
	}
	return error;
}

/*
 * Two helpers over one region would ruin each other: a lock on the region's bytes of the memory
 * file, in a file description of its own, so that it holds between any two users of the file. Where
 * /proc is not to be had it is left out.
 */
static int lock_region(struct rings *rings, const struct rings_config *config)
{
	struct flock lock = { .l_type = F_WRLCK,
			      .l_whence = SEEK_SET,
			      .l_start = (off_t)config->region_offset,
			      .l_len = 1 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", config->region_fd);
	rings->lock = open(path, O_RDWR | O_CLOEXEC);
	if (rings->lock < 0)
		return 0;
	if (fcntl(rings->lock, F_OFD_SETLK, &lock))
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	return 0;
}

static int setup(struct rings *rings, const struct rings_config *config, struct why *why)
{
	uint64_t pages =
		(uint64_t)config->nrings * (HELPER_RING_PAGES + (uint64_t)config->data_pages);
	struct mirror_config mirror = {
		.kvm_fd = config->kvm_fd,
		.primary_fd = config->primary_fd,
		.ram = config->ram,
		.nram = config->nram,
		.region = { .gpa = config->plan->gpa,
			    .bytes = config->plan->bytes,
			    .fd = config->region_fd,
			    .offset = config->region_offset },
		.window_bytes = (pages * PAGE_BYTES + MIB2 - 1) / MIB2 * MIB2,
		.nvcpus = config->nrings,
		.cbit_mask = config->plan->cbit_mask,
		.thread_begins = config->thread_begins,
		.thread_opaque = config->thread_opaque,
	};
	unsigned int i;
	int error;

	if (config->nrings < 1 || config->nrings > HELPER_VCPUS_MAX ||
	    mirror.window_bytes > HELPER_WINDOW_MAX)
		return why_set(why, -EINVAL, "the helper cannot have %u rings with %u pages each",
			       config->nrings, config->data_pages);
	rings->plan = *config->plan;
	rings->nrings = config->nrings;
	rings->data_pages = config->data_pages;
	rings->window_pages = (uint32_t)(mirror.window_bytes / PAGE_BYTES);
	rings->host_polls = SPIN_DEFAULT;
	error = lock_region(rings, config);
	if (error)
		return why_set(why, error, "%s",
			       error == -EBUSY ? "another helper runs over this region" :
						 "the helper region cannot be locked");
	error = mirror_create(&rings->mirror, &mirror, why);
	if (error)
		return error;
	for (i = 0; i < rings->nrings; i++) {
		setup_ring(rings, i);
		rings->ring[i].doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (rings->ring[i].doorbell < 0)
			return why_errno(why, "cannot create an eventfd");
	}
	error = boot(rings, config);
	if (!error)
		error = serve(rings, config);
	return error ? why_set(why, error, "cannot start the helper: %s",
			       rings_explain(rings, error)) :
		       0;
}

int rings_create(struct rings **out, const struct rings_config *config, struct why *why)
{
	struct rings *rings = calloc(1, sizeof(*rings));
	unsigned int i;
	int error;

	*out = NULL;
	if (!rings)
		return why_set(why, -ENOMEM, "out of memory for the helper's rings");
	rings->lock = -1;
	for (i = 0; i < HELPER_VCPUS_MAX; i++)
		rings->ring[i].doorbell = -1;
	error = setup(rings, config, why);
	if (error) {
		rings_destroy(rings);
		return error;
	}
	*out = rings;
	return 0;
}

void rings_destroy(struct rings *rings)
{
	unsigned int i;

	if (!rings)
		return;
	mirror_destroy(rings->mirror);
	for (i = 0; i < rings->nrings; i++)
		if (rings->ring[i].doorbell >= 0)
			close(rings->ring[i].doorbell);
	if (rings->lock >= 0)
		close(rings->lock);
	free(rings);
}

struct mirror *rings_mirror(const struct rings *rings)
{
	return rings->mirror;
}

const struct region_plan *rings_plan(const struct rings *rings)
{
	return &rings->plan;
}

unsigned int rings_count(const struct rings *rings)
{
	return rings->nrings;
}

const char *rings_kernel(const struct rings *rings)
{
	static const char *const names[] = { "unknown", "SSE", "AVX2", "VAES/AVX-512" };

	return names[rings->kernel < 4 ? rings->kernel : 0];
}

unsigned int rings_of(const struct rings *rings, uint64_t gpa)
{
	return helper_ring_of(gpa / PAGE_BYTES, rings->nrings);
}

uint32_t rings_data(const struct rings *rings, unsigned int ring, uint32_t *npages)
{
	*npages = rings->data_pages;
	return rings->nrings * HELPER_RING_PAGES + ring * rings->data_pages;
}

void *rings_page(const struct rings *rings, uint32_t page)
{
	if (page < rings->nrings * HELPER_RING_PAGES || page >= rings->window_pages)
		return NULL;
	return (uint8_t *)mirror_window(rings->mirror) + (size_t)page * PAGE_BYTES;
}

unsigned int rings_pending(const struct rings *rings, unsigned int ring)
{
	return ring_pending(&rings->ring[ring].host);
}

int rings_submit(struct rings *rings, unsigned int ring, const struct helper_request *request,
		 uint32_t *id)
{
	int error = ring_submit(&rings->ring[ring].host, request, id);

	if (!error)
		mirror_wake(rings->mirror, ring);
	return error;
}

int rings_poll(struct rings *rings, unsigned int ring, struct helper_completion *completion)
{
	return ring_poll(&rings->ring[ring].host, completion);
}

int rings_fd(const struct rings *rings, unsigned int ring)
{
	return rings->ring[ring].doorbell;
}

int rings_arm(struct rings *rings, unsigned int ring, unsigned int count)
{
	return ring_arm(&rings->ring[ring].host, count);
}

void rings_disarm(struct rings *rings, unsigned int ring)
{
	struct ring *r = &rings->ring[ring];
	uint64_t ignored;

	ring_disarm(&r->host);
	if (read(r->doorbell, &ignored, sizeof(ignored)) < 0)
		return; /* nothing rang */
}

int rings_wait(struct rings *rings, unsigned int ring, struct helper_completion *completion,
	       uint64_t timeout)
{
	struct ring *r = &rings->ring[ring];
	uint64_t end = clock_ns() + timeout;
	uint32_t i;
	int got;

	if (!ring_pending(&r->host))
		return ring_error(&r->host) ? ring_error(&r->host) : -ENOENT;
	for (i = 0; i < rings->host_polls; i++) {
		got = rings_poll(rings, ring, completion);
		if (got)
			return got < 0 ? got : 0;
		__builtin_ia32_pause();
	}
	for (;;) {
		struct pollfd wait = { .fd = r->doorbell, .events = POLLIN };
		uint64_t at = clock_ns();

		if (!rings_arm(rings, ring, (ring_pending(&r->host) + 1) / 2) && at < end)
			poll(&wait, 1, (int)((end - at + NS_PER_MS - 1) / NS_PER_MS));
		rings_disarm(rings, ring);
		got = rings_poll(rings, ring, completion);
		if (got)
			return got < 0 ? got : 0;
		if (clock_ns() >= end)
			return -ETIMEDOUT;
	}
}

int rings_call(struct rings *rings, unsigned int ring, const struct helper_request *request,
	       struct helper_completion *completion, uint64_t timeout)
{
	int error;

	if (rings_pending(rings, ring))
		return -EBUSY;
	error = rings_submit(rings, ring, request, NULL);
	return error ? error : rings_wait(rings, ring, completion, timeout);
}

void rings_spin(struct rings *rings, uint32_t helper_polls, uint32_t host_polls)
{
	unsigned int i;

	for (i = 0; i < rings->nrings; i++)
		__atomic_store_n(&rings->ring[i].host.control->spin, helper_polls,
				 __ATOMIC_RELAXED);
	rings->host_polls = host_polls ? host_polls : SPIN_DEFAULT;
}

const char *rings_status_name(unsigned int status)
{
	static const char *const names[] = {
		[HELPER_OK] = "OK",
		[HELPER_BAD_REQUEST] = "BAD_REQUEST",
		[HELPER_BAD_STATE] = "BAD_STATE",
		[HELPER_BAD_WINDOW] = "BAD_WINDOW",
		[HELPER_BAD_GPA] = "BAD_GPA",
		[HELPER_NOT_EXACT] = "NOT_EXACT",
		[HELPER_NOT_MINE] = "NOT_MINE",
		[HELPER_BAD_TAG] = "BAD_TAG",
		[HELPER_STALE] = "STALE",
		[HELPER_RESIDENT] = "RESIDENT",
		[HELPER_BUSY] = "BUSY",
		[HELPER_NO_RANDOM] = "NO_RANDOM",
		[HELPER_BAD_CORE] = "BAD_CORE",
		[HELPER_EPOCH_FULL] = "EPOCH_FULL",
		[HELPER_MISMATCH] = "MISMATCH",
	};

	return status < sizeof(names) / sizeof(names[0]) && names[status] ? names[status] :
									    "unknown";
}
