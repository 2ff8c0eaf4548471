/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile source, and the whole target against it: control messages, data connections' hellos,
 * frames (those that are sealed rightly, too: without TLS the key is everybody's), and, with
 * post-copy, later connections that prove to be the same source's. Each byte of the input is a
 * step: one that an honest source would take, or one of the fuzzer's own making. Whatever comes,
 * the guest starts at most once, and only after its state was loaded and COMMIT was said; it sees
 * no page that is missing; and no page is opened once the manifest was verified.
 *
 * Post-copy is armed with a real userfaultfd. Without one the target does not agree to it, and the
 * fuzzer says so.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "helper/protocol.h"
#include "lib/util/clock.h"
#include "lib/migrate/message.h"
#include "lib/migrate/page_frame.h"
#include "lib/migrate/record.h"
#include "lib/migrate/recover.h"
#include "lib/migrate/uffd.h"
#include "lib/mirror/region.h"
#include "tests/fuzz/migrate_rig.h"
#include "tests/fuzz/rig_frames.h"

#define PATIENCE_NS  (10 * NS_PER_MS)
#define STEP_BYTES   8192
#define BYTES_MAX    150000 /* what a socket takes without a reader */
#define STREAMS	     (RIG_STREAMS + 1) /* the last one is the priority stream */
#define CONNECTIONS  6
#define LISTEN_QUEUE 64 /* nobody accepts before the attack has begun */

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
	STEP_POSTCOPY, /* with the bitmaps of what is missing */
	STEP_PAGE, /* of an honest kind, on its own stream or the priority stream */
	STEP_LAST_PAGE,
	STEP_HANG_UP,
	STEP_RECOVER, /* a new connection, of the same source's or nearly */
	/* what follows is said once READY was heard, then when the connection has broken */
	STEP_LISTEN,
	STEP_CORE_EDITED,
	STEPS,
	STEP_MANIFEST_EDITED /* a byte from RARE on, so that the corpus keeps its meaning */
};

#define RARE 0xf8

/* A control connection and its data streams. */
struct connection {
	struct channel *control, *stream[STREAMS];
	int control_fd, stream_fd[STREAMS];
	struct frame_cipher *cipher[STREAMS];
	size_t sent, sent_stream[STREAMS];
};

struct attack {
	pthread_mutex_t lock; /* of all: several threads work on it */
	struct rig_bytes in;
	struct sockaddr_un door;
	socklen_t door_len;
	struct connection c[CONNECTIONS];
	unsigned int n;
	struct wire_hello hello;
	/* what recover.h wants to know of the source, if the target has heard its hello */
	struct sevmirror_migration source;
	bool known;
	struct sevmirror_migration *target;
	struct rig *rig;
	uint32_t rounds;
	bool committed;
	bool came_back; /* the last words had a recovery that holds */
};

static struct wire_hello honest_hello;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct why why = { "" };
	size_t bytes;
	const void *image = region_image(&bytes);
	int fd;

	honest_hello = (struct wire_hello){ .major = WIRE_VERSION_MAJOR,
					    .minor = WIRE_VERSION_MINOR,
					    .streams = RIG_STREAMS,
					    .helper_version = HELPER_ABI_VERSION,
					    .ram_bytes = RIG_RAM_BYTES };
	SHA256(image, bytes, honest_hello.helper_digest);
	fd = uffd_open(-1, &why);
	if (fd < 0)
		fprintf(stderr, "note: post-copy is not attacked: %s\n", why.text);
	else
		close(fd);
	return 0;
}

static struct connection *now(struct attack *a)
{
	return &a->c[a->n - 1];
}

static void say(struct connection *c, struct channel *channel, const void *bytes, size_t len)
{
	if (c->sent + len > BYTES_MAX || !channel)
		return;
	c->sent += len;
	(void)channel_send(channel, bytes, len, 0);
}

