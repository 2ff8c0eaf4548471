/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: demo-outside   The other end of the guest's conversation (demo/message.h), outside of the
 *                       hosts that it moves between. It answers
 * each message, and says of each connection how far it counted without a gap.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "demo/message.h"

#define TELL_EVERY 100

/* Until the guest closes it; false: a message was missing or came twice. */
static bool answer(int fd, uint64_t *heard)
{
	struct message m;

	while (recv(fd, &m, sizeof(m), MSG_WAITALL) == sizeof(m)) {
		if (m.number != *heard + 1) {
			printf("outside: after message %llu came %llu\n",
			       (unsigned long long)*heard, (unsigned long long)m.number);
			return false;
		}
		*heard = m.number;
		if (send(fd, &m, sizeof(m), MSG_NOSIGNAL) != sizeof(m))
			break;
		if (*heard % TELL_EVERY == 0)
			printf("outside: heard 1 to %llu\n", (unsigned long long)*heard);
	}
	return true;
}

int main(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(MESSAGE_PORT) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client, yes = 1;
	unsigned int connections = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 4)) {
		perror("demo-outside: the port");
		return 1;
	}
	printf("outside: listens\n");
	while ((client = accept(fd, NULL, NULL)) >= 0) {
		uint64_t heard = 0;
		bool good = answer(client, &heard);

		printf("outside: connection %u has ended after messages 1 to %llu, %s\n",
		       ++connections, (unsigned long long)heard,
		       good ? "without a gap" : "WITH A GAP");
		close(client);
	}
	return 1;
}
