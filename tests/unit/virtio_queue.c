/* SPDX-License-Identifier: Apache-2.0 */
/* Split virtqueues against drivers that keep the rules and drivers that do not. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "launch/guest_layout.h"
#include "tests/unit/cmocka_all.h"
#include "vmm/devices/virtqueue.h"

#define RAM   (4ULL << 20)
#define SIZE  8
#define DESC  0x1000ULL
#define AVAIL 0x2000ULL
#define USED  0x3000ULL
#define TABLE 0x4000ULL
#define DATA  0x10000ULL

struct ring {
	struct guest_memory *memory;
	struct virtqueue vq;
	struct vring_desc *desc;
	struct vring_desc *table; /* room for an indirect one */
	struct virtq_chain chain;
};

static void *at(struct ring *r, uint64_t gpa)
{
	void *hva = guest_memory_hva(r->memory, gpa, 1);

	assert_non_null(hva);
	return hva;
}

static int ring_setup(void **state)
{
	struct ring *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	assert_int_equal(guest_memory_create(&r->memory, RAM, false), 0);
	r->vq = (struct virtqueue){ .memory = r->memory,
				    .size = SIZE,
				    .desc_gpa = DESC,
				    .avail_gpa = AVAIL,
				    .used_gpa = USED,
				    .indirect = true };
	assert_int_equal(virtqueue_start(&r->vq, 0, 0), 0);
	r->desc = at(r, DESC);
	r->table = at(r, TABLE);
	*state = r;
	return 0;
}

static int ring_teardown(void **state)
{
	struct ring *r = *state;

	guest_memory_destroy(r->memory);
	free(r);
	return 0;
}

static void set(struct vring_desc *d, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	*d = (struct vring_desc){ addr, len, flags, next };
}

static void publish(struct ring *r, uint16_t head)
{
	struct vring_avail *avail = at(r, AVAIL);
	uint16_t idx = avail->idx;

	avail->ring[idx % SIZE] = head;
	__atomic_store_n(&avail->idx, (uint16_t)(idx + 1), __ATOMIC_RELEASE);
}

static void a_chain_is_read_and_written(void **state)
{
	struct ring *r = *state;
	struct vring_used *used = at(r, USED);
	char buf[16] = "";

	memcpy(at(r, DATA), "hello ", 6);
	memcpy(at(r, DATA + 0x100), "world", 5);
	set(&r->desc[3], DATA, 6, VRING_DESC_F_NEXT, 1);
	set(&r->desc[1], DATA + 0x100, 5, VRING_DESC_F_NEXT, 7);
	set(&r->desc[7], DATA + 0x200, 2, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
	set(&r->desc[0], DATA + 0x300, 4, VRING_DESC_F_WRITE, 0);
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 0);
	publish(r, 3);
	assert_true(virtqueue_has_buffers(&r->vq));
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 1);
	assert_int_equal(r->chain.readable_bytes, 11);
	assert_int_equal(r->chain.writable_bytes, 6);
	assert_true(virtq_chain_read(&r->chain, 0, buf, 11));
	assert_string_equal(buf, "hello world");
	assert_true(virtq_chain_read(&r->chain, 5, buf, 3));
	assert_memory_equal(buf, " wo", 3);
	assert_false(virtq_chain_read(&r->chain, 9, buf, 3));
	assert_false(virtq_chain_read(&r->chain, UINT64_MAX, buf, 3));
	assert_true(virtq_chain_write(&r->vq, &r->chain, 1, "abc", 3));
	assert_memory_equal(at(r, DATA + 0x200), "\0a", 2);
	assert_memory_equal(at(r, DATA + 0x300), "bc\0", 3);
	assert_false(virtq_chain_write(&r->vq, &r->chain, 4, "abc", 3));
	virtqueue_push(&r->vq, r->chain.head, 4);
	assert_int_equal(used->idx, 1);
	assert_int_equal(used->ring[0].id, 3);
	assert_int_equal(used->ring[0].len, 4);
	assert_false(virtqueue_has_buffers(&r->vq));
}