static void say_stream(struct attack *a, unsigned int s, const void *bytes, size_t len)
{
	say(now(a), now(a)->stream[s], bytes, len);
	now(a)->sent_stream[s] += len;
}

static void say_message(struct attack *a, uint16_t type, const void *body, size_t len)
{
	struct wire_header header = { .magic = WIRE_MAGIC, .type = type, .bytes = (uint32_t)len };

	say(now(a), now(a)->control, &header, sizeof(header));
	say(now(a), now(a)->control, body, len);
}

static void say_frame(struct attack *a, unsigned int s, struct wire_frame *header, void *directory,
		      size_t len)
{
	static const uint8_t payload[WIRE_MAX_PAYLOAD_BYTES];

	if (frame_seal(now(a)->cipher[s], header, directory, len))
		abort();
	say_stream(a, s, header, sizeof(*header));
	say_stream(a, s, directory, header->directory_bytes);
	if (header->payload_bytes <= sizeof(payload))
		say_stream(a, s, payload, header->payload_bytes);
}

static void say_private(struct attack *a, unsigned int s, uint64_t gfn, uint16_t n,
			enum helper_kind kind)
{
	static _Alignas(8) uint8_t directory[RECORD_SHARED_BYTES];
	struct wire_frame header;
	size_t len = rig_private_directory(&header, directory, gfn, n, kind);

	say_frame(a, s, &header, directory, len);
}

static void say_shared(struct attack *a, unsigned int s, uint64_t gfn, uint16_t n)
{
	static _Alignas(8) uint8_t directory[RECORD_SHARED_BYTES];
	struct wire_frame header;
	size_t len = rig_shared_directory(&header, directory, gfn, n, 0);

	say_frame(a, s, &header, directory, len);
}

static void say_page(struct attack *a, struct rig_bytes *in)
{
	uint64_t gfn = rig_byte(in) * 4u;
	uint8_t shape = rig_byte(in);
	unsigned int s;

	gfn += shape & 3;
	s = shape & 4 ? STREAMS - 1 : helper_ring_of(gfn, RIG_STREAMS);
	if (shape & 16)
		say_shared(a, s, gfn, shape & 32 ? 2 : 1);
	else
		say_private(a, s, gfn, shape & 32 ? 2 : 1, shape & 8 ? HELPER_ZERO : HELPER_PAGE);
}

static void say_round(struct attack *a)
{
	struct wire_round round = { .round = ++a->rounds, .streams = RIG_STREAMS };

	for (unsigned int s = 0; s < RIG_STREAMS; s++)
		round.frames[s] = frame_count(now(a)->cipher[s]);
	say_message(a, WIRE_ROUND, &round, sizeof(round));
}

static void say_stream_hellos(struct attack *a)
{
	unsigned int n = a->hello.flags & WIRE_F_POSTCOPY ? STREAMS : RIG_STREAMS;
	struct wire_stream_hello hello;

	for (unsigned int s = 0; s < n; s++) {
		if (frame_make_hello(now(a)->cipher[s], &hello))
			abort();
		say_stream(a, s, &hello, sizeof(hello));
	}
}

/* A few bytes changed: where, and to what. */
static void edit(struct rig_bytes *in, unsigned int n, void *message, size_t len)
{
	while (n--) {
		unsigned int at = rig_byte(in) % len;

		((uint8_t *)message)[at] = rig_byte(in);
	}
}

/* A core whose head may be another than it should be. */
static void say_core(struct attack *a, struct rig_bytes *in, unsigned int edits)
{
	static uint8_t core[16384];
	size_t len = rig_core(core, sizeof(core));

	edit(in, edits, core, 128);
	say_message(a, WIRE_CORE, core, len);
}

