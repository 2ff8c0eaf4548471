/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "demo/guest/guest.h"
#include "demo/guest/system.h"
#include "demo/message.h"
#include "tests/emulated/canary.h"

#define PAUSE_MS      50
#define PATIENCE_S    120 /* the connection outlives the guest's stop, not its host's */
#define CONNECT_TRIES 600
#define CONNECT_PAUSE 100

static struct {
	pthread_t thread;
	struct sockaddr_in peer;
	bool talks;
	_Atomic uint64_t messages;
} talk;

/* The peer may come up later than the guest. */
static int connect_to_peer(void)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	int fd = -1;

	for (int tries = 0; tries < CONNECT_TRIES && !guest_ends(); tries++) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (!connect(fd, (struct sockaddr *)&talk.peer, sizeof(talk.peer)))
			break;
		close(fd);
		fd = -1;
		guest_sleep_ms(CONNECT_PAUSE);
	}
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static bool say(int fd, uint64_t number)
{
	struct message out = { .number = number }, in;

	for (int i = 0; i < MESSAGE_WORDS - 1; i++)
		canary_make(&canary_shared, &out.canary[i]);
	if (send(fd, &out, sizeof(out), MSG_NOSIGNAL) != sizeof(out)) {
		guest_error("message %" PRIu64 ": %s", number, strerror(errno));
		return false;
	}
	errno = 0;
	if (recv(fd, &in, sizeof(in), MSG_WAITALL) != sizeof(in)) {
		guest_error("no answer to message %" PRIu64 ": %s", number,
			    errno ? strerror(errno) : "the connection has ended");
		return false;
	}
	if (memcmp(&in, &out, sizeof(in)) != 0) {
		guest_error("the answer to message %" PRIu64 " is another one", number);
		return false;
	}
	return true;
}

static void *work(void *opaque)
{
	int fd = connect_to_peer();

	if (fd < 0)
		guest_error("the outside cannot be reached");
	for (uint64_t number = 1; fd >= 0 && !guest_ends() && say(fd, number); number++) {
		talk.messages = number;
		guest_sleep_ms(PAUSE_MS);
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

void talk_start(const char *guest, const char *peer)
{
	talk.peer = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(MESSAGE_PORT) };
	if (inet_pton(AF_INET, peer, &talk.peer.sin_addr) != 1 ||
	    !system_set_address("eth0", guest)) {
		guest_error("no network as %s with %s", guest, peer);
		return;
	}
	talk.talks = !pthread_create(&talk.thread, NULL, work, NULL);
	if (!talk.talks)
		guest_error("no thread for the network");
}

void talk_end(void)
{
	if (talk.talks)
		pthread_join(talk.thread, NULL);
}

uint64_t talk_messages(void)
{
	return talk.messages;
}
