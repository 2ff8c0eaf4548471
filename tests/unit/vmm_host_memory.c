/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory a host has for a guest, read from files that are made here. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/util/file.h"
#include "vmm/host_memory.h"

#define MIB (1ULL << 20)

static char root[64];

static const char *const directories[] = {
	"",	   "/proc",	     "/proc/self",	 "/sys",
	"/sys/fs", "/sys/fs/cgroup", "/sys/fs/cgroup/a", "/sys/fs/cgroup/a/b",
};

static const char *const files[] = {
	"/proc/meminfo",
	"/proc/self/cgroup",
	"/proc/self/status",
	"/sys/fs/cgroup/memory.max",
	"/sys/fs/cgroup/memory.current",
	"/sys/fs/cgroup/a/memory.max",
	"/sys/fs/cgroup/a/memory.current",
	"/sys/fs/cgroup/a/memory.stat",
	"/sys/fs/cgroup/a/memory.swap.max",
	"/sys/fs/cgroup/a/memory.swap.current",
	"/sys/fs/cgroup/a/b/memory.max",
	"/sys/fs/cgroup/a/b/memory.current",
};

static int make_root(void **state)
{
	char path[256];

	strcpy(root, "/tmp/sevmirror-host-memory-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	for (size_t i = 1; i < sizeof(directories) / sizeof(*directories); i++) {
		snprintf(path, sizeof(path), "%s%s", root, directories[i]);
		if (mkdir(path, 0700))
			return -1;
	}
	return 0;
}

static int remove_root(void **state)
{
	char path[256];

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s%s", root, files[i]);
		unlink(path);
	}
	for (size_t i = sizeof(directories) / sizeof(*directories); i > 0; i--) {
		snprintf(path, sizeof(path), "%s%s", root, directories[i - 1]);
		if (rmdir(path))
			return -1;
	}
	return 0;
}

static void put(const char *file, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", root, file);
	assert_int_equal(util_write_file(path, text, strlen(text), 0600), 0);
}

static void assert_available(bool pinned, uint64_t bytes, const char *limit)
{
	struct host_memory memory;

	host_memory_available(root, pinned, &memory);
	assert_int_equal(memory.bytes, bytes);
	assert_non_null(strstr(memory.limit, limit));
}

#define MEMINFO "MemTotal: 8388608 kB\nMemAvailable:    2097152 kB\nSwapFree:  1048576 kB\n"

static void what_is_available_counts(void **state)
{
	assert_available(false, UINT64_MAX, "");
	put("/proc/self/status", "CapEff:\t000001ffffffffff\n");
	put("/proc/meminfo", MEMINFO);
	assert_available(false, 3072 * MIB, "SwapFree");
	assert_available(true, 2048 * MIB, "MemAvailable in /proc/meminfo");
}

static void each_group_on_the_path_counts(void **state)
{
	put("/proc/self/status", "CapEff:\t000001ffffffffff\n");
	put("/proc/meminfo", MEMINFO);
	put("/proc/self/cgroup", "4:memory:/other\n0::/a/b\n");
	put("/sys/fs/cgroup/a/b/memory.max", "max\n");
	put("/sys/fs/cgroup/a/b/memory.current", "1048576\n");
	assert_available(true, 2048 * MIB, "MemAvailable");
	/* 1 GiB, 600 MiB of it used, 200 MiB of these by files. */
	put("/sys/fs/cgroup/a/memory.max", "1073741824\n");
	put("/sys/fs/cgroup/a/memory.current", "629145600\n");
	put("/sys/fs/cgroup/a/memory.stat",
	    "anon 419430400\nfile 209715200\ninactive_file 104857600\nactive_file 104857600\n");
	assert_available(true, 624 * MIB, "memory.max of the cgroup /a");
	put("/sys/fs/cgroup/a/b/memory.max", "524288\n");
	assert_available(true, 0, "memory.max of the cgroup /a/b");
	/* in a container's name space */
	put("/proc/self/cgroup", "0::/\n");
	put("/sys/fs/cgroup/memory.max", "268435456\n");
	put("/sys/fs/cgroup/memory.current", "134217728\n");
	assert_available(true, 128 * MIB, "memory.max of the cgroup /");
}

/* Memory that is not pinned goes where the group lets it; without its files, to all of the swap. */
static void swap_of_the_group_counts(void **state)
{
	put("/proc/self/status", "CapEff:\t000001ffffffffff\n");
	put("/proc/meminfo", MEMINFO);
	put("/proc/self/cgroup", "0::/a\n");
	put("/sys/fs/cgroup/a/memory.max", "1073741824\n");
	put("/sys/fs/cgroup/a/memory.current", "536870912\n");
	assert_available(true, 512 * MIB, "memory.max of the cgroup /a");
	assert_available(false, (512 + 1024) * MIB, "memory.swap.max of the cgroup /a");
	put("/sys/fs/cgroup/a/memory.swap.current", "67108864\n");
	put("/sys/fs/cgroup/a/memory.swap.max", "max\n");
	assert_available(false, (512 + 1024) * MIB, "memory.swap.max of the cgroup /a");
	put("/sys/fs/cgroup/a/memory.swap.max", "268435456\n");
	assert_available(false, (512 + 192) * MIB, "memory.swap.max of the cgroup /a");
	put("/sys/fs/cgroup/a/memory.swap.max", "0\n");
	assert_available(false, 512 * MIB, "memory.max of the cgroup /a");
	assert_available(true, 512 * MIB, "memory.max of the cgroup /a");
}

static void the_helper_s_memory_counts(void **state)
{
	struct why why = { "" };

	put("/proc/self/status", "CapEff:\t000001ffffffffff\n");
	put("/proc/meminfo", MEMINFO);
	assert_int_equal(host_memory_check(root, 2000 * MIB, 48 * MIB, true, &why), 0);
	assert_int_equal(host_memory_check(root, 2001 * MIB, 48 * MIB, true, &why), -ENOMEM);
	assert_string_equal(why.text,
			    "the guest needs 2.0 GiB of memory, and 48 MiB for its Migration "
			    "Helper, and this host has 2 GiB available (MemAvailable in "
			    "/proc/meminfo)");
	assert_int_equal(host_memory_check(root, UINT64_MAX, 48 * MIB, true, &why), -ENOMEM);
	assert_int_equal(host_memory_check(root, 48 * MIB, UINT64_MAX, true, &why), -ENOMEM);
}

static void locked_memory_counts_without_the_capability(void **state)
{
	struct rlimit before, low;
	struct host_memory memory;

	put("/proc/meminfo", MEMINFO);
	put("/proc/self/status", "CapEff:\t0000000000000000\n");
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	low = before;
	low.rlim_cur = before.rlim_max < 64 * MIB ? before.rlim_max : 64 * MIB;
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &low), 0);
	host_memory_available(root, true, &memory);
	assert_int_equal(memory.bytes, low.rlim_cur);
	assert_non_null(strstr(memory.limit, "ulimit -l"));
	assert_available(false, 3072 * MIB, "SwapFree");
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
}

#define rooted(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rooted(what_is_available_counts),
		rooted(each_group_on_the_path_counts),
		rooted(swap_of_the_group_counts),
		rooted(the_helper_s_memory_counts),
		rooted(locked_memory_counts_without_the_capability),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
