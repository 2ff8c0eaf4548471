/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: bench-seal [JSON]   How fast pages are sealed and opened: in the helper inside a mirror
 *                            VM, by the same code in this process, by
 * OpenSSL, and what a plain copy costs. No SEV: that is what makes it run anywhere.
 */
#include "bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "helper/helper_private.h"
#include "lib/mirror/calls.h"

#define PAGE	   4096ULL
#define RAM_BYTES  (256ULL << 20)
#define SEALED	   (192ULL << 20) /* of it, from 0: below the helper region */
#define PASS_PAGES (PASS / PAGE)
/* timed apart: short, so that the best pass is one that nobody disturbed */
#define PASS	  (16ULL << 20)
#define BATCH	  HELPER_BATCH_MAX
#define IN_FLIGHT 16 /* batches of each ring */
#define DATA	  (1 + IN_FLIGHT * (BATCH + 1)) /* window pages of a ring */
#define CHUNK	  (1u << HELPER_CHUNK_SHIFT)
#define PASSES	  (SEALED / PASS)
#define RUNS	  4
#define TIMEOUT	  60000000000ULL

struct guest {
	struct sevmirror_ram_range ram;
	struct region_plan plan;
	struct region_memory region;
	uint8_t *memory;
	struct rings *rings;
};

static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench-seal: error: %s\n", what);
	exit(1);
}

void hw_event(struct helper_vcpu *v, uint32_t value)
{
	(void)v;
	(void)value;
}

void hw_doorbell(struct helper_vcpu *v)
{
	(void)v;
}

static void guest_init(struct guest *g)
{
	uint64_t x = 88172645463325252ULL, i;
	void *at;

	memset(g, 0, sizeof(*g));
	g->ram.bytes = RAM_BYTES;
	g->ram.fd = memfd_create("bench", MFD_CLOEXEC);
	need(g->ram.fd >= 0 && ftruncate(g->ram.fd, RAM_BYTES) == 0, "guest memory");
	at = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, g->ram.fd, 0);
	need(at != MAP_FAILED, "guest memory");
	g->memory = at;
	for (i = 0; i < RAM_BYTES / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		((uint64_t *)at)[i] = x;
	}
	need(region_plan(&g->plan, &g->ram, 1, 0) == 0, "region_plan");
	need(region_memory_create(&g->region, &g->plan) == 0, "region_memory_create");
	need(region_build(&g->plan, g->region.hva, g->plan.bytes) == 0, "region_build");
}

static void guest_start(struct guest *g, unsigned int nrings)
{
	struct rings_config config = {
		.kvm_fd = -1,
		.primary_fd = -1,
		.plan = &g->plan,
		.region_fd = g->region.fd,
		.ram = &g->ram,
		.nram = 1,
		.nrings = nrings,
		.data_pages = DATA,
	};
	struct why why;

	if (rings_create(&g->rings, &config, &why)) {
		fprintf(stderr, "bench-seal: error: %s\n", why.text);
		exit(1);
	}
}

/*
 * The pages that a ring serves in a pass, batch by batch: first page of batch n, or UINT64_MAX
 * behind the last one.
 */
static uint64_t batch_start(uint64_t pass, unsigned int ring, unsigned int nrings, uint64_t n)
{
	const uint64_t per_chunk = CHUNK / BATCH;
	uint64_t page = (n / per_chunk * nrings + ring) * CHUNK + n % per_chunk * BATCH;

	return page < PASS_PAGES ? pass * PASS_PAGES + page : UINT64_MAX;
}

/* Times of passes: the best one, and all of them. */
struct laps {
	double best, seconds;
	uint64_t pages;
};

static void lap(struct laps *laps, uint64_t pages, double seconds)
{
	double rate = (double)(pages * PAGE) / seconds / 1e9;

	laps->best = rate > laps->best ? rate : laps->best;
	laps->seconds += seconds;
	laps->pages += pages;
}

