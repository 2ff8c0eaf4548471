/* SPDX-License-Identifier: Apache-2.0 */
/* What two hosts compare before any page moves, each way in which they may differ, by name. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>
#include <sevmirror/seal.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/message.h"
#include "lib/migrate/sealing.h"
#include "lib/mirror/region.h"
#include "tests/unit/migrate_half.h"

static struct wire_hello honest(void)
{
	struct wire_hello hello = { .major = WIRE_VERSION_MAJOR,
				    .minor = WIRE_VERSION_MINOR,
				    .streams = RIG_STREAMS,
				    .helper_version = HELPER_ABI_VERSION,
				    .ram_bytes = RIG_RAM_BYTES };
	size_t bytes;
	const void *image = region_image(&bytes);

	SHA256(image, bytes, hello.helper_digest);
	memset(hello.session, 'x', sizeof(hello.session));
	return hello;
}

/* A side that has no session yet. */
static void meet_nobody(struct half *h, bool is_source)
{
	half_open(h, is_source, 0);
	sealing_end(&h->m, false);
}

/* ---- the target, and this test is the source ---- */

static int answer_source(struct half *h, const struct wire_hello *hello, size_t len)
{
	meet_nobody(h, false);
	h->m.target.max_streams = WIRE_MAX_STREAMS;
	half_say(h, WIRE_HELLO, hello, len);
	half_say(h, WIRE_COMPAT, "r", 1);
	half_say(h, WIRE_CONFIG, "r", 1);
	return handshake_target(&h->m);
}

static void target_refuses(struct wire_hello hello, int err, enum sevmirror_reason reason,
			   const char *words)
{
	struct half h;

	assert_int_equal(answer_source(&h, &hello, sizeof(hello)), err);
	half_assert_why(&h.m.why, reason, words);
	assert_int_equal(h.rig.built, 0);
	half_close(&h);
}

static void the_target_agrees_to_what_the_source_wants(void **state)
{
	struct wire_hello hello = honest(), theirs;
	uint8_t accept[SEVMIRROR_OFFER_MAX], offer[256];
	size_t len = rig_offer(offer, sizeof(offer));
	struct half h;

	assert_int_equal(answer_source(&h, &hello, sizeof(hello)), 0);
	assert_int_equal(h.rig.built, 1);
	assert_int_equal(h.m.hello.streams, RIG_STREAMS);
	assert_memory_equal(h.m.hello.session, hello.session, sizeof(hello.session));
	assert_int_equal(half_hear(&h, WIRE_HELLO, &theirs, sizeof(theirs)), sizeof(theirs));
	assert_memory_equal(theirs.session, hello.session, sizeof(hello.session));
	assert_int_equal(half_hear(&h, WIRE_ACCEPT, accept, sizeof(accept)), len);
	assert_memory_equal(accept, offer, len);
	half_close(&h);
}

static void the_target_names_what_differs(void **state)
{
	struct wire_hello hello = honest();

	hello.major++;
	target_refuses(hello, -EPROTO, SEVMIRROR_REASON_INCOMPATIBLE,
		       "install the same sevmirror on both");
	hello = honest();
	hello.helper_digest[7] ^= 1;
	target_refuses(hello, -EPROTO, SEVMIRROR_REASON_INCOMPATIBLE,
		       "different builds of the Migration Helper");
	hello = honest();
	hello.helper_version++;
	target_refuses(hello, -EPROTO, SEVMIRROR_REASON_INCOMPATIBLE,
		       "different builds of the Migration Helper");
	hello = honest();
	hello.flags = 1u << 31;
	target_refuses(hello, -EPROTO, SEVMIRROR_REASON_PROTOCOL, "unknown flags");
	hello = honest();
	hello.streams = 0;
	target_refuses(hello, -EPROTO, SEVMIRROR_REASON_PROTOCOL, "0 data streams");
	hello.streams = WIRE_MAX_STREAMS + 1;
	target_refuses(hello, -EPROTO, SEVMIRROR_REASON_PROTOCOL, "17 data streams");
	hello = honest();
	hello.ram_bytes = 0;
	target_refuses(hello, -EPROTO, SEVMIRROR_REASON_PROTOCOL, "a guest without memory");
}

