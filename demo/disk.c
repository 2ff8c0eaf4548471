/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: demo-disk make|check FILE   The disk that the guest works on: an empty one; are all its
 * blocks whole, after the guest has ended?
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "demo/page.h"

static int make(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)DEMO_DISK_BLOCKS * PAGE_BYTES) || close(fd)) {
		perror(path);
		return 1;
	}
	return 0;
}

static int check(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t block[PAGE_WORDS], number, writes = 0, bad = 0;

	if (fd < 0) {
		perror(path);
		return 1;
	}
	for (number = 0; read(fd, block, sizeof(block)) == (ssize_t)sizeof(block); number++) {
		writes += block[0];
		bad += block[0] == 0 || !page_is_whole(block, number);
	}
	close(fd);
	printf("disk: %" PRIu64 " blocks written %" PRIu64 " times, %" PRIu64 " not whole\n",
	       number, writes, bad);
	return bad || number != DEMO_DISK_BLOCKS;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "make"))
		return make(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "check"))
		return check(argv[2]);
	fprintf(stderr, "usage: demo-disk make|check FILE\n");
	return 2;
}
