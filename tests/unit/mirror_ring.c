/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of a ring at once, each on its thread: nothing is lost, doubled or reordered, and
 * nobody sleeps over work.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "lib/mirror/ring.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/helper_rig.h"

#define REQUESTS 20000

/* The vCPU's thread and its sleep, as lib/mirror/mirror_vcpu.c has them. */
struct vcpu {
	struct helper_rig rig;
	struct host_ring host;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool parked; /* atomic */
	bool stop; /* atomic */
	uint32_t bells; /* atomic */
};

static struct vcpu *current;

void hw_event(struct helper_vcpu *v, uint32_t value)
{
	struct vcpu *c = current;

	(void)v;
	assert_int_equal(value, HELPER_EVENT_SLEEP);
	pthread_mutex_lock(&c->lock);
	__atomic_store_n(&c->parked, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&c->stop, __ATOMIC_SEQ_CST) && !ring_has_work(&c->host))
		pthread_cond_wait(&c->changed, &c->lock);
	__atomic_store_n(&c->parked, false, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&c->lock);
}

void hw_doorbell(struct helper_vcpu *v)
{
	(void)v;
	__atomic_fetch_add(&current->bells, 1, __ATOMIC_SEQ_CST);
}

static void wake(struct vcpu *c)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&c->parked, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&c->lock);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void *helper_thread(void *arg)
{
	struct vcpu *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_SEQ_CST))
		helper_poll(&c->rig.helper, c->rig.helper.vcpus[0]);
	return NULL;
}

static void start(struct vcpu *c, pthread_t *thread, uint32_t spin)
{
	memset(c, 0, sizeof(*c));
	current = c;
	helper_rig_init(&c->rig, 1, 1);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	ring_init(&c->host, c->rig.window);
	c->host.control->spin = spin;
	assert_int_equal(pthread_create(thread, NULL, helper_thread, c), 0);
}

static void finish(struct vcpu *c, pthread_t thread)
{
	__atomic_store_n(&c->stop, true, __ATOMIC_SEQ_CST);
	wake(c);
	pthread_join(thread, NULL);
	helper_rig_fini(&c->rig);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
}

/* Wait for a completion as rings_wait() does when it sleeps, but on the bell counter. */
static void take(struct vcpu *c, struct helper_completion *completion)
{
	int got;

	while ((got = ring_poll(&c->host, completion)) == 0) {
		uint32_t bells = __atomic_load_n(&c->bells, __ATOMIC_SEQ_CST);

		if (!ring_arm(&c->host, 1 + ring_pending(&c->host) / 2))
			while (__atomic_load_n(&c->bells, __ATOMIC_SEQ_CST) == bells)
				__builtin_ia32_pause();
		ring_disarm(&c->host);
	}
	assert_int_equal(got, 1);
}

static void many(uint32_t spin, unsigned int depth, uint32_t requests)
{
	struct helper_request request = { .op = HELPER_OP_HELLO };
	struct helper_completion completion;
	uint32_t sent = 0, taken = 0, id;
	pthread_t thread;
	struct vcpu *c = test_malloc(sizeof(*c));

	start(c, &thread, spin);
	while (taken < requests) {
		while (sent < requests && sent - taken < depth) {
			request.op = sent % 3 ? HELPER_OP_HELLO : HELPER_OP_TOUCH;
			request.count = sent % 5;
			assert_int_equal(ring_submit(&c->host, &request, &id), 0);
			assert_int_equal(id, sent++);
			wake(c);
		}
		take(c, &completion);
		assert_int_equal(completion.id, taken);
		assert_int_equal(completion.op, taken % 3 ? HELPER_OP_HELLO : HELPER_OP_TOUCH);
		assert_int_equal(completion.count, taken % 3 ? HELPER_ABI_VERSION : taken % 5);
		taken++;
	}
	assert_int_equal(ring_pending(&c->host), 0);
	finish(c, thread);
	test_free(c);
}

static void one_at_a_time(void **state)
{
	(void)state;
	many(1, 1, REQUESTS / 4);
}

static void full_ring(void **state)
{
	(void)state;
	many(1000, HELPER_RING_ENTRIES, REQUESTS);
}

static void sleepy(void **state)
{
	(void)state;
	many(1, 7, REQUESTS / 2);
}

static void no_room(void **state)
{
	struct helper_request request = { .op = HELPER_OP_HELLO };
	uint8_t pages[HELPER_RING_PAGES * 4096] __attribute__((aligned(64))) = { 0 };
	struct helper_completion c;
	struct host_ring r;
	unsigned int i;

	(void)state;
	ring_init(&r, pages);
	assert_int_equal(ring_poll(&r, &c), 0);
	for (i = 0; i < HELPER_RING_ENTRIES; i++)
		assert_int_equal(ring_submit(&r, &request, NULL), 0);
	assert_int_equal(ring_submit(&r, &request, NULL), -EAGAIN);
	assert_int_equal(ring_pending(&r), HELPER_RING_ENTRIES);
	assert_true(ring_has_work(&r));
}

/* Each lie kills the ring and is reported; nothing after it is believed. */
static void lying_helper(void **state)
{
	struct helper_request request = { .op = HELPER_OP_SEAL, .count = 3 };
	static uint8_t pages[HELPER_RING_PAGES * 4096] __attribute__((aligned(64)));
	struct helper_completion *answer = (struct helper_completion *)(pages + 2 * 4096);
	struct helper_ring_control *control = (struct helper_ring_control *)pages;
	struct helper_completion c;
	struct host_ring r;
	unsigned int lie;

	(void)state;
	for (lie = 0; lie < 6; lie++) {
		memset(pages, 0, sizeof(pages));
		ring_init(&r, pages);
		assert_int_equal(ring_submit(&r, &request, NULL), 0);
		*answer = (struct helper_completion){ .op = HELPER_OP_SEAL, .count = 3 };
		control->completed = 1;
		switch (lie) {
		case 0:
			assert_int_equal(ring_poll(&r, &c), 1); /* the truth */
			continue;
		case 1:
			control->completed = 2;
			break;
		case 2:
			answer->id = 1;
			break;
		case 3:
			answer->op = HELPER_OP_OPEN;
			break;
		case 4:
			answer->count = 4;
			break;
		default:
			answer->status = HELPER_MISMATCH + 1;
		}
		assert_int_equal(ring_poll(&r, &c), -EPROTO);
		*answer = (struct helper_completion){ .op = HELPER_OP_SEAL, .count = 3 };
		control->completed = 1;
		assert_int_equal(ring_poll(&r, &c), -EPROTO);
		assert_int_equal(ring_submit(&r, &request, NULL), -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_at_a_time), cmocka_unit_test(full_ring),
		cmocka_unit_test(sleepy),	 cmocka_unit_test(no_room),
		cmocka_unit_test(lying_helper),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
