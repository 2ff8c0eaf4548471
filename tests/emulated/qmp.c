/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qmp SOCKET COMMAND...: speaks to a QEMU by its monitor (QMP), one JSON command after the other,
 * and prints the answer of each. Exit status 0 if all of them return, 1 with the first that is an
 * error, 2 if there is nobody to speak to.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_S 120

static bool begins(const char *line, const char *with)
{
	return strncmp(line, with, strlen(with)) == 0;
}

/* The next line that is no event. */
static bool answer(FILE *from, char **line, size_t *room)
{
	while (getline(line, room, from) > 0)
		if (begins(*line, "{\"return\"") || begins(*line, "{\"error\"") ||
		    begins(*line, "{\"QMP\""))
			return true;
	return false;
}

static FILE *monitor(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = PATIENCE_S };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return NULL;
	strcpy(address.sun_path, path);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return NULL;
	return fdopen(fd, "r");
}

static bool say(FILE *to, const char *command)
{
	size_t len = strlen(command);

	return send(fileno(to), command, len, MSG_NOSIGNAL) == (ssize_t)len &&
	       send(fileno(to), "\n", 1, MSG_NOSIGNAL) == 1;
}

int main(int argc, char **argv)
{
	FILE *qemu = argc > 2 ? monitor(argv[1]) : NULL;
	char *line = NULL;
	size_t room = 0;

	if (!qemu || !answer(qemu, &line, &room) ||
	    !say(qemu, "{\"execute\":\"qmp_capabilities\"}") || !answer(qemu, &line, &room)) {
		fprintf(stderr, "qmp: nobody answers\n");
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		if (!say(qemu, argv[i]) || !answer(qemu, &line, &room)) {
			fprintf(stderr, "qmp: no answer to %s\n", argv[i]);
			return 2;
		}
		fputs(line, stdout);
		if (begins(line, "{\"error\""))
			return 1;
	}
	return 0;
}
