/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole target against a source that knows the protocol and breaks it: a message is left out,
 * comes twice, comes too early, or has a length that it must not have. The guest never starts then,
 * the target keeps no disk, and it says why. The order and the lengths are in a table, so that each
 * message has its turn. The VM and the helper are the fuzzers' (tests/fuzz/migrate_rig.h).
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "tests/unit/cmocka_all.h"

#include "helper/protocol.h"
#include "lib/migrate/message.h"
#include "lib/migrate/page_frame.h"
#include "lib/mirror/region.h"
#include "lib/net/address.h"
#include "lib/seal/blob.h"
#include "lib/util/clock.h"
#include "tests/fuzz/migrate_rig.h"
#include "tests/fuzz/rig_frames.h"

#define PATIENCE_MS 10000
#define STEPS_MAX   16

/* What an honest source sends, in this order. */
enum step { HELLO, COMPAT, CONFIG, CORE, STREAMS, ROUND, STATE, MANIFEST, COMMIT, STEPS };

static const char *const names[] = { "HELLO", "COMPAT", "CONFIG",   "CORE",  "STREAMS",
				     "ROUND", "STATE",	"MANIFEST", "COMMIT" };

/* A source, and what it does otherwise than it should. */
struct source {
	enum step plan[STEPS_MAX];
	unsigned int n;
	enum step odd; /* this one has a header of another length */
	bool has_odd;
	uint32_t odd_bytes;
	void (*edit)(enum step step, void *body, size_t len); /* or NULL */
	bool waits; /* for the target to start the guest */

	char address[64];
	struct channel *control, *stream[RIG_STREAMS];
	struct frame_cipher *cipher[RIG_STREAMS];
	struct wire_hello hello;
	bool core; /* is said */
};

/* How the target ended. */
struct end {
	enum sevmirror_outcome outcome;
	struct sevmirror_summary summary;
	struct rig rig;
};

static const struct channel_security bare = { .insecure = true };

static struct channel *dial(const char *address)
{
	int fd = address_connect(address, PATIENCE_MS, NULL);
	struct channel *channel;

	if (fd < 0 || channel_open(&channel, fd, false, &bare, PATIENCE_MS, NULL))
		return NULL;
	return channel;
}

/* A body goes as it is, behind a header that may say something else. */
static void say(struct source *s, enum step step, enum wire_type type, void *body, size_t len)
{
	struct wire_header header = { .magic = WIRE_MAGIC,
				      .type = (uint16_t)type,
				      .bytes = (uint32_t)len };

	if (s->edit)
		s->edit(step, body, len);
	if (s->has_odd && s->odd == step)
		header.bytes = s->odd_bytes;
	(void)channel_send(s->control, &header, sizeof(header), PATIENCE_MS);
	(void)channel_send(s->control, body, len, PATIENCE_MS);
}

/* The target's messages, up to this type. False once it has gone. */
static bool hear(struct source *s, uint16_t until)
{
	uint16_t type = 0;
	bool good = true;

	while (good && type != until) {
		void *body;
		size_t len;

		good = message_recv_any(s->control, &type, &body, &len, PATIENCE_MS, NULL) == 0;
		if (good)
			free(body);
	}
	return good;
}

/*
 * The data connections, with a frame on the first one. The target accepts them once its helper
 * runs, which it does not if a message before was not whole.
 */
static void open_streams(struct source *s)
{
	static _Alignas(8) uint8_t directory[RECORD_SHARED_BYTES];
	struct wire_frame header;
	size_t len;

	if (s->stream[0] || !s->core || (s->has_odd && s->odd <= CORE) || !hear(s, WIRE_CORE_DONE))
		return;
	for (unsigned int i = 0; i < RIG_STREAMS; i++) {
		struct wire_stream_hello hello;

		s->stream[i] = dial(s->address);
		if (!s->stream[i] ||
		    frame_cipher_create(&s->cipher[i], s->control, s->hello.session, i) ||
		    frame_make_hello(s->cipher[i], &hello))
			return;
		(void)channel_send(s->stream[i], &hello, sizeof(hello), PATIENCE_MS);
	}
	len = rig_private_directory(&header, directory, 0, 2, HELPER_ZERO);
	if (frame_seal(s->cipher[0], &header, directory, len))
		return;
	(void)channel_send(s->stream[0], &header, sizeof(header), PATIENCE_MS);
	(void)channel_send(s->stream[0], directory, header.directory_bytes, PATIENCE_MS);
}

static void take_step(struct source *s, enum step step)
{
	struct wire_round round = { .round = 1, .streams = RIG_STREAMS, .frames = { 1 } };
	static uint8_t bytes[16384];
	char section[] = "rig";

	switch (step) {
	case HELLO:
		return say(s, step, WIRE_HELLO, &s->hello, sizeof(s->hello));
	case COMPAT:
		return say(s, step, WIRE_COMPAT, section, 3);
	case CONFIG:
		return say(s, step, WIRE_CONFIG, section, 3);
	case CORE:
		s->core = true;
		return say(s, step, WIRE_CORE, bytes, rig_core(bytes, sizeof(bytes)));
	case STREAMS:
		return open_streams(s);
	case ROUND:
		return say(s, step, WIRE_ROUND, &round, sizeof(round));
	case STATE:
		return say(s, step, WIRE_STATE, section, 3);
	case MANIFEST:
		return say(s, step, WIRE_MANIFEST, bytes, rig_manifest(bytes, sizeof(bytes)));
	default:
		return say(s, step, WIRE_COMMIT, section, 0);
	}
}

