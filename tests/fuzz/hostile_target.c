/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile target, and the whole source against it: what it answers on the control connection,
 * whatever that is. In the end the guest is in one of three places, and the source knows in which:
 * here, running; there; or nobody knows, and then it is paused here. The first byte says whether
 * the source wants post-copy: then the guest may also be there with pages missing, and the source
 * tries a recovery, which the target answers with a proof that holds, or nearly.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "helper/protocol.h"
#include "lib/net/address.h"
#include "lib/util/clock.h"
#include "lib/migrate/recover.h"
#include "lib/migrate/wire.h"
#include "lib/mirror/region.h"
#include "tests/fuzz/migrate_rig.h"

#define PATIENCE_NS (5 * NS_PER_MS)
#define ANSWERS_MAX 65536
#define ROUNDS_MAX  3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int __wrap_RAND_bytes(unsigned char *buf, int num);

enum step {
	STEP_HELLO,
	STEP_ACCEPT,
	STEP_CORE_DONE,
	STEP_ROUND,
	STEP_READY,
	STEP_RUNNING,
	STEP_ABORT,
	STEP_MESSAGE, /* of any type, with any body */
	STEP_BYTES,
	STEPS,
	/* bytes from RARE on, so that the corpus keeps its meaning */
	STEP_ACCEPT_EDITED,
	STEP_RECOVER /* what follows is for a second connection, and begins with RECOVER */
};

#define RARE	     0xf0
#define RARE_RECOVER 0xf8

struct attack {
	int listen_fd, quit_fd;
	uint8_t said[ANSWERS_MAX];
	size_t len, before_commit,
		before_last_page; /* all, and what it says before it hears these */
	size_t first_end; /* where the words of the first connection end; 0: there is no second */
	size_t spoken;
	uint32_t rounds;
	bool postcopy;
	bool running; /* RUNNING is among what it says */
};

static struct wire_hello honest_hello;
static char address[64];
static int listen_fd;
static struct channel *bare; /* without TLS an exporter's bytes are the same on all channels */

/* The source's name of the session, which a target must echo, is the same each time. */
int __wrap_RAND_bytes(unsigned char *buf, int num)
{
	memset(buf, 0, (size_t)num);
	return 1;
}

static void open_bare(void)
{
	static const struct channel_security insecure = { .insecure = true };
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) ||
	    channel_open(&bare, fds[0], false, &insecure, 0, NULL))
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct why why;
	size_t bytes;
	const void *image = region_image(&bytes);

	honest_hello = (struct wire_hello){ .major = WIRE_VERSION_MAJOR,
					    .minor = WIRE_VERSION_MINOR,
					    .streams = RIG_STREAMS,
					    .helper_version = HELPER_ABI_VERSION };
	SHA256(image, bytes, honest_hello.helper_digest);
	open_bare();
	listen_fd = address_listen("127.0.0.1:0", &why);
	if (listen_fd < 0 || address_of(listen_fd, address, sizeof(address)))
		abort();
	return 0;
}

static void say(struct attack *a, const void *bytes, size_t len)
{
	if (len > sizeof(a->said) - a->len)
		return;
	if (len)
		memcpy(a->said + a->len, bytes, len);
	a->len += len;
}

static void say_message(struct attack *a, uint16_t type, const void *body, size_t len)
{
	struct wire_header header = { .magic = WIRE_MAGIC, .type = type, .bytes = (uint32_t)len };

	say(a, &header, sizeof(header));
	say(a, body, len);
}

static void say_hello(struct attack *a, struct rig_bytes *in)
{
	struct wire_hello hello = honest_hello;

	hello.flags |= a->postcopy ? WIRE_F_POSTCOPY : 0;
	for (unsigned int n = rig_byte(in) % 4; n; n--) {
		unsigned int at = rig_byte(in) % sizeof(hello);

		((uint8_t *)&hello)[at] = rig_byte(in);
	}
	say_message(a, WIRE_HELLO, &hello, sizeof(hello));
}

static void edit(struct rig_bytes *in, unsigned int n, void *message, size_t len)
{
	while (n--) {
		unsigned int at = rig_byte(in) % len;

		((uint8_t *)message)[at] = rig_byte(in);
	}
}