static void say_hello(struct attack *a, struct rig_bytes *in)
{
	uint8_t shape = rig_byte(in);

	if (shape & 4)
		a->hello.flags |= WIRE_F_POSTCOPY;
	edit(in, shape % 4, &a->hello, sizeof(a->hello));
	if (a->n == 1 && now(a)->sent == 0) {
		a->source = (struct sevmirror_migration){ .is_source = true,
							  .hello = a->hello,
							  .control = now(a)->control };
		if (recover_prepare(&a->source))
			abort();
		a->known = true;
	}
	say_message(a, WIRE_HELLO, &a->hello, sizeof(a->hello));
}

/* Ranges of missing pages, and, before it all begins, what the guest will touch. */
static void say_postcopy(struct attack *a, struct rig_bytes *in)
{
	uint64_t bitmaps[2][RIG_PAGES / 64] = { 0 };
	uint8_t shape = rig_byte(in);

	for (unsigned int n = shape % 4; n; n--) {
		unsigned int first = rig_byte(in) * 4u, kind = rig_byte(in);

		for (unsigned int i = first; i < first + kind % 128 && i < RIG_PAGES; i++)
			bitmaps[kind / 128][i / 64] |= 1ULL << i % 64;
	}
	if (!a->target) {
		a->rig->refuses = shape & 4;
		for (unsigned int i = 0; i < RIG_TOUCHES && shape & 8; i++)
			a->rig->touches[i] = rig_byte(in) * 4;
	}
	say_message(a, WIRE_POSTCOPY, NULL, 0);
	say_message(a, WIRE_MISSING, bitmaps, sizeof(bitmaps));
}

/*
 * A frame whose seal is right. Shared pages are as long as they must be, so that the fuzzer need
 * not find 4 KiB.
 */
static void say_fuzzed_frame(struct attack *a, struct rig_bytes *in)
{
	static _Alignas(8) uint8_t directory[RECORD_SHARED_BYTES];
	unsigned int s = rig_byte(in) % STREAMS, shape = rig_byte(in);
	struct wire_frame header = { .type = shape & 3, .records = rig_byte(in) };
	size_t len;

	memset(directory, 0, sizeof(directory));
	header.payload_bytes = (shape >> 2 & 7) * 4096 + (shape & 0x80 ? 1 : 0);
	len = rig_take(in, directory, 255);
	if (shape & 0x40)
		len = header.type == WIRE_FRAME_SHARED ?
			      header.records * (sizeof(uint64_t) + 4096) :
			      SEVMIRROR_BATCH_BYTES(header.records);
	if (shape & 0x40 && header.type != WIRE_FRAME_SHARED)
		((struct sevmirror_batch *)directory)->count = header.records;
	if (len > sizeof(directory) - FRAME_TAG_BYTES)
		len = sizeof(directory) - FRAME_TAG_BYTES;
	say_frame(a, s, &header, directory, len);
}

/* NULL, and -1 for the descriptor, when the target has gone. */
static struct channel *dial(struct attack *a, int *fd)
{
	static const struct channel_security bare = { .insecure = true };
	struct channel *channel;

	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		abort();
	if (connect(*fd, (const struct sockaddr *)&a->door, a->door_len)) {
		close(*fd);
		*fd = -1;
		return NULL;
	}
	if (channel_open(&channel, *fd, false, &bare, 0, NULL))
		abort();
	return channel;
}

static void dial_streams(struct attack *a, const uint8_t session[16])
{
	struct connection *c = now(a);

	for (unsigned int s = 0; s < STREAMS; s++) {
		c->stream[s] = dial(a, &c->stream_fd[s]);
		if (frame_cipher_create(&c->cipher[s], c->control, session,
					s < RIG_STREAMS ? s : WIRE_PRIORITY_STREAM))
			abort();
	}
}