static void an_indirect_table_is_followed(void **state)
{
	struct ring *r = *state;
	uint8_t byte;

	for (unsigned int i = 0; i < VIRTQUEUE_SEGMENTS_MAX; i++) {
		set(&r->table[i], DATA + i, 1, VRING_DESC_F_NEXT, (uint16_t)(i + 1));
		*(uint8_t *)at(r, DATA + i) = (uint8_t)i;
	}
	r->table[VIRTQUEUE_SEGMENTS_MAX - 1].flags = 0;
	set(&r->desc[2], TABLE, 16 * VIRTQUEUE_SEGMENTS_MAX, VRING_DESC_F_INDIRECT, 99);
	publish(r, 2);
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 1);
	assert_int_equal(r->chain.head, 2);
	assert_int_equal(r->chain.readable_count, VIRTQUEUE_SEGMENTS_MAX);
	for (unsigned int i = 0; i < VIRTQUEUE_SEGMENTS_MAX; i++) {
		assert_true(virtq_chain_read(&r->chain, i, &byte, 1));
		assert_int_equal(byte, (uint8_t)i);
	}
	/* a direct descriptor may lead to an indirect one */
	virtqueue_push(&r->vq, 2, 0);
	set(&r->table[0], DATA, 4, VRING_DESC_F_WRITE, 0);
	set(&r->desc[4], DATA + 64, 4, VRING_DESC_F_NEXT, 5);
	set(&r->desc[5], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	publish(r, 4);
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 1);
	assert_int_equal(r->chain.readable_count, 1);
	assert_int_equal(r->chain.writable_count, 1);
}

/* The specification asks for no alignment of it. UBSan sees an access that needs one. */
static void an_indirect_table_may_be_at_an_odd_address(void **state)
{
	const struct vring_desc entries[2] = {
		{ .addr = DATA, .len = 3, .flags = VRING_DESC_F_NEXT, .next = 1 },
		{ .addr = DATA + 64, .len = 5, .flags = VRING_DESC_F_WRITE },
	};
	struct ring *r = *state;
	uint64_t odd;

	for (odd = 1; odd < 16; odd += 2) {
		memcpy(at(r, TABLE + odd), entries, sizeof(entries));
		set(&r->desc[1], TABLE + odd, sizeof(entries), VRING_DESC_F_INDIRECT, 0);
		publish(r, 1);
		assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 1);
		assert_int_equal(r->chain.readable_bytes, 3);
		assert_int_equal(r->chain.writable_bytes, 5);
		virtqueue_push(&r->vq, 1, 0);
	}
}

/* Each of these breaks one rule; the queue must say so, each time it is asked, and take nothing. */
static void assert_broken(struct ring *r, uint16_t head)
{
	struct vring_avail *avail = at(r, AVAIL);
	uint16_t before = r->vq.next_avail;

	publish(r, head);
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), -EINVAL);
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), -EINVAL);
	assert_int_equal(r->vq.next_avail, before);
	avail->idx = before;
}

static void broken_descriptors_are_refused(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{ RAM, 1 },
		{ RAM - 1, 2 },
		{ 0, RAM + 1 },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX, 2 },
		{ UINT64_MAX - 15, 16 },
		{ 1ULL << 63, 0x1000 },
		{ RAM - 0x1000, UINT32_MAX },
		{ 0xd0000000, 4 }, /* a device's window */
		{ 0x100000000ULL, 4 },
		{ DATA, 0 },
	};
	struct ring *r = *state;

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		set(&r->desc[0], bad[i].addr, bad[i].len, 0, 0);
		assert_broken(r, 0);
		set(&r->desc[0], bad[i].addr, bad[i].len, VRING_DESC_F_WRITE, 0);
		assert_broken(r, 0);
		set(&r->desc[0], bad[i].addr, bad[i].len, VRING_DESC_F_INDIRECT, 0);
		assert_broken(r, 0);
	}
	set(&r->desc[0], RAM - 1, 1, 0, 0); /* the last byte is a byte */
	publish(r, 0);
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 1);
}

