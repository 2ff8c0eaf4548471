/* SPDX-License-Identifier: Apache-2.0 */
#include "service/sandbox/sandbox.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include "service/sandbox/sandbox_private.h"

int sandbox_begin(int argc, char *const *argv, struct why *why)
{
	const struct rlimit none = { 0, 0 };

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || setrlimit(RLIMIT_CORE, &none))
		return why_errno(why, "cannot forbid core dumps");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return why_errno(why, "PR_SET_NO_NEW_PRIVS");
	return descriptors_close(argc, argv, why);
}

/*
 * The guest's memory is pinned by the kernel, and counts. For a user who may not raise the limit,
 * the administrator does.
 */
static void raise_memlock(void)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit now;

	if (setrlimit(RLIMIT_MEMLOCK, &unlimited) && !getrlimit(RLIMIT_MEMLOCK, &now)) {
		now.rlim_cur = now.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &now);
	}
}

/*
 * A thread that has yielded to others may take that back: down to the nice value 0, of 20 - 20
 * (setrlimit(2)). Who may not raise the limit stays with what was set.
 */
static void allow_nice_zero(void)
{
	const struct rlimit zero = { 20, 20 };
	struct rlimit now;

	if (!getrlimit(RLIMIT_NICE, &now) && now.rlim_cur < zero.rlim_cur)
		(void)setrlimit(RLIMIT_NICE, &zero);
}

int sandbox_enter(const struct sandbox_config *config, struct why *why)
{
	int err;

	raise_memlock();
	allow_nice_zero();
	err = privileges_drop(config->user, why);
	if (err)
		return err;
	/*
	 * A change of user makes the process dumpable by fs.suid_dumpable's rule; 0 is what it is
	 * to be.
	 */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return why_errno(why, "cannot forbid core dumps");
	err = landlock_enter(config, why);
	if (err)
		return err;
	err = seccomp_enter(config->unix_sockets, why);
	if (err)
		return err;
	vmm_threads_confine();
	return 0;
}
