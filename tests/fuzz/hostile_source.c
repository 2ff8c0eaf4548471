/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile source, and the whole target against it: control messages, data connections' hellos, frames (those that are sealed rightly,
 * too: without TLS the key is everybody's). Each byte of the input is a step: one that an honest source would take, or one of the fuzzer's
 * own making. Whatever comes, the guest starts at most once, and only after its state was loaded and COMMIT was said.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "lib/migrate/clock.h"
#include "lib/migrate/control.h"
#include "lib/migrate/frame.h"
#include "lib/migrate/record.h"
#include "lib/mirror/region.h"
#include "tests/fuzz/migrate_rig.h"

#define PATIENCE_NS (5 * NS_PER_MS)
#define STEP_BYTES  8192
#define BYTES_MAX   150000 /* what a socket takes without a reader */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum step {
	STEP_HELLO,
	STEP_COMPAT,
	STEP_CONFIG,
	STEP_CORE,
	STEP_STREAMS,
	STEP_FRAMES,
	STEP_ROUND,
	STEP_STATE,
	STEP_MANIFEST,
	STEP_COMMIT,
	STEP_MESSAGE, /* of any type, with any body */
	STEP_BYTES_CONTROL,
	STEP_FRAME, /* sealed rightly, with any content */
	STEP_BYTES_STREAM,
	STEPS
};

struct attack {
	struct channel *control, *stream[RIG_STREAMS];
	struct frame_cipher *cipher[RIG_STREAMS];
	struct wire_hello hello;
	uint32_t rounds;
	bool committed;
	size_t sent, sent_stream[RIG_STREAMS];
};

static struct wire_hello honest_hello;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	size_t bytes;
	const void *image = region_image(&bytes);

	honest_hello = (struct wire_hello){ .major = WIRE_VERSION_MAJOR,
					    .minor = WIRE_VERSION_MINOR,
					    .streams = RIG_STREAMS,
					    .helper_version = HELPER_ABI_VERSION,
					    .ram_bytes = RIG_RAM_BYTES };
	SHA256(image, bytes, honest_hello.helper_digest);
	return 0;
}

static void say(struct attack *a, struct channel *channel, const void *bytes, size_t len)
{
	if (a->sent + len > BYTES_MAX)
		return;
	a->sent += len;
	(void)channel_send(channel, bytes, len, 0);
}

static void say_stream(struct attack *a, unsigned int s, const void *bytes, size_t len)
{
	say(a, a->stream[s], bytes, len);
	a->sent_stream[s] += len;
}

static void say_message(struct attack *a, uint16_t type, const void *body, size_t len)
{
	struct wire_header header = { .magic = WIRE_MAGIC, .type = type, .bytes = (uint32_t)len };

	say(a, a->control, &header, sizeof(header));
	say(a, a->control, body, len);
}

static void say_frame(struct attack *a, unsigned int s, struct wire_frame *header, void *directory,
		      size_t len)
{
	static const uint8_t payload[WIRE_MAX_PAYLOAD_BYTES];

	if (frame_seal(a->cipher[s], header, directory, len))
		abort();
	say_stream(a, s, header, sizeof(*header));
	say_stream(a, s, directory, header->directory_bytes);
	if (header->payload_bytes <= sizeof(payload))
		say_stream(a, s, payload, header->payload_bytes);
}

/* Two pages of each stream's. */
static void say_honest_frames(struct attack *a)
{
	for (unsigned int s = 0; s < RIG_STREAMS; s++) {
		uint8_t directory[sizeof(struct record_batch) + 2 * sizeof(struct record_private) +
				  FRAME_TAG_BYTES] = { 0 };
		struct wire_frame header = { .type = WIRE_FRAME_PRIVATE,
					     .records = 2,
					     .payload_bytes = 2 * 4096 };
		struct record_private records[2] = {
			{ .epoch = 1, .kind = HELPER_PAGE },
			{ .gpa = 4096, .epoch = 1, .kind = HELPER_PAGE, .index = 1 }
		};

		if (s != helper_ring_of(0, RIG_STREAMS))
			continue;
		memcpy(directory + sizeof(struct record_batch), records, sizeof(records));
		say_frame(a, s, &header, directory, sizeof(directory) - FRAME_TAG_BYTES);
	}
}