static void come_back(struct attack *a, struct rig_bytes *in)
{
	struct wire_recover proof;
	uint8_t edits = rig_byte(in) % 4;

	if (a->n == CONNECTIONS || !a->known)
		return;
	a->n++;
	now(a)->control = dial(a, &now(a)->control_fd);
	if (!now(a)->control) {
		a->n--;
		return;
	}
	if (recover_make(&a->source, now(a)->control, &proof) ||
	    recover_name_streams(&a->source, &proof))
		abort();
	edit(in, edits, &proof, sizeof(proof));
	a->came_back |= !edits;
	say_message(a, WIRE_RECOVER, &proof, sizeof(proof));
	dial_streams(a, a->source.stream_session);
}

static void take_step(struct attack *a, unsigned int step)
{
	struct rig_bytes *in = &a->in;
	uint8_t bytes[STEP_BYTES] = { 0 };
	size_t len;

	switch (step) {
	case STEP_HELLO:
		return say_hello(a, in);
	case STEP_COMPAT:
		return say_message(a, WIRE_COMPAT, "r", 1);
	case STEP_CONFIG:
		return say_message(a, WIRE_CONFIG, "r", 1);
	case STEP_CORE:
		return say_core(a, in, 0);
	case STEP_CORE_EDITED:
		return say_core(a, in, 1 + rig_byte(in) % 4);
	case STEP_STREAMS:
		return say_stream_hellos(a);
	case STEP_FRAMES:
		return say_private(a, 0, 0, 2, HELPER_PAGE);
	case STEP_ROUND:
		return say_round(a);
	case STEP_STATE:
		return say_message(a, WIRE_STATE, "r", 1);
	case STEP_MANIFEST:
		len = rig_manifest(bytes, sizeof(bytes));
		return say_message(a, WIRE_MANIFEST, bytes, len);
	case STEP_MANIFEST_EDITED:
		len = rig_manifest(bytes, sizeof(bytes));
		edit(in, 1 + rig_byte(in) % 4, bytes, len);
		return say_message(a, WIRE_MANIFEST, bytes, len);
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
		return say(now(a), now(a)->control, bytes, len);
	case STEP_FRAME:
		return say_fuzzed_frame(a, in);
	case STEP_BYTES_STREAM: {
		unsigned int s = rig_byte(in) % STREAMS;

		len = rig_take(in, bytes, sizeof(bytes));
		return say_stream(a, s, bytes, len);
	}
	case STEP_POSTCOPY:
		return say_postcopy(a, in);
	case STEP_PAGE:
		return say_page(a, in);
	case STEP_LAST_PAGE:
		return say_message(a, WIRE_LAST_PAGE, NULL, 0);
	case STEP_HANG_UP:
		shutdown(now(a)->control_fd, SHUT_WR);
		return;
	case STEP_RECOVER:
		return come_back(a, in);
	}
}

/*
 * The steps up to STEP_LISTEN. A stream that has begun stays open, as an honest one; the target
 * does not wait for the hello of one that has not. True if a recovery was among them.
 */
static bool go_on(struct attack *a)
{
	unsigned int step = STEPS;
	bool came_back;

	pthread_mutex_lock(&a->lock);
	a->came_back = false;
	while (a->in.left && step != STEP_LISTEN) {
		step = rig_byte(&a->in);
		step = step < RARE ? step % STEPS : STEP_MANIFEST_EDITED;
		take_step(a, step);
	}
	for (unsigned int i = 0; i < a->n; i++)
		for (unsigned int s = 0; s < STREAMS; s++)
			if (a->c[i].sent_stream[s] < sizeof(struct wire_stream_hello))
				shutdown(a->c[i].stream_fd[s], SHUT_WR);
	came_back = a->came_back;
	pthread_mutex_unlock(&a->lock);
	return came_back;
}

/* A thread: waits for READY on the first connection. */
static void *listen_to(void *arg)
{
	struct attack *a = arg;
	struct channel *control = a->c[0].control;
	struct wire_header header;
	uint8_t sink[4096];

	while (channel_recv(control, &header, sizeof(header), -1) == 0) {
		for (size_t left = header.bytes, n; left; left -= n) {
			n = left < sizeof(sink) ? left : sizeof(sink);
			if (channel_recv(control, sink, n, -1))
				return NULL;
		}
		if (header.type == WIRE_READY)
			(void)go_on(a);
	}
	return NULL;
}