static double mean(const struct laps *laps)
{
	return (double)(laps->pages * PAGE) / laps->seconds / 1e9;
}

static void fill_batch(struct helper_batch *batch, uint64_t page, uint32_t slot)
{
	uint32_t i;

	for (i = 0; i < BATCH; i++) {
		batch->record[i].gpa = (page + i) * PAGE;
		batch->record[i].slot = slot + i;
	}
}

/* Send batch n of a ring into place n % IN_FLIGHT of its window. */
static bool send_batch(struct guest *g, uint64_t pass, unsigned int ring, uint64_t n)
{
	uint64_t page = batch_start(pass, ring, rings_count(g->rings), n);
	struct helper_request request = { .op = HELPER_OP_SEAL, .count = BATCH };
	uint32_t npages;

	if (page == UINT64_MAX)
		return false;
	request.page =
		rings_data(g->rings, ring, &npages) + 1 + (uint32_t)(n % IN_FLIGHT) * (BATCH + 1);
	fill_batch(rings_page(g->rings, request.page), page, request.page + 1);
	need(rings_submit(g->rings, ring, &request, NULL) == 0, "submit");
	return true;
}

/* Seal a pass on all rings; seconds. */
static double seal_pass(struct guest *g, uint64_t pass)
{
	unsigned int nrings = rings_count(g->rings), ring, left;
	uint64_t sent[HELPER_VCPUS_MAX] = { 0 };
	struct helper_completion c;
	double start = bench_now();

	for (ring = 0; ring < nrings; ring++)
		while (sent[ring] < IN_FLIGHT && send_batch(g, pass, ring, sent[ring]))
			sent[ring]++;
	do {
		for (left = 0, ring = 0; ring < nrings; ring++) {
			if (!rings_pending(g->rings, ring))
				continue;
			need(rings_wait(g->rings, ring, &c, TIMEOUT) == 0 && c.status == HELPER_OK,
			     "sealing");
			if (send_batch(g, pass, ring, sent[ring]))
				sent[ring]++;
			left += rings_pending(g->rings, ring);
		}
	} while (left > 0);
	return bench_now() - start;
}

static void drain(struct guest *g, const char *what)
{
	struct helper_completion c;
	unsigned int ring;

	for (ring = 0; ring < rings_count(g->rings); ring++)
		while (rings_pending(g->rings, ring))
			need(rings_wait(g->rings, ring, &c, TIMEOUT) == 0 && c.status == HELPER_OK,
			     what);
}

/*
 * Open what the source has just sealed: as many batches as fit the window, so a lap here is
 * IN_FLIGHT batches a ring. Sealing and carrying them over is not timed.
 */
static void open_pass(struct guest *source, struct guest *target, uint64_t pass, struct laps *laps)
{
	unsigned int nrings = rings_count(source->rings), ring;
	uint32_t npages, i;
	double start;
	uint64_t n;

	for (n = 0; batch_start(pass, nrings - 1, nrings, n + IN_FLIGHT - 1) != UINT64_MAX;
	     n += IN_FLIGHT) {
		for (ring = 0; ring < nrings; ring++)
			for (i = 0; i < IN_FLIGHT; i++)
				send_batch(source, pass, ring, n + i);
		drain(source, "sealing");
		for (ring = 0; ring < nrings; ring++)
			memcpy(rings_page(target->rings, rings_data(target->rings, ring, &npages)),
			       rings_page(source->rings, rings_data(source->rings, ring, &npages)),
			       DATA * PAGE);
		start = bench_now();
		for (ring = 0; ring < nrings; ring++)
			for (i = 0; i < IN_FLIGHT; i++) {
				struct helper_request request = { .op = HELPER_OP_OPEN,
								  .count = BATCH };

				request.page = rings_data(target->rings, ring, &npages) + 1 +
					       i * (BATCH + 1);
				need(rings_submit(target->rings, ring, &request, NULL) == 0,
				     "submit");
			}
		drain(target, "opening");
		lap(laps, (uint64_t)nrings * IN_FLIGHT * BATCH, bench_now() - start);
	}
}