static void broken_chains_are_refused(void **state)
{
	struct ring *r = *state;

	assert_broken(r, SIZE);
	assert_broken(r, UINT16_MAX);
	set(&r->desc[0], DATA, 1, VRING_DESC_F_NEXT, SIZE);
	assert_broken(r, 0);
	set(&r->desc[0], DATA, 1, VRING_DESC_F_NEXT, 0);
	assert_broken(r, 0); /* a loop of one */
	set(&r->desc[0], DATA, 1, VRING_DESC_F_NEXT, 1);
	set(&r->desc[1], DATA, 1, VRING_DESC_F_NEXT, 0);
	assert_broken(r, 0); /* a loop of two */
	set(&r->desc[0], DATA, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	set(&r->desc[1], DATA, 1, 0, 0);
	assert_broken(r, 0); /* the device reads behind what it writes */
}

static void broken_indirect_tables_are_refused(void **state)
{
	struct ring *r = *state;

	set(&r->table[0], DATA, 1, 0, 0);
	set(&r->desc[0], TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	assert_broken(r, 0);
	set(&r->desc[0], TABLE, 17, VRING_DESC_F_INDIRECT, 0);
	assert_broken(r, 0);
	set(&r->desc[0], TABLE, 16 * (VIRTQUEUE_SEGMENTS_MAX + 1), VRING_DESC_F_INDIRECT, 0);
	assert_broken(r, 0);
	set(&r->table[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	set(&r->desc[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	assert_broken(r, 0); /* nested */
	set(&r->table[0], DATA, 1, VRING_DESC_F_NEXT, 1);
	assert_broken(r, 0); /* out of the table */
	set(&r->table[0], DATA, 1, VRING_DESC_F_NEXT, 0);
	assert_broken(r, 0); /* a loop in it */
	set(&r->table[0], DATA, 1, 0, 0);
	r->vq.indirect = false;
	assert_broken(r, 0); /* not negotiated */
}

static void an_index_that_runs_ahead_is_refused(void **state)
{
	struct ring *r = *state;
	struct vring_avail *avail = at(r, AVAIL);

	set(&r->desc[0], DATA, 1, 0, 0);
	avail->idx = SIZE + 1;
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), -EINVAL);
	avail->idx = UINT16_MAX;
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), -EINVAL);
	avail->idx = SIZE;
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 1);
}

static int start_at(struct guest_memory *memory, uint16_t size, uint64_t desc, uint64_t avail,
		    uint64_t used)
{
	struct virtqueue vq = { .memory = memory,
				.size = size,
				.desc_gpa = desc,
				.avail_gpa = avail,
				.used_gpa = used };

	return virtqueue_start(&vq, 0, 0);
}

static void rings_lie_in_ram_and_on_their_boundaries(void **state)
{
	struct guest_memory *m = ((struct ring *)*state)->memory;
	uint64_t desc = 16 * SIZE, avail = 6 + 2 * SIZE, used = 6 + 8 * SIZE;

	assert_int_equal(start_at(m, SIZE, RAM - desc, AVAIL, USED), 0);
	assert_int_equal(start_at(m, SIZE, RAM - desc + 16, AVAIL, USED), -EINVAL);
	assert_int_equal(start_at(m, SIZE, DESC, RAM - avail, USED), 0);
	assert_int_equal(start_at(m, SIZE, DESC, RAM - avail + 2, USED), -EINVAL);
	assert_int_equal(start_at(m, SIZE, DESC, AVAIL, (RAM - used) & ~3ULL), 0);
	assert_int_equal(start_at(m, SIZE, DESC, AVAIL, ((RAM - used) & ~3ULL) + 4), -EINVAL);
	assert_int_equal(start_at(m, SIZE, DESC + 8, AVAIL, USED), -EINVAL);
	assert_int_equal(start_at(m, SIZE, DESC, AVAIL + 1, USED), -EINVAL);
	assert_int_equal(start_at(m, SIZE, DESC, AVAIL, USED + 2), -EINVAL);
	assert_int_equal(start_at(m, SIZE, UINT64_MAX & ~15ULL, AVAIL, USED), -EINVAL);
	assert_int_equal(start_at(m, 0, DESC, AVAIL, USED), -EINVAL);
	assert_int_equal(start_at(m, 6, DESC, AVAIL, USED), -EINVAL);
	assert_int_equal(start_at(m, 512, DESC, AVAIL, USED), -EINVAL);
	assert_int_equal(start_at(m, 256, DESC, AVAIL, USED), 0);
	assert_int_equal(start_at(m, 1, DESC, AVAIL, USED), 0);
}

/* RAM with a hole below 4 GiB; the memfd is sparse, so this costs nothing. */
static unsigned int marked(struct guest_memory *m, uint64_t gpa, uint64_t len)
{
	size_t i, words = guest_memory_log_words(m);
	uint64_t *bitmap = calloc(words, sizeof(*bitmap));
	unsigned int pages = 0;

	assert_non_null(bitmap);
	guest_memory_mark_dirty(m, gpa, len);
	guest_memory_log_fetch(m, bitmap);
	for (i = 0; i < words; i++)
		pages += (unsigned int)__builtin_popcountll(bitmap[i]);
	free(bitmap);
	return pages;
}

/* As a guest does with MAP_GPA_RANGE: what of the range is RAM is dirty. */
static void ranges_over_the_hole_are_marked_dirty(void **state)
{
	const uint64_t high = 4ULL << 20, page = 4096;
	struct guest_memory *m;

	assert_int_equal(guest_memory_create(&m, GUEST_LOW_RAM_MAX + high, false), 0);
	assert_int_equal(guest_memory_log_start(m), 0);
	assert_int_equal(marked(m, GUEST_LOW_RAM_MAX - page, 2 * page), 1);
	assert_int_equal(marked(m, GUEST_HIGH_RAM_GPA - page, 2 * page), 1);
	assert_int_equal(marked(m, GUEST_LOW_RAM_MAX - page,
				GUEST_HIGH_RAM_GPA - GUEST_LOW_RAM_MAX + 3 * page),
			 3);
	assert_int_equal(marked(m, GUEST_HIGH_RAM_GPA + high - page, 2 * page), 1);
	assert_int_equal(marked(m, 0, UINT64_MAX), (GUEST_LOW_RAM_MAX + high) / page);
	assert_int_equal(marked(m, GUEST_LOW_RAM_MAX, GUEST_HIGH_RAM_GPA - GUEST_LOW_RAM_MAX), 0);
	assert_int_equal(marked(m, UINT64_MAX - page, 2 * page), 0);
	guest_memory_destroy(m);
}

static void buffers_do_not_reach_over_the_hole(void **state)
{
	struct ring *r = *state;
	struct guest_memory *m;

	assert_int_equal(guest_memory_create(&m, GUEST_LOW_RAM_MAX + (4ULL << 20), false), 0);
	r->vq.memory = m;
	assert_int_equal(virtqueue_start(&r->vq, 0, 0), 0);
	r->desc = guest_memory_hva(m, DESC, 16 * SIZE);
	set(&r->desc[0], GUEST_LOW_RAM_MAX - 4, 4, VRING_DESC_F_NEXT, 1);
	set(&r->desc[1], GUEST_HIGH_RAM_GPA, 4, VRING_DESC_F_WRITE, 0);
	((struct vring_avail *)guest_memory_hva(m, AVAIL, 64))->idx = 1;
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 1);
	virtqueue_unpop(&r->vq);
	set(&r->desc[0], GUEST_LOW_RAM_MAX - 4, 8, 0, 0);
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), -EINVAL);
	set(&r->desc[0], GUEST_HIGH_RAM_GPA - 4, 8, 0, 0);
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), -EINVAL);
	set(&r->desc[0], GUEST_HIGH_RAM_GPA + (4ULL << 20) - 4, 8, 0, 0);
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), -EINVAL);
	guest_memory_destroy(m);
}