/* Of the version all versions know where it is; of this one the length is known, too. */
static void a_hello_of_another_length_is_refused(void **state)
{
	struct wire_hello hello = honest();
	struct half h;

	assert_int_equal(answer_source(&h, &hello, sizeof(hello) - 1), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "HELLO message of ");
	half_close(&h);
	assert_int_equal(answer_source(&h, &hello, 1), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "HELLO message of 1 bytes");
	half_close(&h);
	hello.major++;
	assert_int_equal(answer_source(&h, &hello, 2), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_INCOMPATIBLE, "the source speaks version 5");
	half_close(&h);
}

static void a_vm_of_another_size_is_refused(void **state)
{
	struct wire_hello hello = honest();
	struct half h;

	hello.ram_bytes += 2 << 20;
	assert_int_equal(answer_source(&h, &hello, sizeof(hello)), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_INCOMPATIBLE,
			"8388608 bytes of memory on the source and 6291456 on the target");
	half_close(&h);
}

static void a_vm_that_the_target_cannot_run_is_refused_in_its_words(void **state)
{
	struct wire_hello hello = honest();
	struct half h;

	meet_nobody(&h, false);
	h.m.target.max_streams = WIRE_MAX_STREAMS;
	half_say(&h, WIRE_HELLO, &hello, sizeof(hello));
	half_say(&h, WIRE_COMPAT, "x", 1); /* the rig refuses that */
	assert_int_equal(handshake_target(&h.m), -EINVAL);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_INCOMPATIBLE,
			"the target cannot run this VM: refused");
	assert_int_equal(h.rig.built, 0);
	half_close(&h);
}

/* The source's end of the connection, for a target that builds its VM. */
static struct half *building;

/* As long as it takes until the source has heard twice that the target works. */
static int build_slowly(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct wire_hello theirs;

	half_hear(building, WIRE_HELLO, &theirs, sizeof(theirs));
	half_hear(building, WIRE_WORKING, NULL, 0);
	half_hear(building, WIRE_WORKING, NULL, 0);
	return 0;
}

static void a_target_that_builds_for_long_tells_the_source(void **state)
{
	struct wire_hello hello = honest();
	struct half h;

	meet_nobody(&h, false);
	building = &h;
	h.m.target.max_streams = WIRE_MAX_STREAMS;
	h.ops.config_load = build_slowly;
	half_say(&h, WIRE_HELLO, &hello, sizeof(hello));
	half_say(&h, WIRE_COMPAT, "r", 1);
	half_say(&h, WIRE_CONFIG, "r", 1);
	assert_int_equal(handshake_target(&h.m), 0);
	half_close(&h);
}

static void fewer_streams_are_agreed_on(void **state)
{
	struct wire_hello hello = honest();
	struct half h;

	meet_nobody(&h, false);
	h.m.target.max_streams = 1;
	half_say(&h, WIRE_HELLO, &hello, sizeof(hello));
	half_say(&h, WIRE_COMPAT, "r", 1);
	half_say(&h, WIRE_CONFIG, "r", 1);
	assert_int_equal(handshake_target(&h.m), 0);
	assert_int_equal(h.m.hello.streams, 1);
	half_close(&h);
}

/* ---- the source, and a thread of this test is the target ---- */

struct target {
	struct channel *channel;
	struct wire_hello hello; /* its session is the source's, unless `foreign` */
	bool foreign, hangs_up;
};