/* The source's random numbers are zeros, so that the proof is known before it asks. */
static void say_recover(struct attack *a, struct rig_bytes *in)
{
	struct sevmirror_migration target = { .control = bare };
	uint64_t missing[2][RIG_PAGES / 64] = { 0 };
	struct wire_recover proof = { 0 };
	uint8_t shape = rig_byte(in);

	if (a->first_end || recover_prepare(&target) || recover_make(&target, bare, &proof))
		return;
	a->first_end = a->len;
	edit(in, shape % 3, &proof, sizeof(proof));
	say_message(a, WIRE_RECOVER, &proof, sizeof(proof));
	missing[shape >> 2 & 1][rig_byte(in) % (RIG_PAGES / 64)] = rig_byte(in);
	if (!(shape & 8))
		say_message(a, WIRE_MISSING, missing, sizeof(missing));
}

static void take_step(struct attack *a, struct rig_bytes *in)
{
	uint8_t bytes[8192] = { 0 };
	struct wire_round round = { 0 };
	unsigned int step = rig_byte(in);
	uint8_t type;
	size_t len;

	if (step < RARE)
		step %= STEPS;
	else
		step = step < RARE_RECOVER ? STEP_ACCEPT_EDITED : STEP_RECOVER;
	switch (step) {
	case STEP_HELLO:
		return say_hello(a, in);
	case STEP_ACCEPT:
		len = rig_offer(bytes, sizeof(bytes));
		return say_message(a, WIRE_ACCEPT, bytes, len);
	case STEP_ACCEPT_EDITED:
		len = rig_offer(bytes, sizeof(bytes));
		edit(in, 1 + rig_byte(in) % 4, bytes, len);
		return say_message(a, WIRE_ACCEPT, bytes, len);
	case STEP_RECOVER:
		return say_recover(a, in);
	case STEP_CORE_DONE:
		return say_message(a, WIRE_CORE_DONE, NULL, 0);
	case STEP_ROUND:
		round.round = ++a->rounds;
		return say_message(a, WIRE_ROUND, &round, sizeof(round));
	case STEP_READY:
		say_message(a, WIRE_READY, NULL, 0);
		a->before_commit = a->before_commit ? a->before_commit : a->len;
		return;
	case STEP_RUNNING:
		a->running = true;
		return say_message(a, WIRE_RUNNING, NULL, 0);
	case STEP_ABORT:
		len = rig_take(in, bytes, 255);
		return say_message(a, WIRE_ABORT, bytes, len);
	case STEP_MESSAGE:
		type = rig_byte(in);
		a->running |= type == WIRE_RUNNING;
		if (type == WIRE_LAST_PAGE && !a->before_last_page)
			a->before_last_page = a->len;
		len = rig_take(in, bytes, 255);
		return say_message(a, type, bytes, len + rig_byte(in) * 16u);
	case STEP_BYTES:
		a->running = true; /* perhaps */
		len = rig_take(in, bytes, 255);
		return say(a, bytes, len);
	}
}

static void speak(struct attack *a, int fd, size_t to)
{
	if (to > a->spoken)
		(void)!send(fd, a->said + a->spoken, to - a->spoken, MSG_NOSIGNAL);
	a->spoken = to > a->spoken ? to : a->spoken;
	if (a->spoken == a->first_end)
		shutdown(fd, SHUT_WR);
}

