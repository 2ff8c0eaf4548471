/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /init of the guest that is migrated, in the demo and in the tests. It counts aloud twice a second
 * and does, all at the same time, what follows "--" on the kernel's command line:
 *
 *   memory=MIB      so much memory that verifies itself (default: 32)
 *   threads=N       on so many CPUs (default: 1)
 *   idle            only verified, not written, until somebody says otherwise
 *   rest=MS         a rest after each 64 pages (default: 0)
 *   canary          a word that nobody may find, in 64 private pages
 *   file            a file is hashed at every tick
 *   talk=GUEST,PEER numbered messages to PEER, which answers (demo/message.h), with another
 *     canary, which is no secret
 *   disk            blocks of /dev/vda are written, flushed and read back
 *   chat=KIB,DEVICE so many KiB a second go to DEVICE
 *   say=DEVICE      all of this is said on DEVICE instead of the console, apart from the kernel
 *
 * A line `w` on the console has it write memory, `i` not; `q` ends it: then all is verified once
 * more, and the guest powers off.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "demo/guest/guest.h"
#include "demo/guest/system.h"
#include "demo/page.h"
#include "tests/emulated/canary.h"

#define CANARY_PAGES 64
#define FILE_PATH    "/file"
#define NS_PER_MS    UINT64_C(1000000)
#define NS_PER_S     UINT64_C(1000000000)
#define TICK_NS	     (NS_PER_S / 2)
#define STEP_MS	     20

struct guest {
	struct memory_options memory;
	char *talk;
	bool canary, file, disk;
	char *chat;
};

static _Atomic uint64_t errors;
static atomic_bool ends;

void guest_error(const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	errors++;
	printf("demo: ERROR %s\n", text);
}

uint64_t guest_errors(void)
{
	return errors;
}

bool guest_ends(void)
{
	return ends;
}

void guest_sleep_ms(unsigned int ms)
{
	if (ms)
		usleep(ms * 1000);
}

static uint64_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void plant_canaries(void)
{
	uint64_t *words = mmap(NULL, CANARY_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (words == MAP_FAILED) {
		guest_error("no memory for the canary");
		return;
	}
	for (unsigned int i = 0; i < CANARY_PAGES * PAGE_WORDS; i++)
		canary_make(&canary_private, &words[i]);
}

/* What is typed does not go between what is said. */
static void mute_echo(void)
{
	struct termios t;

	if (tcgetattr(0, &t))
		return;
	t.c_lflag &= ~(tcflag_t)ECHO;
	tcsetattr(0, TCSANOW, &t);
}

/* True once somebody has typed q. */
static bool told_to_quit(void)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };
	char c;

	while (poll(&p, 1, 0) == 1 && read(0, &c, 1) == 1) {
		if (c == 'q')
			return true;
		if (c == 'w' || c == 'i')
			memory_rest(c == 'i');
	}
	return false;
}

/* One line, in pieces: what is not done is not told. */
static void tell(const struct guest *guest, uint64_t tick, uint64_t longest)
{
	printf("demo: tick %" PRIu64 " clock %" PRIu64 " longest gap %" PRIu64 " ms, %" PRIu64
	       " pages written, all verified %" PRIu64 " times, ",
	       tick, now(CLOCK_REALTIME) / NS_PER_S, longest / NS_PER_MS, memory_written(),
	       memory_sweeps());
	if (guest->file)
		printf("file %s hashed %" PRIu64 " times, ", file_digest(), file_checks());
	if (guest->talk)
		printf("%" PRIu64 " messages, ", talk_messages());
	if (guest->disk)
		printf("flushed %" PRIu64 " times, ", disk_flushes());
	printf("%" PRIu64 " errors\n", guest_errors());
}

static void count_aloud(const struct guest *guest)
{
	uint64_t tick = 0, last = now(CLOCK_MONOTONIC), longest = 0, seen = last;

	while (!told_to_quit()) {
		uint64_t t;

		guest_sleep_ms(STEP_MS);
		t = now(CLOCK_MONOTONIC);
		if (t - seen > longest)
			longest = t - seen;
		seen = t;
		if (t - last < TICK_NS)
			continue;
		last = t;
		if (guest->file)
			file_check(FILE_PATH);
		tell(guest, ++tick, longest);
	}
}

/* From now on standard input and output are there. */
static void say_on(const char *device)
{
	int fd = system_open_late(device, O_RDWR | O_NOCTTY);

	if (fd < 0) {
		guest_error("%s: %s", device, strerror(errno));
		return;
	}
	for (int i = 0; i <= 2; i++)
		dup2(fd, i);
	close(fd);
}

static void take_word(struct guest *guest, char *word)
{
	if (!strncmp(word, "memory=", 7))
		guest->memory.mib = (unsigned int)strtoul(word + 7, NULL, 10);
	else if (!strncmp(word, "threads=", 8))
		guest->memory.threads = (unsigned int)strtoul(word + 8, NULL, 10);
	else if (!strncmp(word, "rest=", 5))
		guest->memory.rest_ms = (unsigned int)strtoul(word + 5, NULL, 10);
	else if (!strcmp(word, "idle"))
		guest->memory.idle = true;
	else if (!strcmp(word, "canary"))
		guest->canary = true;
	else if (!strcmp(word, "file"))
		guest->file = true;
	else if (!strncmp(word, "talk=", 5))
		guest->talk = word + 5;
	else if (!strncmp(word, "chat=", 5))
		guest->chat = word + 5;
	else if (!strncmp(word, "say=", 4))
		say_on(word + 4);
	else if (!strcmp(word, "disk"))
		guest->disk = true;
	else if (strncmp(word, "initrd=", 7) != 0) /* a word of the firmware's, for the boot stub */
		guest_error("unexpected argument '%s'", word);
}

static void start(struct guest *guest)
{
	if (guest->canary)
		plant_canaries();
	if (guest->file)
		file_make(FILE_PATH);
	memory_start(&guest->memory);
	if (guest->disk)
		disk_start();
	if (guest->chat)
		chat_start(guest->chat);
	if (guest->talk) {
		char *peer = strchr(guest->talk, ',');

		if (peer)
			*peer++ = '\0';
		talk_start(guest->talk, peer ? peer : "");
	}
}

int main(int argc, char **argv)
{
	struct guest guest = { .memory = { .mib = 32, .threads = 1 } };

	setvbuf(stdout, NULL, _IOLBF, 0);
	system_start();
	for (int i = 1; i < argc; i++)
		take_word(&guest, argv[i]);
	mute_echo();
	start(&guest);
	printf("demo: the guest is up, %ld CPUs\n", sysconf(_SC_NPROCESSORS_ONLN));
	count_aloud(&guest);
	ends = true;
	talk_end();
	disk_end();
	memory_end();
	printf("demo: end, all verified once more, %" PRIu64 " messages, %" PRIu64 " errors\n",
	       talk_messages(), guest_errors());
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