static void *be_target(void *arg)
{
	struct target *t = arg;
	struct wire_hello source;
	uint8_t offer[256];
	char section[16];
	size_t len;

	if (message_recv(t->channel, WIRE_HELLO, &source, sizeof(source), sizeof(source), NULL,
			 HALF_PATIENCE_MS, NULL))
		return "no HELLO";
	if (t->hangs_up) {
		channel_end_sending(t->channel);
		return NULL;
	}
	if (!t->foreign)
		memcpy(t->hello.session, source.session, sizeof(source.session));
	message_send_one(t->channel, WIRE_HELLO, &t->hello, sizeof(t->hello), HALF_PATIENCE_MS);
	message_send_one(t->channel, WIRE_ACCEPT, offer, rig_offer(offer, sizeof(offer)),
			 HALF_PATIENCE_MS);
	if (message_recv(t->channel, WIRE_COMPAT, section, 0, sizeof(section), &len,
			 HALF_PATIENCE_MS, NULL))
		return NULL; /* refused: the connection is closed */
	if (message_recv(t->channel, WIRE_CONFIG, section, 0, sizeof(section), &len,
			 HALF_PATIENCE_MS, NULL))
		return "no CONFIG";
	return len == 3 && memcmp(section, "rig", 3) == 0 ? NULL : "another CONFIG";
}

static int meet(struct half *h, struct target *t, struct sevmirror_blob *offer)
{
	pthread_t thread;
	void *said;
	int err;

	meet_nobody(h, true);
	h->m.source.streams = RIG_STREAMS;
	h->m.source.security.insecure = true;
	t->channel = h->peer;
	assert_int_equal(pthread_create(&thread, NULL, be_target, t), 0);
	err = handshake_source(&h->m, offer);
	if (err)
		channel_end_sending(h->m.control);
	pthread_join(thread, &said);
	if (said)
		fail_msg("the target: %s", (const char *)said);
	return err;
}

static void source_refuses(struct target t, int err, enum sevmirror_reason reason,
			   const char *words)
{
	struct sevmirror_blob offer = { 0 };
	struct half h;

	assert_int_equal(meet(&h, &t, &offer), err);
	half_assert_why(&h.m.why, reason, words);
	assert_null(offer.bytes);
	half_close(&h);
}

static void the_source_takes_what_the_target_offers(void **state)
{
	struct target t = { .hello = honest() };
	struct sevmirror_blob offer = { 0 };
	struct half h;

	t.hello.streams = 1;
	assert_int_equal(meet(&h, &t, &offer), 0);
	assert_int_equal(h.m.hello.streams, 1);
	assert_true(offer.len > 0);
	free(offer.bytes);
	half_close(&h);
}

static void the_source_names_what_differs(void **state)
{
	struct target t = { .hello = honest(), .foreign = true };

	source_refuses(t, -EPROTO, SEVMIRROR_REASON_PROTOCOL, "another session");
	t.foreign = false;
	t.hello.major++;
	source_refuses(t, -EPROTO, SEVMIRROR_REASON_INCOMPATIBLE, "the target version 5");
	t.hello = honest();
	t.hello.helper_digest[0] ^= 1;
	source_refuses(t, -EPROTO, SEVMIRROR_REASON_INCOMPATIBLE, "different builds");
	t.hello = honest();
	t.hangs_up = true;
	source_refuses(t, -ECONNRESET, SEVMIRROR_REASON_CONNECTION,
		       "(does the target run without --insecure?)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_target_agrees_to_what_the_source_wants),
		cmocka_unit_test(the_target_names_what_differs),
		cmocka_unit_test(a_hello_of_another_length_is_refused),
		cmocka_unit_test(a_vm_of_another_size_is_refused),
		cmocka_unit_test(a_vm_that_the_target_cannot_run_is_refused_in_its_words),
		cmocka_unit_test(a_target_that_builds_for_long_tells_the_source),
		cmocka_unit_test(fewer_streams_are_agreed_on),
		cmocka_unit_test(the_source_takes_what_the_target_offers),
		cmocka_unit_test(the_source_names_what_differs),
	};

	return cmocka_run_group_tests_name("migrate_handshake", tests, NULL, NULL);
}