/*
 * A thread. It says what it has to say, and unless that should do, that it has no more; then it
 * listens until the end. The target has its streams before that, so that it reads all the rest.
 */
static void *be_source(void *arg)
{
	struct source *s = arg;

	s->control = dial(s->address);
	for (unsigned int i = 0; i < s->n && s->control; i++)
		take_step(s, s->plan[i]);
	if (s->control && !s->waits) {
		if (s->stream[0])
			(void)hear(s, WIRE_ROUND);
		channel_end_sending(s->control);
	}
	if (s->control)
		(void)hear(s, WIRE_TYPES);
	for (unsigned int i = 0; i < RIG_STREAMS; i++) {
		channel_close(s->stream[i]);
		frame_cipher_destroy(s->cipher[i]);
	}
	channel_close(s->control);
	return NULL;
}

static struct source honest(void)
{
	struct source s = { .n = STEPS,
			    .hello = { .major = WIRE_VERSION_MAJOR,
				       .minor = WIRE_VERSION_MINOR,
				       .streams = RIG_STREAMS,
				       .helper_version = HELPER_ABI_VERSION,
				       .ram_bytes = RIG_RAM_BYTES } };
	size_t bytes;
	const void *image = region_image(&bytes);

	SHA256(image, bytes, s.hello.helper_digest);
	memset(s.hello.session, 's', sizeof(s.hello.session));
	for (unsigned int i = 0; i < STEPS; i++)
		s.plan[i] = (enum step)i;
	return s;
}

static void meet(struct source *s, struct end *end)
{
	struct sevmirror_target_options options = { .security.insecure = true,
						    .timeout = PATIENCE_MS * NS_PER_MS };
	struct sevmirror_migration *m;
	pthread_t thread;
	char why[256];

	rig_reset(&end->rig, NULL, 0);
	options.listen_fd = address_listen("127.0.0.1:0", NULL);
	assert_true(options.listen_fd >= 0);
	assert_int_equal(address_of(options.listen_fd, s->address, sizeof(s->address)), 0);
	assert_int_equal(
		sevmirror_target_create(&m, &rig_ops, &end->rig, &options, why, sizeof(why)), 0);
	assert_int_equal(pthread_create(&thread, NULL, be_source, s), 0);
	end->outcome = sevmirror_migration_run(m, &end->summary);
	sevmirror_migration_destroy(m);
	close(options.listen_fd);
	pthread_join(thread, NULL);
	rig_end(&end->rig);
}

/* The target has given up, and the guest is the source's. */
static void refused(struct source s, const char *what, const char *which)
{
	struct end end;

	meet(&s, &end);
	if (end.outcome != SEVMIRROR_FAILED || end.rig.resumed ||
	    end.rig.acquired != end.rig.released || !end.summary.error[0])
		fail_msg("%s %s: %s, started %u times, disks opened %u times and closed %u times, "
			 "'%s'",
			 which, what, sevmirror_outcome_name(end.outcome), end.rig.resumed,
			 end.rig.acquired, end.rig.released, end.summary.error);
}

/* Or it has not, as the message changes nothing. */
static void accepted(struct source s, const char *what, const char *which)
{
	struct end end;

	s.waits = true;
	meet(&s, &end);
	if (end.outcome != SEVMIRROR_MIGRATED || end.rig.resumed != 1 || end.rig.loaded != 1)
		fail_msg("%s %s: %s, '%s'", which, what, sevmirror_outcome_name(end.outcome),
			 end.summary.error);
}

static void leave_out(struct source *s, unsigned int at)
{
	s->n--;
	for (unsigned int i = at; i < s->n; i++)
		s->plan[i] = s->plan[i + 1];
}

static void put_in(struct source *s, unsigned int at, enum step step)
{
	for (unsigned int i = s->n; i > at; i--)
		s->plan[i] = s->plan[i - 1];
	s->plan[at] = step;
	s->n++;
}

static void an_honest_source_migrates_its_guest(void **state)
{
	accepted(honest(), "as it should be", "everything");
}

/* But a round: there may be any number of them. */
static void each_message_is_required(void **state)
{
	for (unsigned int i = 0; i < STEPS; i++) {
		struct source s = honest();

		leave_out(&s, i);
		if (i != ROUND)
			refused(s, "is left out", names[i]);
	}
}

/*
 * An import that begins again in its middle: whatever comes a second time ends it, but a round, as
 * there may be many, and what comes when the guest has started, as nobody reads it.
 */
