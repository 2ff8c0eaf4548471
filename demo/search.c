/* SPDX-License-Identifier: Apache-2.0 */
/* usage: search FILE...   How often the demo's canary stands in the files, at any alignment. Exit status 0 if nowhere, 1 if somewhere. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demo/canary.h"

static long search(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const uint8_t *bytes;
	struct stat st;
	long found = 0;

	if (fd < 0 || fstat(fd, &st) || st.st_size == 0)
		return -1;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return -1;
	for (off_t i = 0; i + 8 <= st.st_size; i++) {
		uint64_t word;

		memcpy(&word, bytes + i, sizeof(word));
		found += canary_is(word);
	}
	munmap((void *)bytes, (size_t)st.st_size);
	printf("%s: %lld MiB searched, the canary stands there %ld times\n", path,
	       (long long)st.st_size >> 20, found);
	return found;
}

int main(int argc, char **argv)
{
	int status = argc > 1 ? 0 : 2;

	for (int i = 1; i < argc; i++) {
		long found = search(argv[i]);

		if (found < 0) {
			perror(argv[i]);
			return 2;
		}
		if (found)
			status = 1;
	}
	return status;
}
