/* SPDX-License-Identifier: Apache-2.0 */
/* lib/seal by its public headers, on any /dev/kvm, without SEV. */
#include "tests/kvm/mirror_rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/kvm/seal_file.h"
#include "tests/unit/cmocka_all.h"

#define MIB	(1ULL << 20)
#define PAGE	4096ULL
#define LOW	(8 * MIB)
#define FLASH	0x37c000ULL
#define HIGH	(3 * MIB)
#define BYTES	(LOW + FLASH + HIGH)
#define NPAGES	(BYTES / PAGE)
#define THREADS 3

/* As QEMU has it: RAM without a file, flash below 4 GiB, RAM above. */
struct guest {
	struct sevmirror_seal_vm vm;
	struct sevmirror_helper_region region;
	uint8_t *memory;
	uint64_t gpas[NPAGES];
};

static void guest_init(struct guest *g, unsigned int seed, bool launch)
{
	static const uint64_t gpa[] = { 0, 4096 * MIB - FLASH, 4096 * MIB };
	static const uint64_t bytes[] = { LOW, FLASH, HIGH };
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1, at = 0, i;
	unsigned int n = 0;

	memset(g, 0, sizeof(*g));
	g->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(g->memory != MAP_FAILED);
	for (i = 0; i < BYTES / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		((uint64_t *)g->memory)[i] = x;
	}
	g->vm.kvm_fd = g->vm.vm_fd = g->vm.sev_fd = -1;
	for (; g->vm.nranges < 3; g->vm.nranges++) {
		g->vm.ranges[g->vm.nranges] =
			(struct sevmirror_ram_range){ .gpa = gpa[g->vm.nranges],
						      .bytes = bytes[g->vm.nranges],
						      .fd = -1,
						      .hva = g->memory + at };
		for (i = 0; i < bytes[g->vm.nranges]; i += PAGE)
			g->gpas[n++] = gpa[g->vm.nranges] + i;
		at += bytes[g->vm.nranges];
	}
	assert_int_equal(sevmirror_helper_place(&g->region, g->vm.ranges, 3, 0), 0);
	assert_int_equal(sevmirror_helper_memory_create(&g->vm.helper, &g->region), 0);
	if (launch)
		assert_int_equal(sevmirror_helper_build(g->vm.ranges, 3, 0, g->vm.helper.hva,
							g->region.bytes),
				 0);
}

static void guest_fini(struct guest *g)
{
	sevmirror_helper_memory_destroy(&g->vm.helper, &g->region);
	munmap(g->memory, BYTES);
}

static struct sevmirror_seal *session_of(struct guest *g, bool source, unsigned int rings,
					 bool any_ring)
{
	const struct sevmirror_seal_config config = {
		.source = source, .rings = rings, .lanes = THREADS, .depth = 2, .any_ring = any_ring
	};
	struct sevmirror_seal *seal;

	assert_int_equal(sevmirror_seal_create(&seal, &g->vm, &config), 0);
	return seal;
}

