/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/host_memory.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/util/file.h"

#define FILE_MAX  65536
#define PATH_ROOM 1024

/* NUL-terminated, the caller's to free; NULL: there is no such file. */
static char *read_text(const char *path)
{
	void *text;
	size_t len;

	return util_read_file(path, FILE_MAX, &text, &len) ? NULL : text;
}

/* The number behind name at the beginning of a line; false: there is none. */
static bool find_number(const char *text, const char *name, int base, uint64_t *value)
{
	size_t len = strlen(name);

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (!strncmp(text, name, len)) {
			*value = strtoull(text + len, NULL, base);
			return true;
		}
	}
	return false;
}

static void limit(struct host_memory *memory, uint64_t bytes, const char *what)
{
	if (bytes >= memory->bytes)
		return;
	memory->bytes = bytes;
	snprintf(memory->limit, sizeof(memory->limit), "%.255s", what);
}

/* *free_swap: 0 for what is pinned, which it does not help. */
static void limit_by_host(const char *root, bool pinned, struct host_memory *memory,
			  uint64_t *free_swap)
{
	char path[PATH_ROOM];
	uint64_t available, swap = 0;
	char *text;

	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	text = read_text(path);
	if (text && find_number(text, "MemAvailable:", 10, &available)) {
		if (!pinned)
			find_number(text, "SwapFree:", 10, &swap);
		limit(memory, (available + swap) << 10,
		      swap ? "MemAvailable and SwapFree in /proc/meminfo" :
			     "MemAvailable in /proc/meminfo");
	}
	*free_swap = swap << 10;
	free(text);
}

/* The number in a file that has nothing else. False also for "max", which means no limit. */
static bool read_number(const char *directory, const char *name, uint64_t *value)
{
	char path[PATH_ROOM];
	char *text, *end;
	bool ok;

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return false;
	text = read_text(path);
	if (!text)
		return false;
	*value = strtoull(text, &end, 10);
	ok = end != text;
	free(text);
	return ok;
}

/* What the kernel can take back from the group without swapping: the pages of files. */
static uint64_t reclaimable(const char *directory)
{
	uint64_t active = 0, inactive = 0;
	char path[PATH_ROOM];
	char *text;

	if (snprintf(path, sizeof(path), "%s/memory.stat", directory) >= (int)sizeof(path))
		return 0;
	text = read_text(path);
	if (text) {
		find_number(text, "active_file ", 10, &active);
		find_number(text, "inactive_file ", 10, &inactive);
	}
	free(text);
	return active + inactive;
}

/* How much of the host's free swap space the group may use; without the files, all of it. */
static uint64_t swap_of_group(const char *directory, uint64_t free_swap)
{
	uint64_t max, current;

	if (!read_number(directory, "memory.swap.max", &max) ||
	    !read_number(directory, "memory.swap.current", &current))
		return free_swap;
	max -= current < max ? current : max;
	return max < free_swap ? max : free_swap;
}

static void limit_by_group(const char *directory, const char *name, uint64_t free_swap,
			   struct host_memory *memory)
{
	uint64_t max, current, can, swap = swap_of_group(directory, free_swap);
	char what[PATH_ROOM];

	if (!read_number(directory, "memory.max", &max) ||
	    !read_number(directory, "memory.current", &current))
		return;
	can = reclaimable(directory);
	current -= can < current ? can : current;
	snprintf(what, sizeof(what), "memory.max%s of the cgroup %s",
		 swap ? " and memory.swap.max" : "", name);
	limit(memory, (max > current ? max - current : 0) + swap, what);
}

/*
 * The process's group and all above it. The host's root group has no limit; what is the root in a
 * container's name space may have one.
 */
static void limit_by_groups(const char *root, uint64_t free_swap, struct host_memory *memory)
{
	char path[PATH_ROOM];
	char *text, *name;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	text = read_text(path);
	name = text ? strstr(text, "0::/") : NULL;
	if (name && (name == text || name[-1] == '\n')) {
		name += strlen("0::");
		name[strcspn(name, "\n")] = '\0';
		while (name[0] == '/' && name[1]) {
			if (snprintf(path, sizeof(path), "%s/sys/fs/cgroup%s", root, name) <
			    (int)sizeof(path))
				limit_by_group(path, name, free_swap, memory);
			*strrchr(name, '/') = '\0';
		}
		if (snprintf(path, sizeof(path), "%s/sys/fs/cgroup", root) < (int)sizeof(path))
			limit_by_group(path, "/", free_swap, memory);
	}
	free(text);
}

static bool may_lock_all(const char *root)
{
	char path[PATH_ROOM];
	uint64_t effective = 0;
	char *text;

	snprintf(path, sizeof(path), "%s/proc/self/status", root);
	text = read_text(path);
	if (text)
		find_number(text, "CapEff:", 16, &effective);
	free(text);
	return effective & 1ULL << CAP_IPC_LOCK;
}

void host_memory_available(const char *root, bool pinned, struct host_memory *memory)
{
	struct rlimit locked;
	uint64_t free_swap = 0;

	*memory = (struct host_memory){ .bytes = UINT64_MAX };
	limit_by_host(root, pinned, memory, &free_swap);
	limit_by_groups(root, free_swap, memory);
	if (pinned && !may_lock_all(root) && !getrlimit(RLIMIT_MEMLOCK, &locked) &&
	    locked.rlim_cur != RLIM_INFINITY)
		limit(memory, locked.rlim_cur, "the limit of locked memory, ulimit -l");
}

/* As people read it. */
static const char *show(uint64_t bytes, char text[32])
{
	if (bytes >> 30)
		snprintf(text, 32, "%.*f GiB", bytes % (1 << 30) ? 1 : 0,
			 (double)bytes / (1 << 30));
	else
		snprintf(text, 32, "%" PRIu64 " MiB", bytes >> 20);
	return text;
}

int host_memory_check(const char *root, uint64_t bytes, uint64_t helper, bool pinned,
		      struct why *why)
{
	struct host_memory memory;
	char needed[32], more[32], there[32];

	host_memory_available(root, pinned, &memory);
	if (helper <= memory.bytes && bytes <= memory.bytes - helper)
		return 0;
	return why_set(why, -ENOMEM,
		       "the guest needs %s of memory, and %s for its Migration Helper, and this "
		       "host has %s available (%s)",
		       show(bytes, needed), show(helper, more), show(memory.bytes, there),
		       memory.limit);
}
