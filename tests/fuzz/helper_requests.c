/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile host: any bytes anywhere in the window, requests that change while they are read (a
 * second thread meddles), records that nobody sealed. Whatever it does, the helper continues, guest
 * RAM and the core stay as they are, and no plaintext is in the window.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/helper_rig.h"

#define BATCH 16 /* window pages: batch, then bodies */
#define SLOT  17

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* One helper in each state that has something to lose. */
static struct helper_rig source, target;
static struct helper source_then, target_then;
static uint8_t *before;
static uint32_t meddling; /* atomic: a seed, 0: at rest */
static uint8_t canary[16];

void hw_event(struct helper_vcpu *v, uint32_t value)
{
	(void)v;
	if (value != HELPER_EVENT_SLEEP)
		abort();
}

void hw_doorbell(struct helper_vcpu *v)
{
	(void)v;
}

static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

/* Changes words of the ring's first entries and of the batch, as a host on another CPU would. */
static void *meddle(void *arg)
{
	uint32_t x = 1;

	for (;;) {
		uint32_t seed = __atomic_load_n(&meddling, __ATOMIC_ACQUIRE);
		struct helper_rig *rig = seed & 1 ? &source : &target;
		uint32_t *word;

		if (!seed) {
			__builtin_ia32_pause();
			continue;
		}
		x = (x ^ seed) * 2654435761u + 1;
		word = helper_rig_page(rig, x >> 31 ? BATCH : 1);
		word += (x >> 8) % 200;
		__atomic_store_n(word, x & 0x40000000 ? x : x % 300, __ATOMIC_RELAXED);
	}
	return arg;
}

/*
 * Every page of RAM holds the canary from its first byte to its last, so any piece of plaintext
 * holds it too.
 */
static void fill(struct helper_rig *rig)
{
	uint64_t at;

	for (at = 0; at < RIG_LOW; at += sizeof(canary))
		memcpy(helper_rig_at(rig, at), canary, sizeof(canary));
	for (at = 0; at < RIG_HIGH; at += sizeof(canary))
		memcpy(helper_rig_at(rig, RIG_HIGH_GPA + at), canary, sizeof(canary));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	pthread_t thread;
	uint64_t core;

	(void)argc;
	(void)argv;
	need(random_bytes(canary, sizeof(canary)), "RDRAND");
	helper_rig_init(&source, 2, 1);
	helper_rig_init(&target, 2, 2);
	fill(&source);
	fill(&target);
	helper_rig_connect(&source, &target);
	core = source.plan.core_bytes;
	before = malloc(core);
	need(before, "memory");
	memcpy(before, source.helper.region, core);
	source_then = source.helper;
	target_then = target.helper;
	return pthread_create(&thread, NULL, meddle, NULL);
}

/* Page by page in turn: all of RAM every few hundred inputs. */
static void check(struct helper_rig *rig)
{
	static uint64_t turn;
	uint64_t at = turn++ * 4096 * 16 % RIG_LOW;
	uint32_t i;

	for (i = 0; i < 16 * 4096 / sizeof(canary); i++)
		need(memcmp(helper_rig_at(rig, at + i * sizeof(canary)), canary, sizeof(canary)) ==
			     0,
		     "guest RAM changed");
	need(memcmp(rig->helper.region, before, (size_t)HELPER_CORE_IMAGE * 4096) == 0,
	     "the core changed");
	need(!memmem(rig->window, (size_t)RIG_WINDOW * 4096, canary, sizeof(canary)),
	     "plaintext in the window");
	need(session_state(&rig->helper) == (rig == &source ? HELPER_SOURCE : HELPER_TARGET),
	     "the state changed");
}

/* Bring one back to where it was, for the state-changing requests that the host may well make. */
static void restore(struct helper_rig *rig)
{
	const struct helper *was = rig == &source ? &source_then : &target_then;

	const uint8_t *keys = before + (size_t)HELPER_CORE_KEYS * 4096;

	if (session_state(&rig->helper) == was->state && memcmp(rig->helper.keys, keys, 4096) == 0)
		return;
	rig->helper = *was;
	memcpy(rig->helper.keys, keys, sizeof(*rig->helper.keys));
}

static const uint64_t gpas[] = { 0,
				 4096,
				 0x200000,
				 RIG_LOW - 4096,
				 RIG_LOW,
				 RIG_HIGH_GPA,
				 RIG_HIGH_GPA + RIG_HIGH,
				 UINT64_MAX - 4095 };

static uint64_t some_gpa(struct helper_rig *rig, uint8_t byte)
{
	if (byte & 0x80)
		return rig->plan.gpa + (uint64_t)(byte & 0x7f) * 4096;
	return gpas[byte % 8] + (uint64_t)(byte >> 3) * 4096;
}

/*
 * A plausible request, so that the fuzzer gets past the first check; what follows in the input
 * makes it less so.
 */
static void plausible(struct helper_rig *rig, struct helper_request *request, const uint8_t *in)
{
	struct helper_batch *batch = helper_rig_page(rig, BATCH);
	unsigned int i;

	*request = (struct helper_request){
		.op = in[0] % 13,
		.flags = in[1] & 3,
		.count = in[2] % 68,
		.page = in[3] & 0x80 ? in[3] : BATCH,
		.gpa = some_gpa(rig, in[4]),
		.first = in[5] & 3,
	};
	for (i = 0; i < 4; i++)
		batch->record[i] = (struct helper_record){
			.gpa = some_gpa(rig, in[6 + i]),
			.slot = in[1] & 0x40 ? in[6 + i] : SLOT + i,
			.kind = in[3] & 3,
			.epoch = in[5],
			.index = (uint16_t)(in[5] >> 1),
		};
}

static void act(struct helper_rig *rig, const uint8_t *in, uint32_t vcpu)
{
	uint32_t page = vcpu * HELPER_RING_PAGES;
	struct helper_ring_control *control = helper_rig_page(rig, page);
	struct helper_request *requests = helper_rig_page(rig, page + 1);
	struct helper_vcpu *v = rig->helper.vcpus[vcpu];
	uint32_t at;

	switch (in[0] >> 6) {
	case 0:
	case 1:
		plausible(rig, &requests[v->taken % HELPER_RING_ENTRIES], in);
		control->submitted = v->taken + 1;
		control->taken = v->taken;
		break;
	case 2: /* any bytes anywhere: a spot in the rings or the batch */
		at = (in[1] & 1 ? BATCH * 4096u : page * 4096u) +
		     (in[2] | (uint32_t)in[3] << 8) % 8000;
		memcpy(rig->window + at, in + 4, 8);
		break;
	default:
		control->submitted = v->taken + (in[1] & 0x80 ? UINT32_MAX - in[2] : in[2] % 66);
		control->host_sleeps = in[3];
		control->spin = 1;
	}
	helper_poll(&rig->helper, v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct helper_rig *rig;
	size_t i;

	if (size < 13)
		return 0;
	rig = data[0] & 1 ? &source : &target;
	if (data[0] & 2)
		__atomic_store_n(&meddling, (uint32_t)(data[0] << 8) | (rig == &source ? 1 : 2),
				 __ATOMIC_RELEASE);
	for (i = 1; i + 12 <= size; i += 12)
		act(rig, data + i, data[0] >> 2 & 1);
	__atomic_store_n(&meddling, 0, __ATOMIC_RELEASE);
	restore(rig);
	check(rig);
	return 0;
}
