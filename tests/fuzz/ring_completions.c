/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile helper: any bytes in the ring's pages at any time. What the host takes from it answers
 * what was asked, in order; anything else kills the ring, and it stays dead.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mirror/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t pages[HELPER_RING_PAGES * 4096] __attribute__((aligned(4096)));

struct model {
	struct host_ring ring;
	uint32_t sent, taken;
	struct {
		uint16_t op;
		uint32_t count;
	} asked[HELPER_RING_ENTRIES];
	bool dead;
};

static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

static void submit(struct model *m, const uint8_t *in)
{
	struct helper_request request = { .op = in[0] % 13, .count = in[1] % 70 };
	uint32_t id = 0;
	int error = ring_submit(&m->ring, &request, &id);

	if (m->dead) {
		need(error == -EPROTO, "a dead ring takes requests");
	} else if (m->sent - m->taken == HELPER_RING_ENTRIES) {
		need(error == -EAGAIN, "a full ring takes requests");
	} else {
		need(error == 0 && id == m->sent, "a request was not taken");
		m->asked[m->sent % HELPER_RING_ENTRIES].op = request.op;
		m->asked[m->sent % HELPER_RING_ENTRIES].count = request.count;
		m->sent++;
	}
}

static void poll(struct model *m)
{
	struct helper_completion c;
	int got = ring_poll(&m->ring, &c);
	uint32_t place = m->taken % HELPER_RING_ENTRIES;

	if (got == 1) {
		need(!m->dead && m->taken != m->sent, "a completion of nothing");
		need(c.id == m->taken && c.op == m->asked[place].op, "an answer to something else");
		need(c.op == HELPER_OP_HELLO || c.op == HELPER_OP_MISSING ||
			     c.count <= m->asked[place].count,
		     "more than was asked");
		need(c.status <= HELPER_MISMATCH, "an invalid status");
		m->taken++;
	} else if (got < 0) {
		need(got == -EPROTO, "another error");
		m->dead = true;
	} else {
		need(!m->dead, "a dead ring came back");
	}
	need(ring_pending(&m->ring) == m->sent - m->taken, "the count of what is pending");
}

/* An honest answer to the oldest request, to get further. */
static void answer(struct model *m, const uint8_t *in)
{
	struct helper_completion *c =
		(struct helper_completion *)(pages + 2 * 4096) + m->taken % HELPER_RING_ENTRIES;
	struct helper_ring_control *control = (struct helper_ring_control *)pages;

	*c = (struct helper_completion){
		.id = m->taken,
		.op = m->asked[m->taken % HELPER_RING_ENTRIES].op,
		.count = in[0],
		.status = in[1] % 17,
	};
	control->completed = m->taken + 1 + (in[2] > 250);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct model m;
	size_t i;

	memset(pages, 0, sizeof(pages));
	memset(&m, 0, sizeof(m));
	ring_init(&m.ring, pages);
	for (i = 0; i + 4 <= size; i += 4) {
		const uint8_t *in = data + i + 1;

		switch (data[i] % 6) {
		case 0:
		case 1:
			submit(&m, in);
			break;
		case 2:
			poll(&m);
			break;
		case 3:
			answer(&m, in);
			poll(&m);
			break;
		case 4:
			pages[(in[0] | (size_t)in[1] << 8) % sizeof(pages)] = in[2];
			break;
		default:
			ring_arm(&m.ring, in[0]);
			ring_has_work(&m.ring);
			ring_disarm(&m.ring);
		}
	}
	return 0;
}
