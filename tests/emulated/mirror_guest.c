/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In a Linux guest: fills pages of its own with random words and a canary, says where in
 * guest-physical memory each is, writes a copy of each to DIR/N for others to hash, and keeps them.
 * usage: mirror-guest DIR CANARY
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define PAGES	     16
#define PAGE	     4096
#define PFN_MASK     0x7fffffffffffffULL /* Linux Documentation/admin-guide/mm/pagemap.rst */
#define PAGE_PRESENT (1ULL << 63)

static uint64_t gpa_of(int pagemap, const void *at)
{
	uint64_t entry = 0;

	if (pread(pagemap, &entry, sizeof(entry), (off_t)((uintptr_t)at / PAGE * sizeof(entry))) !=
		    sizeof(entry) ||
	    !(entry & PAGE_PRESENT))
		return 0;
	return (entry & PFN_MASK) * PAGE;
}

static int copy_to(const char *dir, int n, const void *page)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%d", dir, n);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	if (fd < 0 || write(fd, page, PAGE) != PAGE)
		return -1;
	return close(fd);
}

int main(int argc, char **argv)
{
	uint8_t *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (argc != 3 || pages == MAP_FAILED || mlock(pages, PAGES * PAGE) || pagemap < 0)
		return 1;
	for (int n = 0; n < PAGES; n++) {
		uint8_t *page = pages + n * PAGE;

		/* In parts that getrandom() never cuts short. */
		for (int i = 0; i < PAGE; i += 256)
			if (getrandom(page + i, 256, 0) != 256)
				return 1;
		memcpy(page, argv[2], strlen(argv[2]));
		if (copy_to(argv[1], n, page))
			return 1;
		printf("at %d 0x%llx\n", n, (unsigned long long)gpa_of(pagemap, page));
	}
	fflush(stdout);
	for (;;)
		pause();
}
