/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /init of the Linux guests that sevmirror runs. What it is to do follows "--" on the kernel's
 * command line, in that order; it says on the console what came of it and then powers off.
 *
 *   disk         /dev/vda: read what the host has left, write an answer, read it back from the
 *                medium
 *   net          TCP with the host's end of the tap: a greeting, then a megabyte there and back
 *   secret=GPA   what the owner has injected there: its checksum
 *   canary=WORD  fill private memory with WORD, its letters turned by 13, so that no file of the
 *                host has it
 *   wait         count on the console until the power button is pressed
 *   reboot       instead of powering off
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/input.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "demo/guest/system.h"
#include "tests/emulated/vmm_guest.h"

#define STEP_MS 50

static bool result(const char *what, bool good)
{
	printf("guest: %s %s\n", what, good ? "good" : "bad");
	if (!good)
		printf("guest: errno %d: %s\n", errno, strerror(errno));
	return good;
}

static bool try_disk(void)
{
	uint8_t *buf = aligned_alloc(4096, GUEST_DISK_BYTES);
	int fd = system_open_late("/dev/vda", O_RDWR);
	bool good;

	if (fd < 0 || !buf)
		return false;
	good = pread(fd, buf, GUEST_DISK_BYTES, 0) == GUEST_DISK_BYTES &&
	       guest_pattern_is(buf, GUEST_DISK_BYTES, GUEST_SEED_HOST);
	guest_pattern(buf, GUEST_DISK_BYTES, GUEST_SEED_GUEST);
	good &= pwrite(fd, buf, GUEST_DISK_BYTES, GUEST_DISK_BYTES) == GUEST_DISK_BYTES &&
		fsync(fd) == 0 && ioctl(fd, BLKFLSBUF, 0) == 0;
	close(fd);
	memset(buf, 0, GUEST_DISK_BYTES);
	fd = open("/dev/vda", O_RDONLY | O_DIRECT | O_CLOEXEC);
	good &= fd >= 0 && pread(fd, buf, GUEST_DISK_BYTES, GUEST_DISK_BYTES) == GUEST_DISK_BYTES &&
		guest_pattern_is(buf, GUEST_DISK_BYTES, GUEST_SEED_GUEST);
	if (fd >= 0)
		close(fd);
	free(buf);
	return good;
}

/* Send and receive at once, as the peer sends back what it gets while we send. */
static bool echo(int fd, const uint8_t *out, uint8_t *in, size_t len)
{
	size_t sent = 0, got = 0;

	while (got < len) {
		struct pollfd p = { .fd = fd,
				    .events = (short)(POLLIN | (sent < len ? POLLOUT : 0)) };
		ssize_t n;

		if (poll(&p, 1, GUEST_NET_WAIT_MS) <= 0)
			return false;
		if (p.revents & POLLOUT) {
			n = send(fd, out + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN)
				return false;
			sent += n > 0 ? (size_t)n : 0;
		}
		if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
			n = recv(fd, in + got, len - got, MSG_DONTWAIT);
			if (n == 0 || (n < 0 && errno != EAGAIN))
				return false;
			got += n > 0 ? (size_t)n : 0;
		}
	}
	return true;
}

static bool try_net(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(GUEST_NET_PORT) };
	uint8_t *out = malloc(GUEST_NET_BYTES), *in = malloc(GUEST_NET_BYTES);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool good;

	inet_pton(AF_INET, GUEST_NET_HOST, &to.sin_addr);
	good = out && in && system_set_address("eth0", GUEST_NET_GUEST) &&
	       connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
	if (good) {
		guest_pattern(out, GUEST_NET_BYTES, GUEST_SEED_NET);
		good = echo(fd, out, in, GUEST_NET_BYTES) && !memcmp(in, out, GUEST_NET_BYTES);
	}
	close(fd);
	free(out);
	free(in);
	return good;
}

/* The text at gpa, up to the first zero: only its checksum is told. */
static bool tell_secret(const char *gpa)
{
	char *secret = calloc(1, GUEST_SECRET_BYTES + 1);
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	ssize_t n = secret && fd >= 0 ?
			    pread(fd, secret, GUEST_SECRET_BYTES, (off_t)strtoull(gpa, NULL, 0)) :
			    -1;

	if (n > 0)
		printf("guest: secret of %zu bytes, checksum %016llx\n", strlen(secret),
		       (unsigned long long)guest_checksum(secret, strlen(secret)));
	if (fd >= 0)
		close(fd);
	free(secret);
	return n == GUEST_SECRET_BYTES;
}

/* Kept until the end of the guest. */
static bool fill_canary(const char *word)
{
	char turned[GUEST_CANARY_STEP] = "", *mem;

	for (size_t i = 0; word[i] && i + 1 < sizeof(turned); i++)
		turned[i] = guest_turned(word[i]);
	mem = mmap(NULL, GUEST_CANARY_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (mem == MAP_FAILED)
		return false;
	for (size_t i = 0; i < GUEST_CANARY_BYTES; i += sizeof(turned))
		memcpy(mem + i, turned, sizeof(turned));
	explicit_bzero(turned, sizeof(turned));
	return true;
}

static bool pressed(int fd)
{
	struct input_event event;

	return read(fd, &event, sizeof(event)) == sizeof(event) && event.type == EV_KEY &&
	       event.code == KEY_POWER && event.value == 1;
}

static bool wait_for_button(void)
{
	int fd = system_open_late("/dev/input/event0", O_RDONLY | O_NONBLOCK);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (fd < 0)
		return false;
	for (unsigned int n = 0; !(poll(&p, 1, STEP_MS) > 0 && pressed(fd)); n++)
		printf("guest: count %u\n", n);
	close(fd);
	return true;
}

static void do_word(const char *word)
{
	if (!strcmp(word, "disk"))
		result("disk", try_disk());
	else if (!strcmp(word, "net"))
		result("net", try_net());
	else if (!strncmp(word, "secret=", 7))
		result("secret", tell_secret(word + 7));
	else if (!strncmp(word, "canary=", 7))
		result("canary", fill_canary(word + 7));
	else if (!strcmp(word, "wait"))
		result("button", wait_for_button());
	else if (strcmp(word, "reboot") != 0)
		printf("guest: unexpected argument '%s'\n", word);
}

int main(int argc, char **argv)
{
	bool again = false;

	setvbuf(stdout, NULL, _IOLBF, 0);
	system_start();
	printf("guest: user space reached, %ld CPUs\n", sysconf(_SC_NPROCESSORS_ONLN));
	for (int i = 1; i < argc; i++) {
		do_word(argv[i]);
		again |= !strcmp(argv[i], "reboot");
	}
	printf("guest: %s\n", again ? "reboots" : "powers off");
	fflush(stdout);
	sync();
	reboot(again ? RB_AUTOBOOT : RB_POWER_OFF);
	for (;;)
		pause();
}