static void indexes_wrap(void **state)
{
	struct ring *r = *state;
	struct vring_avail *avail = at(r, AVAIL);
	struct vring_used *used = at(r, USED);
	unsigned int interrupts = 0;

	r->vq.event_idx = true;
	for (unsigned int i = 0; i < 70000; i++) {
		uint16_t head = i % SIZE;

		set(&r->desc[head], DATA + i % 1024, 1, 0, 0);
		publish(r, head);
		assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 1);
		assert_int_equal(r->chain.head, head);
		virtqueue_push(&r->vq, head, i);
		assert_int_equal(used->idx, (uint16_t)(i + 1));
		assert_int_equal(used->ring[i % SIZE].len, i);
		/* the driver asks to be interrupted at every fourth */
		avail->ring[SIZE] = (uint16_t)(i / 4 * 4 + 3);
		interrupts += virtqueue_wants_interrupt(&r->vq);
		virtqueue_set_notify(&r->vq, true);
		assert_int_equal(*(uint16_t *)&used->ring[SIZE], (uint16_t)(i + 1));
	}
	assert_int_equal(
		interrupts,
		70000 / 4 + 1); /* and the very first, when nothing is known of the driver yet */
}

static void flags_switch_interrupts_and_notifications_off(void **state)
{
	struct ring *r = *state;
	struct vring_avail *avail = at(r, AVAIL);
	struct vring_used *used = at(r, USED);

	set(&r->desc[0], DATA, 1, 0, 0);
	for (unsigned int i = 0; i < 3; i++) {
		publish(r, 0);
		assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 1);
		virtqueue_push(&r->vq, 0, 0);
		avail->flags = i == 1 ? VRING_AVAIL_F_NO_INTERRUPT : 0;
		assert_int_equal(virtqueue_wants_interrupt(&r->vq), i != 1);
		assert_false(virtqueue_wants_interrupt(&r->vq)); /* nothing new */
	}
	virtqueue_set_notify(&r->vq, false);
	assert_int_equal(used->flags, VRING_USED_F_NO_NOTIFY);
	virtqueue_set_notify(&r->vq, true);
	assert_int_equal(used->flags, 0);
}

