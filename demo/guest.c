/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The demo's guest: /init of an initial RAM disk with nothing else in it. It counts aloud twice a second, keeps writing and verifying
 * memory and a file, and holds a canary in private pages that nobody outside may find. A line `q` on the console ends it.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "demo/canary.h"

#define ARENA_PAGES    8192 /* 32 MiB */
#define CANARY_PAGES   64
#define WORDS	       512
#define FILE_BYTES     (1 << 20)
#define WRITES_A_ROUND 64
#define TICK_NS	       500000000ULL

struct state {
	uint64_t (*arena)[WORDS];
	uint32_t generation[ARENA_PAGES];
	uint64_t random, writes, verified, errors, files;
};

static uint64_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t next_random(struct state *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return s->random;
}

/* What a word of a page holds in its generation-th version. */
static uint64_t word_of(uint64_t page, uint64_t generation, uint64_t word)
{
	return (page << 40 ^ generation << 16 ^ word) * 0x9e3779b97f4a7c15ULL;
}

static void verify_page(struct state *s, uint64_t page)
{
	for (uint64_t w = 0; w < WORDS; w++) {
		if (s->arena[page][w] == word_of(page, s->generation[page], w))
			continue;
		s->errors++;
		printf("demo: ERROR page %llu word %llu is not what was written last\n",
		       (unsigned long long)page, (unsigned long long)w);
		return;
	}
	s->verified++;
}

static void write_page(struct state *s, uint64_t page)
{
	s->generation[page]++;
	for (uint64_t w = 0; w < WORDS; w++)
		s->arena[page][w] = word_of(page, s->generation[page], w);
	s->writes++;
}

static void work_on_memory(struct state *s)
{
	for (int i = 0; i < WRITES_A_ROUND; i++) {
		uint64_t page = next_random(s) % ARENA_PAGES;

		verify_page(s, page);
		write_page(s, page);
	}
}

static uint64_t hash_file(const char *path)
{
	static uint8_t buf[65536];
	uint64_t hash = 0xcbf29ce484222325ULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			hash = (hash ^ buf[i]) * 0x100000001b3ULL;
	close(fd);
	return hash;
}

static uint64_t make_file(struct state *s, const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	for (int i = 0; i < FILE_BYTES / 8; i++) {
		uint64_t word = next_random(s);

		if (write(fd, &word, sizeof(word)) != sizeof(word))
			s->errors++;
	}
	close(fd);
	return hash_file(path);
}

static void plant_canaries(void)
{
	uint64_t *page = mmap(NULL, CANARY_PAGES * 4096, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < CANARY_PAGES * WORDS; i++)
		page[i] = canary_make();
}

/* True once somebody has typed q. */
static bool told_to_quit(void)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };
	char c;

	while (poll(&p, 1, 0) == 1 && read(0, &c, 1) == 1)
		if (c == 'q')
			return true;
	return false;
}

static void run(struct state *s)
{
	uint64_t file_hash = make_file(s, "/file"), tick = 0, last = now(CLOCK_MONOTONIC),
		 longest = 0, seen = last;

	while (!told_to_quit()) {
		uint64_t t;

		work_on_memory(s);
		t = now(CLOCK_MONOTONIC);
		if (t - seen > longest)
			longest = t - seen;
		seen = t;
		if (t - last < TICK_NS)
			continue;
		last = t;
		if (hash_file("/file") == file_hash) {
			s->files++;
		} else {
			s->errors++;
			printf("demo: ERROR the file has changed\n");
		}
		printf("demo: tick %llu clock %llu longest gap %llu ms, %llu pages written, %llu verified, %llu files hashed, %llu errors\n",
		       (unsigned long long)++tick,
		       (unsigned long long)(now(CLOCK_REALTIME) / 1000000000),
		       (unsigned long long)(longest / 1000000), (unsigned long long)s->writes,
		       (unsigned long long)s->verified, (unsigned long long)s->files,
		       (unsigned long long)s->errors);
	}
}

int main(void)
{
	static struct state s = { .random = 88172645463325252ULL };

	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	(void)mount("proc", "/proc", "proc", 0, NULL);
	(void)mount("dev", "/dev", "devtmpfs", 0, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	s.arena = mmap(NULL, ARENA_PAGES * 4096UL, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (uint64_t page = 0; page < ARENA_PAGES; page++)
		write_page(&s, page);
	plant_canaries();
	printf("demo: the guest is up\n");
	run(&s);
	for (uint64_t page = 0; page < ARENA_PAGES; page++)
		verify_page(&s, page);
	printf("demo: end, all %d pages verified once more, %llu errors\n", ARENA_PAGES,
	       (unsigned long long)s.errors);
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
