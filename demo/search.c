/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: demo-search FILE...   How often the guest's two canaries are in the files, at any
 *                              alignment: the one of its private pages and the
 * one of its shared pages. Exit status 0: neither; 1: the shared one only; 3: the private one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/emulated/canary.h"

struct found {
	long private, shared;
};

static int search(const char *path, struct found *found)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct found here = { 0 };
	const uint8_t *bytes;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || st.st_size == 0)
		return -1;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return -1;
	for (off_t i = 0; i + 8 <= st.st_size; i++) {
		uint64_t word;

		memcpy(&word, bytes + i, sizeof(word));
		here.private += canary_is(&canary_private, word);
		here.shared += canary_is(&canary_shared, word);
	}
	munmap((void *)bytes, (size_t)st.st_size);
	printf("%s: %lld MiB searched: private canary %ld times, shared canary %ld times\n", path,
	       (long long)st.st_size >> 20, here.private, here.shared);
	found->private += here.private;
	found->shared += here.shared;
	return 0;
}

int main(int argc, char **argv)
{
	struct found found = { 0 };

	for (int i = 1; i < argc; i++) {
		if (search(argv[i], &found)) {
			perror(argv[i]);
			return 2;
		}
	}
	if (argc < 2)
		return 2;
	return found.private ? 3 : found.shared ? 1 : 0;
}