static void what_the_device_writes_is_marked_dirty(void **state)
{
	struct ring *r = *state;
	uint64_t *log;

	set(&r->desc[0], DATA + 0xffe, 2, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	set(&r->desc[1], DATA + 0x5000, 0x1000, VRING_DESC_F_WRITE, 0);
	publish(r, 0);
	assert_int_equal(virtqueue_pop(&r->vq, &r->chain), 1);
	assert_int_equal(guest_memory_log_start(r->memory), 0);
	log = calloc(guest_memory_log_words(r->memory), sizeof(*log));
	assert_non_null(log);
	assert_true(virtq_chain_write(&r->vq, &r->chain, 1, "ab", 2));
	guest_memory_log_fetch(r->memory, log);
	assert_int_equal(log[0], 1ULL << (DATA >> 12) | 1ULL << ((DATA + 0x5000) >> 12));
	memset(log, 0, guest_memory_log_words(r->memory) * sizeof(*log));
	virtqueue_push(&r->vq, 0, 3);
	guest_memory_log_fetch(r->memory, log);
	assert_int_equal(log[0], 1ULL << (USED >> 12));
	free(log);
}

struct mutator {
	struct ring *r;
	atomic_bool stop;
};

static void *mutate(void *arg)
{
	struct mutator *m = arg;
	static const uint64_t addrs[] = { DATA, RAM, UINT64_MAX - 3, RAM - 2, TABLE };
	static const uint16_t flags[] = { 0, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
					  VRING_DESC_F_INDIRECT, 7 };

	for (unsigned int i = 0; !atomic_load(&m->stop); i++) {
		struct vring_desc *d = i & 1 ? &m->r->desc[i / 2 % 3] : &m->r->table[i / 2 % 3];

		__atomic_store_n(&d->addr, addrs[i % 5], __ATOMIC_RELAXED);
		__atomic_store_n(&d->len, (i * 7919) % 48, __ATOMIC_RELAXED);
		__atomic_store_n(&d->flags, flags[i / 3 % 5], __ATOMIC_RELAXED);
		__atomic_store_n(&d->next, (uint16_t)(i % 4), __ATOMIC_RELAXED);
	}
	return NULL;
}

/* A guest that changes descriptors while they are read: whatever comes out is inside RAM. */
static void descriptors_that_change_while_read_stay_in_ram(void **state)
{
	struct ring *r = *state;
	struct mutator m = { .r = r };
	uint8_t *ram = at(r, 0);
	unsigned int taken = 0, refused = 0;
	pthread_t thread;

	set(&r->desc[0], DATA, 1, 0, 0);
	((struct vring_avail *)at(r, AVAIL))->idx = 1;
	assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
	while (taken < 50000 || refused < 50000) {
		if (virtqueue_pop(&r->vq, &r->chain) != 1) {
			if (++refused % 1000 == 0)
				sched_yield();
			continue;
		}
		if (++taken % 1000 == 0)
			sched_yield();
		for (unsigned int s = 0; s < r->chain.readable_count; s++) {
			const struct iovec *v = &r->chain.readable[s];

			assert_true((uint8_t *)v->iov_base >= ram && v->iov_len);
			assert_true((uint8_t *)v->iov_base + v->iov_len <= ram + RAM);
		}
		for (unsigned int s = 0; s < r->chain.writable_count; s++) {
			const struct iovec *v = &r->chain.writable[s];

			assert_true((uint8_t *)v->iov_base >= ram && v->iov_len);
			assert_true((uint8_t *)v->iov_base + v->iov_len <= ram + RAM);
			assert_ptr_equal(v->iov_base, ram + r->chain.writable_gpa[s]);
		}
		virtqueue_unpop(&r->vq);
	}
	atomic_store(&m.stop, true);
	pthread_join(thread, NULL);
}

#define ring_test(f) cmocka_unit_test_setup_teardown(f, ring_setup, ring_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ring_test(a_chain_is_read_and_written),
		ring_test(an_indirect_table_is_followed),
		ring_test(an_indirect_table_may_be_at_an_odd_address),
		ring_test(broken_descriptors_are_refused),
		ring_test(broken_chains_are_refused),
		ring_test(broken_indirect_tables_are_refused),
		ring_test(an_index_that_runs_ahead_is_refused),
		ring_test(rings_lie_in_ram_and_on_their_boundaries),
		ring_test(buffers_do_not_reach_over_the_hole),
		ring_test(ranges_over_the_hole_are_marked_dirty),
		ring_test(indexes_wrap),
		ring_test(flags_switch_interrupts_and_notifications_off),
		ring_test(what_the_device_writes_is_marked_dirty),
		ring_test(descriptors_that_change_while_read_stay_in_ram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
