/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "demo/guest/guest.h"
#include "demo/guest/system.h"
#include "demo/page.h"

#define RUN_BLOCKS 16
#define PAUSE_MS   20

static struct {
	pthread_t thread;
	bool works;
	int fd; /* around the guest's page cache */
	uint32_t versions[DEMO_DISK_BLOCKS];
	_Atomic uint64_t flushes;
} disk;

static _Alignas(PAGE_BYTES) uint64_t run[RUN_BLOCKS][PAGE_WORDS];

static bool write_run(uint64_t first)
{
	off_t at = (off_t)(first * PAGE_BYTES);

	for (uint64_t i = 0; i < RUN_BLOCKS; i++)
		page_fill(run[i], first + i, ++disk.versions[first + i]);
	if (pwrite(disk.fd, run, sizeof(run), at) == sizeof(run) && !fdatasync(disk.fd))
		return true;
	guest_error("writing blocks from %" PRIu64 ": %s", first, strerror(errno));
	return false;
}

static bool verify_run(uint64_t first)
{
	memset(run, 0, sizeof(run));
	if (pread(disk.fd, run, sizeof(run), (off_t)(first * PAGE_BYTES)) != sizeof(run)) {
		guest_error("reading blocks from %" PRIu64 ": %s", first, strerror(errno));
		return false;
	}
	for (uint64_t i = 0; i < RUN_BLOCKS; i++) {
		uint64_t block = first + i;

		if (page_is(run[i], block, disk.versions[block]))
			continue;
		guest_error("block %" PRIu64 " is not what was written last", block);
		return false;
	}
	return true;
}

static void *work(void *opaque)
{
	bool good = true;
	uint64_t first;

	for (first = 0; good && first < DEMO_DISK_BLOCKS; first += RUN_BLOCKS)
		good = write_run(first);
	for (first = 0; good && !guest_ends(); first = (first + RUN_BLOCKS) % DEMO_DISK_BLOCKS) {
		good = verify_run(first) && write_run(first) && verify_run(first);
		disk.flushes++;
		guest_sleep_ms(PAUSE_MS);
	}
	return NULL;
}

void disk_start(void)
{
	disk.fd = system_open_late("/dev/vda", O_RDWR | O_DIRECT);
	disk.works = disk.fd >= 0 && !pthread_create(&disk.thread, NULL, work, NULL);
	if (!disk.works)
		guest_error("the disk: %s", strerror(errno));
}

void disk_end(void)
{
	if (!disk.works)
		return;
	pthread_join(disk.thread, NULL);
	for (uint64_t first = 0; first < DEMO_DISK_BLOCKS; first += RUN_BLOCKS)
		verify_run(first);
	close(disk.fd);
}

uint64_t disk_flushes(void)
{
	return disk.flushes;
}
