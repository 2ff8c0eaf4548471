/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: bench-seal [JSON]   How fast pages are sealed and opened: in the helper inside a mirror VM, by the same code in this process, by
 * OpenSSL, and what a plain copy costs. No SEV: that is what makes it run anywhere.
 */
#include "bench/bench.h"

#include "helper/helper.h"
#include "lib/mirror/calls.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	  4096ULL
#define RAM_BYTES (256ULL << 20)
#define SEALED	  (192ULL << 20) /* of it, from 0: below the helper region */
#define PAGES	  (SEALED / PAGE)
#define BATCH	  HELPER_BATCH_MAX
#define IN_FLIGHT 8 /* batches of each ring */
#define DATA	  (1 + IN_FLIGHT * (BATCH + 1)) /* window pages of a ring */
#define CHUNK	  (1u << HELPER_CHUNK_SHIFT)
#define RUNS	  3
#define TIMEOUT	  60000000000ULL

struct guest {
	struct mirror_ram ram;
	struct region_plan plan;
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
	need(region_plan(&g->plan, &g->ram, 1, 0, 0) == 0, "region_plan");
	need(region_build(&g->plan, g->memory + g->plan.gpa, g->plan.bytes) == 0, "region_build");
}

static void guest_start(struct guest *g, unsigned int nrings)
{
	struct rings_config config = {
		.kvm_fd = -1,
		.primary_fd = -1,
		.plan = &g->plan,
		.ram = &g->ram,
		.nram = 1,
		.nrings = nrings,
		.data_pages = DATA,
	};
	char why[256] = "";

	if (rings_create(&g->rings, &config, why, sizeof(why))) {
		fprintf(stderr, "bench-seal: error: %s\n", why);
		exit(1);
	}
}