/* The helper's own code in this process: one thread, no VM, the same requests. */
struct here {
	struct helper h;
	struct helper_vcpu *v;
};

static void here_init(struct here *here, const struct guest *g)
{
	struct helper *h = &here->h;

	memset(here, 0, sizeof(*here));
	here->v = aligned_alloc(4096, (sizeof(*here->v) + 4095) / 4096 * 4096);
	h->nvcpus = 1;
	h->window_pages = HELPER_RING_PAGES + DATA;
	h->window = mmap(NULL, h->window_pages * PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	need(here->v && h->window != MAP_FAILED, "memory");
	memset(here->v, 0, sizeof(*here->v));
	h->ram = g->memory;
	h->region = g->region.hva;
	h->layout = (struct helper_layout *)h->region;
	h->keys = (struct helper_keys *)(h->region + HELPER_CORE_KEYS * PAGE);
	h->epochs = (uint32_t *)(h->region + g->plan.epoch_offset);
	h->vcpus[0] = here->v;
	h->gcm = gcm_best();
	need(session_make(h, here->v, 0) == HELPER_OK, "session");
}

static void here_fini(struct here *here)
{
	session_wipe(&here->h, here->v);
	munmap(here->h.window, here->h.window_pages * PAGE);
	free(here->v);
}

static void here_pass(struct here *here, uint64_t pass, struct laps *laps)
{
	struct helper *h = &here->h;
	struct helper_ring_control *control = (struct helper_ring_control *)h->window;
	struct helper_request *requests = (struct helper_request *)(h->window + PAGE);
	double start = bench_now();
	uint64_t n, page;

	for (n = 0; (page = batch_start(pass, 0, 1, n)) != UINT64_MAX; n++) {
		uint32_t place = HELPER_RING_PAGES + 1 + (uint32_t)(n % IN_FLIGHT) * (BATCH + 1);

		fill_batch((struct helper_batch *)(h->window + place * PAGE), page, place + 1);
		requests[control->submitted % HELPER_RING_ENTRIES] = (struct helper_request){
			.op = HELPER_OP_SEAL, .count = BATCH, .page = place
		};
		control->submitted++;
		need(helper_poll(h, here->v), "sealing here");
		control->taken = control->completed;
	}
	lap(laps, PASS_PAGES, bench_now() - start);
}

/* OpenSSL at its best: the key set once a batch, the IV once a page. */
static void openssl_pass(const struct guest *g, uint64_t pass, EVP_CIPHER_CTX *ctx,
			 struct laps *laps)
{
	static uint8_t out[IN_FLIGHT * BATCH * 4096];
	uint8_t key[32] = { 1 }, iv[12] = { 2 }, aad[16] = { 3 }, tag[16];
	double start = bench_now();
	uint64_t i;
	int n;

	for (i = 0; i < PASS_PAGES; i++) {
		iv[11] = (uint8_t)i;
		EVP_EncryptInit_ex(ctx, NULL, NULL, i % BATCH ? NULL : key, iv);
		EVP_EncryptUpdate(ctx, NULL, &n, aad, sizeof(aad));
		EVP_EncryptUpdate(ctx, out + i % (IN_FLIGHT * BATCH) * PAGE, &n,
				  g->memory + (pass * PASS_PAGES + i) * PAGE, PAGE);
		EVP_EncryptFinal_ex(ctx, tag, &n);
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, tag);
	}
	lap(laps, PASS_PAGES, bench_now() - start);
}