static void say_round(struct attack *a)
{
	struct wire_round round = { .round = ++a->rounds, .streams = RIG_STREAMS };

	for (unsigned int s = 0; s < RIG_STREAMS; s++)
		round.frames[s] = frame_count(a->cipher[s]);
	say_message(a, WIRE_ROUND, &round, sizeof(round));
}

static void say_core(struct attack *a)
{
	uint8_t body[sizeof(uint32_t) + 4096] = { 0 };

	for (uint32_t i = 0; i < RIG_CORE_PAGES; i++) {
		memcpy(body, &i, sizeof(i));
		say_message(a, WIRE_CORE_SECRET, body, sizeof(body));
	}
	say_message(a, WIRE_CORE_DONE, NULL, 0);
}

static void say_stream_hellos(struct attack *a)
{
	struct wire_stream_hello hello;

	for (unsigned int s = 0; s < RIG_STREAMS; s++) {
		if (frame_make_hello(a->cipher[s], &hello))
			abort();
		say_stream(a, s, &hello, sizeof(hello));
	}
}

/* A few bytes of the hello changed: where, and to what. */
static void say_hello(struct attack *a, struct rig_bytes *in)
{
	for (unsigned int n = rig_byte(in) % 4; n; n--) {
		unsigned int at = rig_byte(in) % sizeof(a->hello);

		((uint8_t *)&a->hello)[at] = rig_byte(in);
	}
	say_message(a, WIRE_HELLO, &a->hello, sizeof(a->hello));
}

/* A frame whose seal is right. Shared pages are as long as they must be, so that the fuzzer need not find 4 KiB. */
static void say_fuzzed_frame(struct attack *a, struct rig_bytes *in)
{
	static uint8_t directory[RECORD_SHARED_BYTES];
	unsigned int s = rig_byte(in) % RIG_STREAMS, shape = rig_byte(in);
	struct wire_frame header = { .type = shape & 3, .records = rig_byte(in) };
	size_t len;

	memset(directory, 0, sizeof(directory));
	header.payload_bytes = (shape >> 2 & 7) * 4096 + (shape & 0x80 ? 1 : 0);
	len = rig_take(in, directory, 255);
	if (shape & 0x40)
		len = header.type == WIRE_FRAME_SHARED ?
			      header.records * (sizeof(uint64_t) + 4096) :
			      sizeof(struct record_batch) +
				      header.records * sizeof(struct record_private);
	if (len > sizeof(directory) - FRAME_TAG_BYTES)
		len = sizeof(directory) - FRAME_TAG_BYTES;
	say_frame(a, s, &header, directory, len);
}

static void take_step(struct attack *a, struct rig_bytes *in)
{
	static uint8_t manifest[sizeof(struct wire_manifest)];
	uint8_t bytes[STEP_BYTES] = { 0 };
	size_t len;

	switch (rig_byte(in) % STEPS) {
	case STEP_HELLO:
		return say_hello(a, in);
	case STEP_COMPAT:
		return say_message(a, WIRE_COMPAT, "r", 1);
	case STEP_CONFIG:
		return say_message(a, WIRE_CONFIG, "r", 1);
	case STEP_CORE:
		return say_core(a);
	case STEP_STREAMS:
		return say_stream_hellos(a);
	case STEP_FRAMES:
		return say_honest_frames(a);
	case STEP_ROUND:
		return say_round(a);
	case STEP_STATE:
		return say_message(a, WIRE_STATE, "r", 1);
	case STEP_MANIFEST:
		memset(manifest, RIG_MANIFEST_TAG, sizeof(manifest));
		return say_message(a, WIRE_MANIFEST, manifest, sizeof(manifest));
	case STEP_COMMIT:
		a->committed = true;
		return say_message(a, WIRE_COMMIT, NULL, 0);
	case STEP_MESSAGE: {
		uint16_t type = rig_byte(in);

		a->committed |= type == WIRE_COMMIT;
		len = rig_take(in, bytes, sizeof(bytes));
		return say_message(a, type, bytes, len + rig_byte(in) * 16u);
	}
	case STEP_BYTES_CONTROL:
		a->committed = true; /* perhaps: a header is short enough to be guessed */
		len = rig_take(in, bytes, sizeof(bytes));
		return say(a, a->control, bytes, len);
	case STEP_FRAME:
		return say_fuzzed_frame(a, in);
	case STEP_BYTES_STREAM: {
		unsigned int s = rig_byte(in) % RIG_STREAMS;

		len = rig_take(in, bytes, sizeof(bytes));
		return say_stream(a, s, bytes, len);
	}
	}
}