#define GOOD(seal, call)                                                                 \
	do {                                                                             \
		int result = (call);                                                     \
		if (result)                                                              \
			fail_msg("%s: %d, %s", #call, result, sevmirror_seal_why(seal)); \
	} while (0)

struct pair {
	struct guest source, target;
	struct sevmirror_seal *from, *to;
};

static void pair_init(struct pair *p, unsigned int rings, bool any_ring)
{
	guest_init(&p->source, 1, true);
	guest_init(&p->target, 2, false);
	p->from = session_of(&p->source, true, rings, any_ring);
	p->to = session_of(&p->target, false, rings, false);
}

static void connect(struct pair *p)
{
	struct sevmirror_blob offer, core;
	uint8_t a[16], b[16];

	GOOD(p->to, sevmirror_seal_offer(p->to, &offer));
	GOOD(p->from, sevmirror_seal_core(p->from, offer.bytes, offer.len, &core));
	GOOD(p->to, sevmirror_seal_accept(p->to, core.bytes, core.len));
	sevmirror_seal_session(p->from, a);
	sevmirror_seal_session(p->to, b);
	assert_memory_equal(a, b, sizeof(a));
	free(offer.bytes);
	free(core.bytes);
}

static void pair_fini(struct pair *p)
{
	sevmirror_seal_destroy(p->from);
	sevmirror_seal_destroy(p->to);
	guest_fini(&p->source);
	guest_fini(&p->target);
}

/* Seal up to a batch of pages from gpas[first] on in one lane and open them there. */
static unsigned int move(struct pair *p, unsigned int lane, unsigned int first, unsigned int n)
{
	struct sevmirror_batch batch;
	unsigned int taken;

	GOOD(p->from, sevmirror_lane_seal_submit(p->from, lane, 0, p->source.gpas + first, n, false,
						 &taken));
	GOOD(p->from, sevmirror_lane_seal_finish(p->from, lane, 0, &batch));
	memcpy(sevmirror_lane_bodies(p->to, lane, 0), sevmirror_lane_bodies(p->from, lane, 0),
	       taken * PAGE);
	GOOD(p->to, sevmirror_lane_open_submit(p->to, lane, 0, &batch, false));
	GOOD(p->to, sevmirror_lane_open_finish(p->to, lane, 0, NULL));
	return taken;
}

static int manifest_of(struct pair *p)
{
	struct sevmirror_blob manifest;
	int err;

	GOOD(p->from, sevmirror_seal_manifest(p->from, &manifest));
	err = sevmirror_seal_manifest_check(p->to, manifest.bytes, manifest.len);
	free(manifest.bytes);
	return err;
}

static void a_session_through_a_file(void **state)
{
	static const char vmm[] = "the VMM's state";
	const uint64_t shared[3] = { 0x5000, 3, 0 };
	struct seal_file file = { .npages = NPAGES };
	struct sevmirror_seal *source, *target;
	struct sev_pagemap *map, *got;
	struct guest from, to;
	struct sevmirror_blob offer;
	char back[sizeof(vmm)];
	uint8_t page[PAGE];
	int err;

	(void)state;
	guest_init(&from, 1, true);
	guest_init(&to, 2, false);
	file.fd = memfd_create("session", MFD_CLOEXEC);
	file.gpas = from.gpas;
	assert_int_equal(sev_pagemap_create(&map, 1 << 20), 0);
	assert_int_equal(sev_pagemap_create(&got, 1 << 20), 0);
	assert_int_equal(sev_pagemap_hypercall(map, shared), 0);

	target = session_of(&to, false, 2, false);
	GOOD(target, sevmirror_seal_offer(target, &offer));
	sevmirror_seal_destroy(target);

	source = session_of(&from, true, 2, false);
	err = seal_file_write(&file, source, &offer, map, vmm, sizeof(vmm));
	if (err)
		fail_msg("writing, %s: %d, %s", file.step, err, sevmirror_seal_why(source));
	assert_int_equal(sevmirror_seal_commit(source), 0);
	sevmirror_seal_destroy(source);
	/* A page's ciphertext has a page's length, and is not the page. */
	assert_int_equal(pread(file.fd, page, PAGE, (off_t)seal_file_slot(7)), PAGE);
	assert_memory_not_equal(page, from.memory + 7 * PAGE, PAGE);

	target = session_of(&to, false, 2, false);
	err = seal_file_read(&file, target, got, back, sizeof(back));
	if (err)
		fail_msg("reading, %s: %d, %s", file.step, err, sevmirror_seal_why(target));
	assert_int_equal(sevmirror_seal_commit(target), 0);
	sevmirror_seal_destroy(target);
	assert_memory_equal(from.memory, to.memory, BYTES);
	assert_string_equal(back, vmm);
	assert_int_equal(sev_pagemap_count_shared(got), 3);

	/* One bit of one page: found when that page is opened, before the manifest. */
	page[100] ^= 1;
	assert_int_equal(pwrite(file.fd, page, PAGE, (off_t)seal_file_slot(7)), PAGE);
	target = session_of(&to, false, 2, false);
	assert_int_equal(seal_file_read(&file, target, got, back, sizeof(back)), -EBADMSG);
	assert_string_equal(file.step, "pages");
	sevmirror_seal_destroy(target);

	free(offer.bytes);
	close(file.fd);
	sev_pagemap_destroy(map);
	sev_pagemap_destroy(got);
	guest_fini(&from);
	guest_fini(&to);
}

/* With the epoch table first, an older version of a page is refused, and each comes once. */
static void exact_pages(void **state)
{
	struct sevmirror_batch old, new;
	struct sevmirror_blob epochs;
	uint8_t bodies[2][PAGE], opened[SEVMIRROR_BATCH_MAX];
	struct pair p;
	unsigned int taken;

	(void)state;
	pair_init(&p, 1, false);
	connect(&p);
	GOOD(p.from, sevmirror_lane_seal_submit(p.from, 0, 0, p.source.gpas, 1, false, &taken));
	GOOD(p.from, sevmirror_lane_seal_finish(p.from, 0, 0, &old));
	memcpy(bodies[0], sevmirror_lane_bodies(p.from, 0, 0), PAGE);
	p.source.memory[3] ^= 1;
	GOOD(p.from, sevmirror_lane_seal_submit(p.from, 0, 1, p.source.gpas, 1, true, &taken));
	GOOD(p.from, sevmirror_lane_seal_finish(p.from, 0, 1, &new));
	memcpy(bodies[1], sevmirror_lane_bodies(p.from, 0, 1), PAGE);
	GOOD(p.from, sevmirror_seal_epochs(p.from, &epochs));
	((uint8_t *)epochs.bytes)[epochs.len - 1] ^= 1;
	assert_int_equal(sevmirror_seal_epochs_load(p.to, epochs.bytes, epochs.len), -EBADMSG);
	((uint8_t *)epochs.bytes)[epochs.len - 1] ^= 1;
	GOOD(p.to, sevmirror_seal_epochs_load(p.to, epochs.bytes, epochs.len));
	free(epochs.bytes);

	memcpy(sevmirror_lane_bodies(p.to, 0, 0), bodies[0], PAGE);
	GOOD(p.to, sevmirror_lane_open_submit(p.to, 0, 0, &old, false));
	assert_int_equal(sevmirror_lane_open_finish(p.to, 0, 0, opened), -EBADMSG);
	assert_int_equal(opened[0], SEVMIRROR_REFUSED);
	assert_int_equal(manifest_of(&p), -EBADMSG); /* it has not come */
	memcpy(sevmirror_lane_bodies(p.to, 0, 0), bodies[1], PAGE);
	GOOD(p.to, sevmirror_lane_open_submit(p.to, 0, 0, &new, false));
	assert_int_equal(sevmirror_lane_open_finish(p.to, 0, 0, opened), 0);
	assert_int_equal(opened[0], SEVMIRROR_OPENED);
	assert_memory_equal(p.source.memory, p.target.memory, PAGE);
	memcpy(sevmirror_lane_bodies(p.to, 0, 0), bodies[1], PAGE);
	GOOD(p.to, sevmirror_lane_open_submit(p.to, 0, 0, &new, false));
	assert_int_equal(sevmirror_lane_open_finish(p.to, 0, 0, opened), -EBADMSG);
	assert_int_equal(manifest_of(&p), 0);
	pair_fini(&p);
}

/* The VMM's state opens under its name, whole, in its session only; an old map is refused. */
static void data_of_the_vmm(void **state)
{
	struct sevmirror_blob blob, map[2], plain;
	struct sev_pagemap *pages;
	size_t len = 3 * MIB + 5, i;
	uint8_t *bytes = test_malloc(len);
	struct pair p, other;

	(void)state;
	memset(bytes, 0x5a, len);
	pair_init(&p, 1, false);
	connect(&p);
	GOOD(p.from, sevmirror_seal_state(p.from, "cpus", bytes, len, &blob));
	assert_null(memmem(blob.bytes, blob.len, bytes, 32));
	GOOD(p.to, sevmirror_unseal_state(p.to, "cpus", blob.bytes, blob.len, &plain));
	assert_int_equal(plain.len, len);
	assert_memory_equal(plain.bytes, bytes, len);
	free(plain.bytes);
	assert_int_equal(sevmirror_unseal_state(p.to, "disks", blob.bytes, blob.len, &plain),
			 -EBADMSG);
	for (i = 0; i < 5; i++) {
		uint8_t *at =
			(uint8_t *)blob.bytes + (size_t[]){ 16, 100, 33, 5000, blob.len - 1 }[i];

		*at ^= 4;
		assert_true(sevmirror_unseal_state(p.to, "cpus", blob.bytes, blob.len, &plain) < 0);
		*at ^= 4;
	}
	assert_int_equal(sevmirror_unseal_state(p.to, "cpus", blob.bytes, blob.len - 4096, &plain),
			 -EPROTO);
	pair_init(&other, 1, false);
	connect(&other);
	assert_int_equal(sevmirror_unseal_state(other.to, "cpus", blob.bytes, blob.len, &plain),
			 -EBADMSG);
	pair_fini(&other);

	assert_int_equal(sev_pagemap_create(&pages, 4096), 0);
	GOOD(p.from, sevmirror_seal_map(p.from, pages, &map[0]));
	GOOD(p.from, sevmirror_seal_map(p.from, pages, &map[1]));
	GOOD(p.to, sevmirror_seal_map_load(p.to, pages, map[1].bytes, map[1].len));
	assert_int_equal(sevmirror_seal_map_load(p.to, pages, map[0].bytes, map[0].len), -EBADMSG);
	assert_int_equal(sevmirror_seal_map_load(p.to, pages, blob.bytes, blob.len), -EBADMSG);
	sev_pagemap_destroy(pages);
	free(map[0].bytes);
	free(map[1].bytes);
	free(blob.bytes);
	test_free(bytes);
	pair_fini(&p);
}

struct mover {
	struct pair *p;
	unsigned int lane;
};

static void *move_part(void *arg)
{
	const struct mover *m = arg;
	unsigned int at, n, taken;

	/* Batches in turn, so that chunks of 2 MiB are shared between lanes. */
	for (at = m->lane * 64; at < NPAGES; at += THREADS * 64) {
		n = NPAGES - at < 64 ? (unsigned int)(NPAGES - at) : 64;
		for (taken = 0; taken < n;)
			taken += move(m->p, m->lane, at + taken, n - taken);
	}
	return NULL;
}

static void move_all(struct pair *p)
{
	struct mover mover[THREADS];
	pthread_t thread[THREADS];
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		mover[i] = (struct mover){ p, i };
		assert_int_equal(pthread_create(&thread[i], NULL, move_part, &mover[i]), 0);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(manifest_of(p), 0);
	assert_memory_equal(p->source.memory, p->target.memory, BYTES);
}

/* Lanes meet in the rings of the chunks, or have a ring each: whatever page, the same result. */
static void lanes_on_threads(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p, 2, false);
	connect(&p);
	move_all(&p);
	pair_fini(&p);
	pair_init(&p, THREADS, true);
	connect(&p);
	assert_int_equal(move(&p, 1, 500, 24), 24); /* over a chunk's end */
	move_all(&p);
	pair_fini(&p);
}