static void copy_pass(const struct guest *g, uint64_t pass, struct laps *laps)
{
	static uint8_t out[IN_FLIGHT * BATCH * 4096];
	double start = bench_now();
	uint64_t i;

	for (i = 0; i < PASS_PAGES; i++) {
		memcpy(out + i % (IN_FLIGHT * BATCH) * PAGE,
		       g->memory + (pass * PASS_PAGES + i) * PAGE, PAGE);
		__asm__ volatile("" : : "r"(out) : "memory");
	}
	lap(laps, PASS_PAGES, bench_now() - start);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* A request to a helper that polls, and to one that has gone to sleep, host asleep too. */
static void latency(struct bench *b, struct guest *g)
{
	static const char *const what[2] = { "request to answer, both polling",
					     "request to answer, both asleep" };
	struct helper_request request = { .op = HELPER_OP_HELLO };
	struct helper_completion c;
	double seconds[1000], start;
	char name[128];
	int asleep, i;

	for (asleep = 0; asleep < 2; asleep++) {
		rings_spin(g->rings, asleep ? 1 : 0, asleep ? 1 : 1000000);
		for (i = 0; i < 1000; i++) {
			if (asleep)
				usleep(200);
			start = bench_now();
			need(rings_call(g->rings, 0, &request, &c, TIMEOUT) == 0, "hello");
			seconds[i] = bench_now() - start;
		}
		qsort(seconds, 1000, sizeof(seconds[0]), by_value);
		snprintf(name, sizeof(name), "%s, median", what[asleep]);
		bench_row(b, name, seconds[500] * 1e6, "us", NULL);
		snprintf(name, sizeof(name), "%s, 99 %%", what[asleep]);
		bench_row(b, name, seconds[990] * 1e6, "us", NULL);
	}
	rings_spin(g->rings, 0, 0);
}

static void exits_row(struct bench *b, const struct guest *g, const char *what, uint64_t before,
		      uint64_t kvm_before, bool counted, uint64_t pages)
{
	char name[128];
	uint64_t kvm;

	snprintf(name, sizeof(name), "exits to user space per page, %s", what);
	bench_row(b, name, (double)(mirror_exits(rings_mirror(g->rings)) - before) / (double)pages,
		  "exits", NULL);
	if (!counted || mirror_kvm_exits(rings_mirror(g->rings), &kvm))
		return;
	snprintf(name, sizeof(name), "all exits per page (KVM's count), %s", what);
	bench_row(b, name, (double)(kvm - kvm_before) / (double)pages, "exits", NULL);
}

static void session(struct guest *source, struct guest *target, unsigned int nvcpus)
{
	uint8_t name[16];

	guest_start(source, nvcpus);
	need(rings_session_make(source->rings, 0, name) == 0, "session");
	memcpy(target->region.hva, source->region.hva, source->plan.core_bytes);
	guest_start(target, nvcpus);
}

/* First touch of every page, then the touch pass. */
static void cold(struct bench *b, struct guest *source, struct guest *target, unsigned int nvcpus)
{
	uint64_t pass, touched, before, kvm_before = 0;
	struct laps laps = { 0 };
	double start;
	bool counted;
	char name[128];

	before = mirror_exits(rings_mirror(source->rings));
	counted = mirror_kvm_exits(rings_mirror(source->rings), &kvm_before) == 0;
	for (pass = 0; pass < PASSES; pass++)
		lap(&laps, PASS_PAGES, seal_pass(source, pass));
	snprintf(name, sizeof(name), "seal in the helper, %u vCPU, cold", nvcpus);
	bench_row(b, name, mean(&laps), "GB/s", "mean; first touch of each page");
	exits_row(b, source, "cold", before, kvm_before, counted, laps.pages);
	start = bench_now();
	need(rings_touch(target->rings, HELPER_SESSION_ZERO_MARKS, &touched) == 0, "touch");
	snprintf(name, sizeof(name), "touch pass for writing, %u vCPU", nvcpus);
	bench_row(b, name, (bench_now() - start) * 1e9 / (double)touched, "ns/page", NULL);
	need(rings_touch(source->rings, 0, &touched) == 0, "touch");
}

struct peers {
	struct laps copy, openssl, here, guest[2];
};

static void rate_row(struct bench *b, const char *what, const struct laps *laps, const char *remark)
{
	char text[128];

	snprintf(text, sizeof(text), "mean %.2f; %s", mean(laps), remark);
	bench_row(b, what, laps->best, "GB/s", text);
}

/* The peers and the helper by turns, so that whatever else the machine does meets them alike. */
static void warm(struct bench *b, struct guest *source, struct guest *target, struct peers *peers,
		 unsigned int nvcpus)
{
	uint64_t pass, before, kvm_before = 0;
	struct laps opened = { 0 }, *sealed = &peers->guest[nvcpus - 1];
	bool counted;
	char name[128];
	int run;

	before = mirror_exits(rings_mirror(source->rings));
	counted = mirror_kvm_exits(rings_mirror(source->rings), &kvm_before) == 0;
	for (run = 0; run < RUNS; run++)
		for (pass = 0; pass < PASSES; pass++)
			lap(sealed, PASS_PAGES, seal_pass(source, pass));
	snprintf(name, sizeof(name), "seal in the helper, %u vCPU, warm", nvcpus);
	rate_row(b, name, sealed, rings_kernel(source->rings));
	exits_row(b, source, "warm", before, kvm_before, counted, sealed->pages);
	for (pass = 0; pass < PASSES; pass++)
		open_pass(source, target, pass, &opened);
	snprintf(name, sizeof(name), "open in the helper, %u vCPU, warm", nvcpus);
	rate_row(b, name, &opened, rings_kernel(target->rings));
}

static void in_guest(struct bench *b, struct guest *source, struct guest *target,
		     struct peers *peers, unsigned int nvcpus)
{
	session(source, target, nvcpus);
	cold(b, source, target, nvcpus);
	warm(b, source, target, peers, nvcpus);
	if (nvcpus == 1)
		latency(b, source);
	need(rings_session_wipe(source->rings) == 0 && rings_session_wipe(target->rings) == 0,
	     "wipe");
	rings_destroy(source->rings);
	rings_destroy(target->rings);
}

static void in_process(struct bench *b, const struct guest *g, struct peers *peers)
{
	static const uint8_t zero[32];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	struct here here;
	uint64_t pass;
	int run;

	here_init(&here, g);
	EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, zero, zero);
	for (run = 0; run < RUNS; run++)
		for (pass = 0; pass < PASSES; pass++) {
			copy_pass(g, pass, &peers->copy);
			openssl_pass(g, pass, ctx, &peers->openssl);
			here_pass(&here, pass, &peers->here);
		}
	EVP_CIPHER_CTX_free(ctx);
	here_fini(&here);
	rate_row(b, "memcpy in this process", &peers->copy, "libc");
	rate_row(b, "OpenSSL AES-256-GCM in this process", &peers->openssl,
		 OpenSSL_version(OPENSSL_VERSION_STRING));
	rate_row(b, "the helper's code in this process", &peers->here, gcm_best()->name);
}

int main(int argc, char **argv)
{
	struct guest source, target;
	struct peers peers = { 0 };
	struct bench *b;

	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("seal: skipped: no usable /dev/kvm (%s)\n", strerror(errno));
		return 77;
	}
	b = bench_begin(
		"Sealing and opening 4 KiB pages",
		"192 MiB of random guest memory, batches of 64 pages into a 4 MiB window; the best "
		"of passes of 16 MiB; no SEV");
	guest_init(&source);
	guest_init(&target);
	in_process(b, &source, &peers);
	in_guest(b, &source, &target, &peers, 1);
	in_guest(b, &source, &target, &peers, 2);
	bench_row(b, "ratio: helper in the guest / in this process",
		  peers.guest[0].best / peers.here.best, "x", "aim: 0.9 or more");
	bench_row(b, "ratio: helper in the guest / OpenSSL",
		  peers.guest[0].best / peers.openssl.best, "x",
		  gcm_best()->id == 3 ? "aim with VAES: 2 or more" : NULL);
	return bench_end(b, argc > 1 ? argv[1] : NULL) ? 1 : 0;
}