/* A listening socket without a name in the file system. */
static int listen_anywhere(struct sockaddr_un *un, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*len = sizeof(*un);
	if (fd < 0 || bind(fd, (struct sockaddr *)un, sizeof(sa_family_t)) || listen(fd, 8) ||
	    getsockname(fd, (struct sockaddr *)un, len))
		abort();
	return fd;
}

static int dial(const struct sockaddr_un *un, socklen_t len, struct channel **channel)
{
	static const struct channel_security bare = { .insecure = true };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char why[128];

	if (fd < 0 || connect(fd, (const struct sockaddr *)un, len) ||
	    channel_open(channel, fd, false, &bare, 0, why, sizeof(why)))
		abort();
	return fd;
}

/* Everything is said before the target listens: it can answer nothing that would matter. */
static void attack(struct attack *a, int listen_fd, const struct sockaddr_un *un, socklen_t len,
		   struct rig_bytes *in)
{
	int fds[1 + RIG_STREAMS];

	a->hello = honest_hello;
	fds[0] = dial(un, len, &a->control);
	for (unsigned int s = 0; s < RIG_STREAMS; s++) {
		fds[1 + s] = dial(un, len, &a->stream[s]);
		if (frame_cipher_create(&a->cipher[s], a->control, a->hello.session, s))
			abort();
	}
	while (in->left)
		take_step(a, in);
	shutdown(fds[0], SHUT_WR);
	/* A stream that has begun stays open, as an honest one; the target does not wait for the hello of one that has not. */
	for (unsigned int s = 0; s < RIG_STREAMS; s++)
		if (a->sent_stream[s] < sizeof(struct wire_stream_hello))
			shutdown(fds[1 + s], SHUT_WR);
}

static void judge(const struct rig *rig, const struct attack *a, enum sevmirror_outcome outcome,
		  const struct sevmirror_summary *summary)
{
	rig_need(rig->resumed <= 1, "the guest was started twice");
	rig_need(!rig->resumed || (rig->loaded == 1 && rig->acquired == 1 && rig->built == 1),
		 "the guest was started before it was whole");
	rig_need(!rig->resumed || a->committed, "the guest was started without the source's word");
	rig_need((outcome == SEVMIRROR_MIGRATED) == (rig->resumed == 1),
		 "the outcome is not what happened");
	rig_need(outcome == SEVMIRROR_MIGRATED || summary->error[0], "a failure without a reason");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sevmirror_target_options options = { .security.insecure = true,
						    .max_streams = RIG_STREAMS,
						    .timeout = PATIENCE_NS };
	uint8_t answers[255];
	struct rig_bytes in = { data, size };
	struct sevmirror_summary summary;
	enum sevmirror_outcome outcome;
	struct sevmirror_migration *m;
	struct attack a = { 0 };
	struct sockaddr_un un;
	struct rig rig;
	char why[256];
	socklen_t len;

	rig_reset(&rig, answers, rig_take(&in, answers, sizeof(answers)));
	options.listen_fd = listen_anywhere(&un, &len);
	attack(&a, options.listen_fd, &un, len, &in);
	if (sevmirror_target_create(&m, &rig_ops, &rig, &options, why, sizeof(why)))
		abort();
	outcome = sevmirror_migration_run(m, &summary);
	sevmirror_migration_destroy(m);
	judge(&rig, &a, outcome, &summary);
	for (unsigned int s = 0; s < RIG_STREAMS; s++) {
		channel_close(a.stream[s]);
		frame_cipher_destroy(a.cipher[s]);
	}
	channel_close(a.control);
	close(options.listen_fd);
	return 0;
}