/* The pages that a ring serves, batch by batch: first page of batch n, or UINT64_MAX behind the last one. */
static uint64_t batch_start(unsigned int ring, unsigned int nrings, uint64_t n)
{
	const uint64_t per_chunk = CHUNK / BATCH;
	uint64_t chunk = n / per_chunk * nrings + ring;
	uint64_t page = chunk * CHUNK + n % per_chunk * BATCH;

	return page < PAGES ? page : UINT64_MAX;
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
static bool send_batch(struct guest *g, unsigned int ring, uint64_t n)
{
	uint64_t page = batch_start(ring, rings_count(g->rings), n);
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

/* Seal all pages once on all rings; seconds. */
static double seal_all(struct guest *g)
{
	unsigned int nrings = rings_count(g->rings), ring, left;
	uint64_t sent[HELPER_VCPUS_MAX] = { 0 };
	struct helper_completion c;
	double start = bench_now();

	for (ring = 0; ring < nrings; ring++)
		while (sent[ring] < IN_FLIGHT && send_batch(g, ring, sent[ring]))
			sent[ring]++;
	do {
		for (left = 0, ring = 0; ring < nrings; ring++) {
			if (!rings_pending(g->rings, ring))
				continue;
			need(rings_wait(g->rings, ring, &c, TIMEOUT) == 0 && c.status == HELPER_OK,
			     "sealing");
			if (send_batch(g, ring, sent[ring]))
				sent[ring]++;
			left += rings_pending(g->rings, ring);
		}
	} while (left > 0);
	return bench_now() - start;
}

/*
 * Open pages: what was sealed lies in the target's window already, IN_FLIGHT batches a ring, with epochs that were never seen; they are
 * sealed by the source between the timed parts.
 */
static double open_some(struct guest *source, struct guest *target, uint64_t *pages)
{
	unsigned int nrings = rings_count(source->rings), ring;
	double seconds = 0, start;
	struct helper_completion c;
	uint64_t n;
	uint32_t npages, i;

	*pages = 0;
	for (n = 0; batch_start(nrings - 1, nrings, n + IN_FLIGHT - 1) != UINT64_MAX;
	     n += IN_FLIGHT) {
		for (ring = 0; ring < nrings; ring++)
			for (i = 0; i < IN_FLIGHT; i++)
				send_batch(source, ring, n + i);
		for (ring = 0; ring < nrings; ring++) {
			while (rings_pending(source->rings, ring))
				need(rings_wait(source->rings, ring, &c, TIMEOUT) == 0, "sealing");
			memcpy(rings_page(target->rings, rings_data(target->rings, ring, &npages)),
			       rings_page(source->rings, rings_data(source->rings, ring, &npages)),
			       DATA * PAGE);
		}
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
		for (ring = 0; ring < nrings; ring++)
			while (rings_pending(target->rings, ring)) {
				need(rings_wait(target->rings, ring, &c, TIMEOUT) == 0 &&
					     c.status == HELPER_OK,
				     "opening");
				*pages += c.count;
			}
		seconds += bench_now() - start;
	}
	return seconds;
}

static double rate(uint64_t pages, double seconds)
{
	return (double)(pages * PAGE) / seconds / 1e9;
}

/* The helper's own code in this process: one thread, no VM, the same requests. */
static double seal_here(struct guest *g)
{
	const uint32_t window_pages = HELPER_RING_PAGES + DATA;
	struct helper h = { .nvcpus = 1, .window_pages = window_pages };
	struct helper_vcpu *v = aligned_alloc(4096, (sizeof(*v) + 4095) / 4096 * 4096);
	struct helper_ring_control *control;
	struct helper_request *requests;
	double best = 0, start, at;
	uint64_t n, page;
	int run;

	h.window = mmap(NULL, window_pages * PAGE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	need(v && h.window != MAP_FAILED, "memory");
	memset(v, 0, sizeof(*v));
	control = (struct helper_ring_control *)h.window;
	requests = (struct helper_request *)(h.window + PAGE);
	h.ram = g->memory;
	h.region = g->memory + g->plan.gpa;
	h.layout = (struct helper_layout *)h.region;
	h.keys = (struct helper_keys *)(h.region + HELPER_CORE_KEYS * PAGE);
	h.epochs = (uint32_t *)(h.region + g->plan.epoch_offset);
	h.vcpus[0] = v;
	h.gcm = gcm_best();
	need(session_make(&h, v, 0) == HELPER_OK, "session");
	for (run = 0; run < RUNS; run++) {
		start = bench_now();
		for (n = 0; (page = batch_start(0, 1, n)) != UINT64_MAX; n++) {
			uint32_t place =
				HELPER_RING_PAGES + 1 + (uint32_t)(n % IN_FLIGHT) * (BATCH + 1);

			fill_batch((struct helper_batch *)(h.window + place * PAGE), page,
				   place + 1);
			requests[control->submitted % HELPER_RING_ENTRIES] =
				(struct helper_request){ .op = HELPER_OP_SEAL,
							 .count = BATCH,
							 .page = place };
			control->submitted++;
			need(helper_poll(&h, v), "sealing here");
			control->taken = control->completed;
		}
		at = rate(PAGES, bench_now() - start);
		best = at > best ? at : best;
	}
	session_wipe(&h, v);
	munmap(h.window, window_pages * PAGE);
	free(v);
	return best;
}

/* OpenSSL, at its best: the key set once a batch, the IV once a page. */
static double seal_openssl(const struct guest *g)
{
	static uint8_t out[IN_FLIGHT * BATCH * 4096];
	uint8_t key[32] = { 1 }, iv[12] = { 2 }, aad[16] = { 3 }, tag[16];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	double best = 0, start, at;
	uint64_t i;
	int n, run;

	EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, iv);
	for (run = 0; run < RUNS; run++) {
		start = bench_now();
		for (i = 0; i < PAGES; i++) {
			iv[11] = (uint8_t)i;
			EVP_EncryptInit_ex(ctx, NULL, NULL, i % BATCH ? NULL : key, iv);
			EVP_EncryptUpdate(ctx, NULL, &n, aad, sizeof(aad));
			EVP_EncryptUpdate(ctx, out + i % (IN_FLIGHT * BATCH) * PAGE, &n,
					  g->memory + i * PAGE, PAGE);
			EVP_EncryptFinal_ex(ctx, tag, &n);
			EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, tag);
		}
		at = rate(PAGES, bench_now() - start);
		best = at > best ? at : best;
	}
	EVP_CIPHER_CTX_free(ctx);
	return best;
}

static double copy_here(const struct guest *g)
{
	static uint8_t out[IN_FLIGHT * BATCH * 4096];
	double best = 0, start, at;
	uint64_t i;
	int run;

	for (run = 0; run < RUNS; run++) {
		start = bench_now();
		for (i = 0; i < PAGES; i++) {
			memcpy(out + i % (IN_FLIGHT * BATCH) * PAGE, g->memory + i * PAGE, PAGE);
			__asm__ volatile("" : : "r"(out) : "memory");
		}
		at = rate(PAGES, bench_now() - start);
		best = at > best ? at : best;
	}
	return best;
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

/* One number of vCPUs: cold seal, touch, warm seals, opens. The best warm rate of sealing. */
static double in_guest(struct bench *b, struct guest *source, struct guest *target,
		       unsigned int nvcpus)
{
	uint64_t pages, touched, before, kvm_before = 0;
	uint8_t session[16];
	double best = 0, at, start;
	bool counted;
	char name[128];
	int run;

	guest_start(source, nvcpus);
	need(rings_session_make(source->rings, false, session) == 0, "session");
	memcpy(target->memory + target->plan.gpa, source->memory + source->plan.gpa,
	       source->plan.core_bytes);
	guest_start(target, nvcpus);

	before = mirror_exits(rings_mirror(source->rings));
	counted = mirror_kvm_exits(rings_mirror(source->rings), &kvm_before) == 0;
	snprintf(name, sizeof(name), "seal in the helper, %u vCPU, cold", nvcpus);
	bench_row(b, name, rate(PAGES, seal_all(source)), "GB/s", "first touch of each page");
	exits_row(b, source, "cold", before, kvm_before, counted, PAGES);
	start = bench_now();
	need(rings_touch(target->rings, true, &touched) == 0, "touch");
	snprintf(name, sizeof(name), "touch pass for writing, %u vCPU", nvcpus);
	bench_row(b, name, (bench_now() - start) * 1e9 / (double)touched, "ns/page", NULL);
	need(rings_touch(source->rings, false, &touched) == 0, "touch");

	before = mirror_exits(rings_mirror(source->rings));
	counted = mirror_kvm_exits(rings_mirror(source->rings), &kvm_before) == 0;
	for (run = 0; run < RUNS; run++) {
		at = rate(PAGES, seal_all(source));
		best = at > best ? at : best;
	}
	snprintf(name, sizeof(name), "seal in the helper, %u vCPU, warm", nvcpus);
	bench_row(b, name, best, "GB/s", rings_kernel(source->rings));
	exits_row(b, source, "warm", before, kvm_before, counted, RUNS * PAGES);
	at = open_some(source, target, &pages);
	snprintf(name, sizeof(name), "open in the helper, %u vCPU, warm", nvcpus);
	bench_row(b, name, rate(pages, at), "GB/s", rings_kernel(target->rings));
	if (nvcpus == 1)
		latency(b, source);
	need(rings_session_wipe(source->rings) == 0 && rings_session_wipe(target->rings) == 0,
	     "wipe");
	rings_destroy(source->rings);
	rings_destroy(target->rings);
	return best;
}

int main(int argc, char **argv)
{
	struct guest source, target;
	struct bench *b;
	double copy, openssl, here, guest;

	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("seal: skipped: no usable /dev/kvm (%s)\n", strerror(errno));
		return 77;
	}
	b = bench_begin(
		"Sealing and opening 4 KiB pages",
		"192 MiB of random guest memory in order, batches of 64 pages into a 2 MiB window, best of 3; no SEV");
	guest_init(&source);
	guest_init(&target);
	copy = copy_here(&source);
	openssl = seal_openssl(&source);
	here = seal_here(&source);
	bench_row(b, "memcpy in this process", copy, "GB/s", NULL);
	bench_row(b, "OpenSSL AES-256-GCM in this process", openssl, "GB/s",
		  OpenSSL_version(OPENSSL_VERSION));
	bench_row(b, "the helper's code in this process", here, "GB/s", gcm_best()->name);
	guest = in_guest(b, &source, &target, 1);
	in_guest(b, &source, &target, 2);
	bench_row(b, "ratio: helper in the guest / in this process", guest / here, "x",
		  "aim: 0.9 or more");
	bench_row(b, "ratio: helper in the guest / OpenSSL", guest / openssl, "x",
		  gcm_best()->id == 3 ? "aim with VAES: 2 or more" : NULL);
	return bench_end(b, argc > 1 ? argv[1] : NULL) ? 1 : 0;
}
