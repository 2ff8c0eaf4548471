/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outside the host: search a dump of its RAM for the canaries of t_memory, at any alignment. usage:
 * scan FILE BYTES. Exit status 0 if the file has that many bytes, shared canaries are in it and
 * private ones are not.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/emulated/canary.h"

#define CANARIES_PER_PAGE 512

int main(int argc, char **argv)
{
	size_t private = 0, shared = 0, want = argc == 3 ? strtoull(argv[2], NULL, 0) : 0;
	int fd = argc == 3 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	struct stat st;
	const uint8_t *mem;

	if (fd < 0 || fstat(fd, &st) || !st.st_size) {
		fprintf(stderr, "usage: scan FILE BYTES\n");
		return 2;
	}
	mem = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (mem == MAP_FAILED) {
		perror(argv[1]);
		return 2;
	}
	for (size_t i = 0; i + 8 <= (size_t)st.st_size; i++) {
		uint64_t word;

		memcpy(&word, mem + i, sizeof(word));
		private += canary_is(&canary_private, word);
		shared += canary_is(&canary_shared, word);
	}
	printf("%lld bytes: %zu shared canaries, %zu private ones\n", (long long)st.st_size, shared,
	       private);
	return (size_t)st.st_size == want && shared >= CANARIES_PER_PAGE && private == 0 ? 0 : 1;
}
