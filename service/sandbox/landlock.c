/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock (Documentation/userspace-api/landlock.rst): what may be written, executed, made and
 * removed in the file system. Reading is left to the user's permissions: a migration's certificates
 * and keys are named only when it begins. The numbers below are the kernel's ABI; the headers of
 * Debian 12 stop at version 2 of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "service/sandbox/sandbox_private.h"

#define FS_EXECUTE     (1ULL << 0)
#define FS_WRITE_FILE  (1ULL << 1)
#define FS_REMOVE_FILE (1ULL << 5)
#define FS_CHANGES     (0x1fffULL & ~(1ULL << 2) & ~(1ULL << 3)) /* version 1 without reading */
#define FS_REFER       (1ULL << 13) /* 2 */
#define FS_TRUNCATE    (1ULL << 14) /* 3, Linux 6.2 */
#define FS_IOCTL_DEV   (1ULL << 15) /* 5, Linux 6.10 */
#define SCOPE_ALL      3ULL /* 6, Linux 6.12: abstract sockets and signals stay within */

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

static int abi_version(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static int create_ruleset(int abi, uint64_t *handled)
{
	struct ruleset_attr attr = { .fs = FS_CHANGES };
	size_t bytes = sizeof(attr.fs);

	attr.fs |= abi >= 2 ? FS_REFER : 0;
	attr.fs |= abi >= 3 ? FS_TRUNCATE : 0;
	attr.fs |= abi >= 5 ? FS_IOCTL_DEV : 0;
	if (abi >= 6) {
		attr.scoped = SCOPE_ALL;
		bytes = sizeof(attr);
	}
	*handled = attr.fs;
	return (int)syscall(SYS_landlock_create_ruleset, &attr, bytes, 0);
}

/* A path that is not there will be refused when it is used, by its own name. */
static int allow(int ruleset, const char *path, uint64_t access, struct why *why)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access };
	int err;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return 0;
	err = (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	/* Pipes and sockets are on no file system, and under no rule. */
	if (err && errno != EBADFD)
		err = why_errno(why, "Landlock: cannot add a rule for %s", path);
	else
		err = 0;
	close(rule.parent_fd);
	return err;
}

static int allow_all(int ruleset, uint64_t handled, const struct sandbox_config *config,
		     struct why *why)
{
	/*
	 * The terminal or file that the console is connected to is opened once more (console_io.c).
	 */
	static const char *const console[] = { "/proc/self/fd/1", "/proc/self/fd/2", "/dev/null" };
	const uint64_t write = (FS_WRITE_FILE | FS_IOCTL_DEV) & handled;
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < sizeof(console) / sizeof(*console); i++)
		err = allow(ruleset, console[i], write, why);
	for (i = 0; !err && config->writable[i]; i++)
		err = allow(ruleset, config->writable[i], write, why);
	if (!err && config->runtime_dir)
		err = allow(ruleset, config->runtime_dir, FS_REMOVE_FILE, why);
	if (!err && config->socket_dir)
		err = allow(ruleset, config->socket_dir, FS_REMOVE_FILE, why);
	return err;
}

int landlock_enter(const struct sandbox_config *config, struct why *why)
{
	int abi = abi_version(), ruleset, err;
	uint64_t handled;

	/* Not built in, or not switched on: seccomp and the user's permissions remain. */
	if (abi < 1)
		return 0;
	ruleset = create_ruleset(abi, &handled);
	if (ruleset < 0)
		return why_errno(why, "Landlock");
	err = allow_all(ruleset, handled, config, why);
	if (!err && syscall(SYS_landlock_restrict_self, ruleset, 0))
		err = why_errno(why, "Landlock");
	close(ruleset);
	return err;
}