/* To a source that is back: all of it at once. */
static void speak_again(const struct attack *a, int fd)
{
	(void)!send(fd, a->said + a->first_end, a->len - a->first_end, MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
}

static bool asks_for_recovery(const uint8_t *bytes, size_t len)
{
	struct wire_header header;

	if (len < sizeof(header))
		return false;
	memcpy(&header, bytes, sizeof(header));
	return header.magic == WIRE_MAGIC && header.type == WIRE_RECOVER;
}

/*
 * Whether what came on the control connection, len bytes of it, ends with a message of this type
 * and no body.
 */
static bool hears(const uint8_t *bytes, size_t len, enum wire_type type)
{
	const struct wire_header header = { .magic = WIRE_MAGIC, .type = (uint16_t)type };

	return len >= sizeof(header) &&
	       memcmp(bytes + len - sizeof(header), &header, sizeof(header)) == 0;
}

static void listen_to(struct attack *a, int fd, const uint8_t *bytes, size_t len)
{
	if (hears(bytes, len, WIRE_COMMIT))
		speak(a, fd, a->before_last_page);
	if (hears(bytes, len, WIRE_LAST_PAGE))
		speak(a, fd, a->first_end);
}

/*
 * Says all its words at once, but those behind READY once it hears COMMIT, and LAST_PAGE once it
 * hears that, as the source minds what comes too early. It listens to nothing else; the connections
 * are emptied, so that the source is not held up.
 */
static void *serve(void *arg)
{
	struct attack *a = arg;
	struct pollfd p[2 + 2 * (1 + RIG_STREAMS + 1)] = {
		{ .fd = a->quit_fd, .events = POLLIN }, { .fd = a->listen_fd, .events = POLLIN }
	};
	static uint8_t sink[65536];
	nfds_t n = 2;

	while (!p[0].revents) {
		for (nfds_t i = 2; i < n; i++) {
			ssize_t got = p[i].revents ? recv(p[i].fd, sink, sizeof(sink), 0) : 0;

			if (i == 2 && got > 0)
				listen_to(a, p[i].fd, sink, (size_t)got);
			else if (got > 0 && asks_for_recovery(sink, (size_t)got))
				speak_again(a, p[i].fd);
			if (p[i].revents && got <= 0)
				p[i].events = 0, p[i].fd = -1 - p[i].fd;
		}
		if (p[1].revents && n < sizeof(p) / sizeof(p[0])) {
			p[n] = (struct pollfd){ .fd = address_accept(a->listen_fd, 0),
						.events = POLLIN };
			if (n == 2)
				speak(a, p[n].fd, a->before_commit);
			n++;
		}
		poll(p, n, -1);
	}
	for (nfds_t i = 2; i < n; i++)
		close(p[i].fd >= 0 ? p[i].fd : -1 - p[i].fd);
	return NULL;
}

static void judge(const struct rig *rig, const struct attack *a, enum sevmirror_outcome outcome,
		  const struct sevmirror_summary *summary)
{
	switch (outcome) {
	case SEVMIRROR_MIGRATED:
		rig_need(a->running && rig->handed_over == 1 && !rig->resumed && rig->released,
			 "the guest was given away without the target's word");
		break;
	case SEVMIRROR_BROKEN:
	case SEVMIRROR_LOST:
		rig_need(a->postcopy && a->running && rig->paused == 1 && !rig->resumed &&
				 rig->released && !rig->handed_over,
			 "a guest whose pages are here is said to run there, and nobody said that");
		break;
	case SEVMIRROR_UNKNOWN:
		rig_need(rig->paused == 1 && !rig->resumed && !rig->handed_over,
			 "an undecided guest is not stopped");
		break;
	default:
		rig_need(rig->paused == rig->resumed && rig->released == rig->acquired &&
				 !rig->handed_over,
			 "the guest did not get back what it had");
	}
	rig_need(outcome == SEVMIRROR_MIGRATED || summary->error[0], "a failure without a reason");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sevmirror_source_options options = { .address = address,
						    .security.insecure = true,
						    .streams = RIG_STREAMS,
						    .max_rounds = ROUNDS_MAX,
						    .timeout = PATIENCE_NS };
	static struct attack a;
	uint8_t answers[255];
	struct rig_bytes in = { data, size };
	struct sevmirror_summary summary;
	enum sevmirror_outcome outcome;
	struct sevmirror_migration *m;
	pthread_t thread;
	struct rig rig;
	char why[256];
	int quit[2], stranger;

	a.postcopy = rig_byte(&in) & 1;
	rig_reset(&rig, answers, rig_take(&in, answers, sizeof(answers)));
	a.len = a.before_commit = a.before_last_page = a.spoken = a.rounds = 0;
	a.first_end = 0;
	a.running = false;
	options.postcopy = a.postcopy ? SEVMIRROR_POSTCOPY_ALWAYS : SEVMIRROR_POSTCOPY_NEVER;
	while (in.left)
		take_step(&a, &in);
	if (!a.first_end)
		a.first_end = a.len;
	if (!a.before_last_page || a.before_last_page > a.first_end)
		a.before_last_page = a.first_end;
	if (!a.before_commit || a.before_commit > a.before_last_page)
		a.before_commit = a.before_last_page;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, quit))
		abort();
	a.listen_fd = listen_fd;
	a.quit_fd = quit[0];
	if (pthread_create(&thread, NULL, serve, &a) ||
	    sevmirror_source_create(&m, &rig_ops, &rig, &options, why, sizeof(why)))
		abort();
	outcome = sevmirror_migration_run(m, &summary);
	if (a.postcopy && (outcome == SEVMIRROR_BROKEN || outcome == SEVMIRROR_UNKNOWN)) {
		judge(&rig, &a, outcome, &summary);
		outcome = sevmirror_migration_recover(m, NULL, &summary);
	}
	sevmirror_migration_destroy(m);
	close(quit[1]);
	pthread_join(thread, NULL);
	close(quit[0]);
	while ((stranger = address_accept(listen_fd, 0)) >= 0)
		close(stranger);
	judge(&rig, &a, outcome, &summary);
	return 0;
}
