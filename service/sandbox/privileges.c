/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "service/sandbox/sandbox_private.h"

/* A user with no name has the group of the same number. */
static int find_user(const char *user, uid_t *uid, gid_t *gid, struct why *why)
{
	struct passwd *entry;
	unsigned long number;
	char *end;

	errno = 0;
	entry = getpwnam(user);
	if (entry) {
		*uid = entry->pw_uid;
		*gid = entry->pw_gid;
		return 0;
	}
	number = strtoul(user, &end, 10);
	if (!isdigit((unsigned char)*user) || *end || number >= UINT32_MAX)
		return why_set(why, -ENOENT, "--user %s: there is no such user", user);
	entry = getpwuid((uid_t)number);
	*uid = (uid_t)number;
	*gid = entry ? entry->pw_gid : (gid_t)number;
	return 0;
}

/* The user's own groups only: those of root would keep what root's group may. */
static int become(const char *user, struct why *why)
{
	const struct passwd *entry;
	uid_t uid = (uid_t)-1;
	gid_t gid = (gid_t)-1;
	int err = find_user(user, &uid, &gid, why);

	if (err)
		return err;
	if (geteuid() != 0)
		return why_set(why, -EPERM, "--user %s: only root can become another user", user);
	if (uid == 0)
		return why_set(why, -EINVAL, "--user %s: this user is root", user);
	entry = getpwuid(uid);
	if (entry ? initgroups(entry->pw_name, gid) : setgroups(0, NULL))
		return why_errno(why, "--user %s: cannot take its groups", user);
	if (setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return why_errno(why, "--user %s: cannot become this user", user);
	return 0;
}

/*
 * capabilities(7): takes CAP_SETPCAP, so it comes first; a process without it cannot gain from the
 * set, either (no new privileges).
 */
static void drop_bounding_set(void)
{
	int cap;

	for (cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

static int drop_capabilities(struct why *why)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none))
		return why_errno(why, "cannot drop capabilities");
	return 0;
}

int privileges_drop(const char *user, struct why *why)
{
	int err;

	drop_bounding_set();
	err = user ? become(user, why) : 0;
	return err ? err : drop_capabilities(why);
}
