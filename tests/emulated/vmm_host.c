/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the drivers need besides the guests of vmm_guest.c, inside and outside the emulated host:
 *
 *   vmm-host disk FILE              make a disk for the guest
 *   vmm-host answered FILE          has the guest written its part? exit status 0
 *   vmm-host checksum < TEXT        as the guest tells it
 *   vmm-host echo                   send back what comes to the port, one connection after the
 *                                   other
 *   vmm-host as UID BYTES COMMAND.. run a command as that user, who may lock so many bytes of
 *     memory
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/emulated/vmm_guest.h"

static int failed(const char *what)
{
	perror(what);
	return 1;
}

static int make_disk(const char *path)
{
	uint8_t *buf = calloc(2, GUEST_DISK_BYTES);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;

	if (fd < 0 || !buf) {
		free(buf);
		return failed(path);
	}
	guest_pattern(buf, GUEST_DISK_BYTES, GUEST_SEED_HOST);
	n = write(fd, buf, 2 * GUEST_DISK_BYTES);
	free(buf);
	return close(fd) || n != 2 * GUEST_DISK_BYTES ? failed(path) : 0;
}

static int answered(const char *path)
{
	uint8_t *buf = malloc(2 * GUEST_DISK_BYTES);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool good = fd >= 0 && buf && read(fd, buf, 2 * GUEST_DISK_BYTES) == 2 * GUEST_DISK_BYTES &&
		    guest_pattern_is(buf, GUEST_DISK_BYTES, GUEST_SEED_HOST) &&
		    guest_pattern_is(buf + GUEST_DISK_BYTES, GUEST_DISK_BYTES, GUEST_SEED_GUEST);

	if (fd >= 0)
		close(fd);
	free(buf);
	return !good;
}

static int checksum(void)
{
	char text[GUEST_SECRET_BYTES];
	size_t len = fread(text, 1, sizeof(text), stdin);

	printf("%016" PRIx64 "\n", guest_checksum(text, len));
	return 0;
}

static void echo(int fd)
{
	char buf[65536];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t sent = 0, s; sent < n; sent += s) {
			s = send(fd, buf + sent, (size_t)(n - sent), MSG_NOSIGNAL);
			if (s < 0)
				return;
		}
	}
}

static int serve(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(GUEST_NET_PORT) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client;

	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 4))
		return failed("the echo's port");
	while ((client = accept(fd, NULL, NULL)) >= 0) {
		echo(client);
		close(client);
	}
	return failed("accept");
}

static int run_as(char **argv)
{
	rlim_t bytes = strtoull(argv[1], NULL, 0);
	struct rlimit limit = { bytes, bytes };
	uid_t uid = (uid_t)strtoul(argv[0], NULL, 0);

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) || setgid(uid) || setuid(uid))
		return failed("another user");
	execvp(argv[2], argv + 2);
	return failed(argv[2]);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (argc == 3 && !strcmp(what, "disk"))
		return make_disk(argv[2]);
	if (argc == 3 && !strcmp(what, "answered"))
		return answered(argv[2]);
	if (argc == 2 && !strcmp(what, "checksum"))
		return checksum();
	if (argc == 2 && !strcmp(what, "echo"))
		return serve();
	if (argc > 4 && !strcmp(what, "as"))
		return run_as(argv + 2);
	fprintf(stderr,
		"usage: vmm-host disk FILE | answered FILE | checksum | echo | as UID BYTES "
		"COMMAND...\n");
	return 2;
}
