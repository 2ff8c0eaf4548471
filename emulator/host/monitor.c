/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sev-host-monitor QMP-SOCKET hmp COMMAND
 * sev-host-monitor QMP-SOCKET dump FILE RAM-BYTES
 *
 * Talks to the QEMU of an emulated host from outside: one command of its human monitor, or all RAM
 * as it is on the memory bus.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * Where q35 puts RAM (hw/i386/pc_q35.c): all of it from 0, or, from 2816 MiB on, 2 GiB there and
 * the rest at 4 GiB.
 */
#define Q35_SPLIT_FROM 0xb0000000ull
#define Q35_LOW	       0x80000000ull
#define Q35_HIGH       0x100000000ull

static int connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path) >=
	    (int)sizeof(addr.sun_path))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The next message that is an answer, not an event. The caller releases it. */
static json_t *answer(int fd)
{
	json_t *j;

	while ((j = json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL))) {
		if (json_object_get(j, "return") || json_object_get(j, "error") ||
		    json_object_get(j, "QMP"))
			return j;
		json_decref(j);
	}
	return NULL;
}

/*
 * Executes @name; takes @arguments. Returns the result (release it) or NULL after saying what was
 * wrong.
 */
static json_t *execute(int fd, const char *name, json_t *arguments)
{
	json_t *ask = json_pack("{s:s, s:o*}", "execute", name, "arguments", arguments);
	json_t *got = NULL, *result = NULL;
	const char *why = "QEMU does not answer";

	if (ask && !json_dumpfd(ask, fd, JSON_COMPACT)) {
		got = answer(fd);
		result = json_object_get(got, "return");
		if (json_object_get(got, "error"))
			why = json_string_value(
				json_object_get(json_object_get(got, "error"), "desc"));
	}
	if (result)
		json_incref(result);
	else
		fprintf(stderr, "sev-host: %s: %s\n", name, why ? why : "no reason given");
	json_decref(got);
	json_decref(ask);
	return result;
}

static bool done(json_t *result)
{
	json_decref(result);
	return result != NULL;
}

static bool hmp(int fd, const char *command)
{
	json_t *text =
		execute(fd, "human-monitor-command", json_pack("{s:s}", "command-line", command));

	if (text && json_string_value(text))
		fputs(json_string_value(text), stdout);
	return done(text);
}

static bool save(int fd, uint64_t gpa, uint64_t bytes, const char *file)
{
	return done(execute(fd, "pmemsave",
			    json_pack("{s:I, s:I, s:s}", "val", (json_int_t)gpa, "size",
				      (json_int_t)bytes, "filename", file)));
}

/* Appends @part to @file and removes it. */
static bool append(const char *file, const char *part)
{
	static char piece[1 << 20];
	int in = open(part, O_RDONLY | O_CLOEXEC),
	    out = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
	ssize_t n = -1;

	if (in >= 0 && out >= 0)
		while ((n = read(in, piece, sizeof(piece))) > 0)
			if (write(out, piece, n) != n) {
				n = -1;
				break;
			}
	if (n < 0)
		fprintf(stderr, "sev-host: %s: %s\n", file, strerror(errno));
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	unlink(part);
	return !n;
}

/*
 * The host is stopped meanwhile, so that the picture is of one moment. QEMU reads RAM as a device
 * would: private pages as ciphertext.
 */
static bool dump(int fd, const char *file, uint64_t bytes)
{
	uint64_t low = bytes < Q35_SPLIT_FROM ? bytes : Q35_LOW;
	char part[4200];
	bool ok;

	snprintf(part, sizeof(part), "%s.high", file);
	/* a host must not stay stopped because its user was impatient */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (!done(execute(fd, "stop", NULL)))
		return false;
	ok = save(fd, 0, low, file) && (low == bytes || save(fd, Q35_HIGH, bytes - low, part));
	ok = done(execute(fd, "cont", NULL)) && ok;
	return ok && (low == bytes || append(file, part));
}

int main(int argc, char **argv)
{
	json_t *greeting;
	bool ok = false;
	int fd;

	if (!(argc == 4 && !strcmp(argv[2], "hmp")) && !(argc == 5 && !strcmp(argv[2], "dump"))) {
		fprintf(stderr,
			"usage: sev-host-monitor QMP-SOCKET hmp COMMAND | dump FILE RAM-BYTES\n");
		return 2;
	}
	fd = connect_to(argv[1]);
	if (fd < 0) {
		fprintf(stderr, "sev-host: %s: %s\n", argv[1], strerror(errno));
		return 125;
	}
	greeting = answer(fd);
	if (done(greeting) && done(execute(fd, "qmp_capabilities", NULL)))
		ok = argc == 4 ? hmp(fd, argv[3]) : dump(fd, argv[3], strtoull(argv[4], NULL, 10));
	close(fd);
	return ok ? 0 : 125;
}