/* The connection has broken: the source comes back, or the target is told to wait no longer. */
static void hear_progress(void *opaque, enum sevmirror_phase phase)
{
	struct attack *a = opaque;

	if (phase == SEVMIRROR_PHASE_BROKEN && !go_on(a))
		sevmirror_migration_cancel(a->target);
}

/* A listening socket without a name in the file system. */
static int listen_anywhere(struct attack *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a->door = (struct sockaddr_un){ .sun_family = AF_UNIX };
	a->door_len = sizeof(a->door);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a->door, sizeof(sa_family_t)) ||
	    listen(fd, LISTEN_QUEUE) || getsockname(fd, (struct sockaddr *)&a->door, &a->door_len))
		abort();
	return fd;
}

static void hang_up(struct attack *a)
{
	for (unsigned int i = 0; i < a->n; i++) {
		for (unsigned int s = 0; s < STREAMS; s++) {
			channel_close(a->c[i].stream[s]);
			frame_cipher_destroy(a->c[i].cipher[s]);
		}
		channel_close(a->c[i].control);
	}
}

static void judge(const struct rig *rig, const struct attack *a, enum sevmirror_outcome outcome,
		  const struct sevmirror_summary *summary)
{
	rig_need(rig->resumed <= 1, "the guest was started twice");
	rig_need(!rig->resumed || (rig->loaded == 1 && rig->acquired == 1 && rig->built == 1 &&
				   !rig->load_blind),
		 "the guest was started before it was whole");
	rig_need(!rig->resumed || a->committed, "the guest was started without the source's word");
	rig_need((outcome == SEVMIRROR_MIGRATED || outcome == SEVMIRROR_LOST) ==
			 (rig->resumed == 1),
		 "the outcome is not what happened");
	rig_need(outcome != SEVMIRROR_LOST ||
			 (a->hello.flags | a->source.hello.flags) & WIRE_F_POSTCOPY,
		 "a guest that came whole is lost");
	rig_need(outcome != SEVMIRROR_MIGRATED || (!rig->guest_blind && rig_lacking() == 0),
		 "the guest has come, and pages have not");
	rig_need(!rig->guest_blind || outcome == SEVMIRROR_LOST,
		 "the guest saw a page that was missing");
	rig_need(outcome == SEVMIRROR_MIGRATED || summary->error[0], "a failure without a reason");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sevmirror_target_options options = { .security.insecure = true,
						    .max_streams = RIG_STREAMS,
						    .timeout = PATIENCE_NS };
	uint8_t answers[255];
	struct sevmirror_summary summary;
	enum sevmirror_outcome outcome;
	pthread_t listener;
	struct rig rig;
	struct attack a = { .lock = PTHREAD_MUTEX_INITIALIZER,
			    .in = { data, size },
			    .rig = &rig,
			    .hello = honest_hello };
	char why[256];

	rig_reset(&rig, answers, rig_take(&a.in, answers, sizeof(answers)));
	rig.progress = hear_progress;
	rig.progress_opaque = &a;
	options.listen_fd = listen_anywhere(&a);
	a.n = 1;
	now(&a)->control = dial(&a, &now(&a)->control_fd);
	dial_streams(&a, a.hello.session);
	(void)go_on(&a);
	if (sevmirror_target_create(&a.target, &rig_ops, &rig, &options, why, sizeof(why)) ||
	    pthread_create(&listener, NULL, listen_to, &a))
		abort();
	outcome = sevmirror_migration_run(a.target, &summary);
	sevmirror_migration_destroy(a.target);
	close(options.listen_fd);
	pthread_join(listener, NULL);
	rig_end(&rig);
	hang_up(&a);
	judge(&rig, &a, outcome, &summary);
	return 0;
}
