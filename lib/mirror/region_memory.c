/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/region.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/util/map.h"

int region_memory_create(struct region_memory *memory, const struct region_plan *plan)
{
	int err;

	*memory = (struct region_memory)REGION_MEMORY_NONE;
	memory->fd = memfd_create("sevmirror-helper", MFD_CLOEXEC);
	if (memory->fd < 0 || ftruncate(memory->fd, (off_t)plan->bytes)) {
		err = -errno;
		region_memory_destroy(memory);
		return err;
	}
	err = util_map_aligned(&memory->hva, memory->fd, 0, plan->bytes);
	if (err) {
		region_memory_destroy(memory);
		return err;
	}
	memory->bytes = plan->bytes;
	return 0;
}

void region_memory_destroy(struct region_memory *memory)
{
	if (memory->bytes)
		munmap(memory->hva, memory->bytes);
	if (memory->fd >= 0)
		close(memory->fd);
	*memory = (struct region_memory)REGION_MEMORY_NONE;
}