static void each_message_comes_once(void **state)
{
	for (unsigned int i = 0; i < STEPS; i++)
		for (unsigned int at = i + 1; at <= STEPS; at++) {
			struct source s = honest();
			char what[64];

			if (i == STREAMS)
				continue; /* a third connection is nobody's */
			put_in(&s, at, (enum step)i);
			snprintf(what, sizeof(what), "again before step %u", at);
			if (at == STEPS || (i == ROUND && at <= STATE))
				accepted(s, what, names[i]);
			else
				refused(s, what, names[i]);
		}
}

static void two_messages_in_the_other_order(void **state)
{
	for (unsigned int i = 0; i + 1 < STEPS; i++) {
		struct source s = honest();

		if (i == STREAMS || i + 1 == STREAMS)
			continue; /* another connection has no order with this one */
		s.plan[i] = (enum step)(i + 1);
		s.plan[i + 1] = (enum step)i;
		refused(s, "comes after the next one", names[i]);
	}
}

static size_t honest_length(enum step step)
{
	static uint8_t bytes[16384];

	switch (step) {
	case HELLO:
		return sizeof(struct wire_hello);
	case CORE:
		return rig_core(bytes, sizeof(bytes));
	case ROUND:
		return sizeof(struct wire_round);
	case MANIFEST:
		return rig_manifest(bytes, sizeof(bytes));
	case COMMIT:
		return 0;
	default:
		return 3;
	}
}

/* In the header: the body behind it is as long as ever. */
static void lengths_that_are_not_the_body_s(void **state)
{
	for (unsigned int i = 0; i < STEPS; i++) {
		uint32_t good = (uint32_t)honest_length((enum step)i);
		const uint32_t others[] = {
			0,	    1,		good - 1,	 good + 1,
			1u << 20,   1u << 31,	(1u << 31) + 12, UINT32_MAX - 11,
			UINT32_MAX, 0x80000000u
		};

		for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++) {
			struct source s = honest();
			char what[64];

			if (others[k] == good || i == STREAMS)
				continue;
			s.has_odd = true;
			s.odd = (enum step)i;
			s.odd_bytes = others[k];
			snprintf(what, sizeof(what), "with a length of %u", others[k]);
			refused(s, what, names[i]);
		}
	}
}

static uint64_t edit_value;
static enum step edit_step;

static void edit_blob_length(enum step step, void *body, size_t len)
{
	if (step == edit_step)
		((struct seal_blob *)body)->bytes = edit_value;
}

/* In a blob of the sealing session, where lengths have 64 bits. */
static void lengths_in_a_core_and_a_manifest(void **state)
{
	static const enum step steps[] = { CORE, MANIFEST };
	static const uint64_t values[] = { 0,	       1,
					   15,	       16,
					   1ULL << 31, 1ULL << 32,
					   1ULL << 63, (1ULL << 63) - 1,
					   UINT64_MAX, UINT64_MAX - 15 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++) {
			struct source s = honest();

			edit_step = steps[i];
			edit_value = values[k];
			s.edit = edit_blob_length;
			refused(s, "with another length in it", names[steps[i]]);
		}
}

static void edit_ram_bytes(enum step step, void *body, size_t len)
{
	if (step == HELLO)
		((struct wire_hello *)body)->ram_bytes = edit_value;
}

static void edit_flags(enum step step, void *body, size_t len)
{
	if (step == HELLO)
		((struct wire_hello *)body)->flags = (uint32_t)edit_value;
}

static void edit_ranges(enum step step, void *body, size_t len)
{
	struct seal_range range;

	if (step != CORE)
		return;
	memcpy(&range, (uint8_t *)body + sizeof(struct seal_core), sizeof(range));
	range.bytes = edit_value;
	memcpy((uint8_t *)body + sizeof(struct seal_core), &range, sizeof(range));
}

/* What was compared in the handshake is another thing later: memory, encryption, the memory map. */
static void an_attribute_that_changes_after_the_check(void **state)
{
	static const uint64_t sizes[] = { RIG_RAM_BYTES - (2 << 20), RIG_RAM_BYTES + (2 << 20),
					  1ULL << 40, 1ULL << 63 };
	struct source s;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		edit_value = sizes[i];
		s = honest();
		s.edit = edit_ram_bytes;
		refused(s, "has another size than the VM", "memory in HELLO");
		s = honest();
		s.edit = edit_ranges;
		refused(s, "has another range than the VM", "the core");
	}
	edit_value = WIRE_F_SEV;
	s = honest();
	s.edit = edit_flags;
	refused(s, "says that the VM is encrypted, and it is not", "HELLO");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_honest_source_migrates_its_guest),
		cmocka_unit_test(each_message_is_required),
		cmocka_unit_test(each_message_comes_once),
		cmocka_unit_test(two_messages_in_the_other_order),
		cmocka_unit_test(lengths_that_are_not_the_body_s),
		cmocka_unit_test(lengths_in_a_core_and_a_manifest),
		cmocka_unit_test(an_attribute_that_changes_after_the_check),
	};

	return cmocka_run_group_tests_name("migrate_attacks", tests, NULL, NULL);
}