/* Abort leaves a source that can be sealed again; the target can be a source afterwards. */
static void there_and_back(void **state)
{
	struct pair p;
	unsigned int i;

	(void)state;
	pair_init(&p, 1, false);
	for (i = 0; i < 3; i++) {
		struct guest was;

		connect(&p);
		move(&p, 0, 0, 64);
		sevmirror_seal_abort(p.from);
		sevmirror_seal_destroy(p.from);
		sevmirror_seal_destroy(p.to);
		p.from = session_of(&p.source, true, 1, false);
		p.to = session_of(&p.target, false, 1, false);
		connect(&p);
		move_all(&p);
		assert_int_equal(sevmirror_seal_commit(p.from), 0);
		assert_int_equal(sevmirror_seal_commit(p.to), 0);
		sevmirror_seal_destroy(p.from);
		sevmirror_seal_destroy(p.to);
		was = p.source;
		p.source = p.target;
		p.target = was;
		memset(p.target.memory, 0xee, BYTES);
		p.from = session_of(&p.source, true, 1, false);
		p.to = session_of(&p.target, false, 1, false);
	}
	pair_fini(&p);
}

/* What does not fit is refused before anything happens, in words. */
static void strangers(void **state)
{
	struct sevmirror_blob offer, core, none;
	struct guest other;
	struct pair p;
	size_t i;

	(void)state;
	pair_init(&p, 1, false);
	GOOD(p.to, sevmirror_seal_offer(p.to, &offer));
	for (i = 0; i < offer.len; i++)
		assert_int_equal(sevmirror_seal_core(p.from, offer.bytes, i, &none), -EPROTO);
	for (i = 0; i < 16 + 4 + 2; i++) {
		((uint8_t *)offer.bytes)[i] ^= 1;
		assert_true(sevmirror_seal_core(p.from, offer.bytes, offer.len, &none) < 0);
		((uint8_t *)offer.bytes)[i] ^= 1;
	}
	assert_true(strlen(sevmirror_seal_why(p.from)) > 0);
	GOOD(p.from, sevmirror_seal_core(p.from, offer.bytes, offer.len, &core));
	assert_int_equal(sevmirror_seal_accept(p.to, core.bytes, core.len - 1), -EPROTO);
	assert_int_equal(sevmirror_seal_accept(p.to, offer.bytes, offer.len), -EPROTO);
	/* A guest with other memory. */
	guest_init(&other, 3, false);
	other.vm.ranges[2].bytes -= PAGE;
	sevmirror_seal_destroy(p.to);
	p.to = session_of(&other, false, 1, false);
	assert_int_equal(sevmirror_seal_accept(p.to, core.bytes, core.len), -EPROTO);
	sevmirror_seal_destroy(p.to);
	/* A core that was changed: the helper refuses it. */
	p.to = session_of(&p.target, false, 1, false);
	((uint8_t *)core.bytes)[core.len - 1] ^= 1;
	assert_int_equal(sevmirror_seal_accept(p.to, core.bytes, core.len), -EBADMSG);
	assert_non_null(strstr(sevmirror_seal_why(p.to), "refuses its core"));
	guest_fini(&other);
	free(offer.bytes);
	free(core.bytes);
	pair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_through_a_file), cmocka_unit_test(exact_pages),
		cmocka_unit_test(data_of_the_vmm),	    cmocka_unit_test(lanes_on_threads),
		cmocka_unit_test(there_and_back),	    cmocka_unit_test(strangers),
	};

	rig_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
