/* SPDX-License-Identifier: Apache-2.0 */
#include "control/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char name_chars[] =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

bool runtime_name_valid(const char *name)
{
	size_t len = strspn(name, name_chars);

	return len && len <= RUNTIME_NAME_MAX && !name[len] && !strchr("._-", name[0]);
}

static int dir_path(char path[PATH_MAX])
{
	const char *dir = getenv("SEVMIRROR_RUNTIME_DIR");
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	int len;

	if (dir && *dir)
		len = snprintf(path, PATH_MAX, "%s", dir);
	else if (geteuid() == 0)
		len = snprintf(path, PATH_MAX, "/run/sevmirror");
	else if (xdg && *xdg)
		len = snprintf(path, PATH_MAX, "%s/sevmirror", xdg);
	else
		return -ENXIO;
	return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int runtime_dir(char path[PATH_MAX], bool create)
{
	struct stat st;
	int ret = dir_path(path);

	if (ret)
		return ret;
	if (create && mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	if (lstat(path, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/* Another user who may write here could put a socket of his own in a VM's place. */
	if (st.st_uid != geteuid() || (st.st_mode & 077))
		return -EACCES;
	return 0;
}

int runtime_dir_problem(int err, struct why *why)
{
	char path[PATH_MAX] = "";
	struct stat st = { 0 };

	if (err == -ENXIO || dir_path(path))
		return why_set(why, err,
			       "there is no runtime directory: set SEVMIRROR_RUNTIME_DIR or "
			       "XDG_RUNTIME_DIR");
	if (err == -EACCES && !lstat(path, &st) && st.st_uid != geteuid())
		return why_set(why, err,
			       "the runtime directory %.300s belongs to user %u, and this process "
			       "runs as user %u",
			       path, st.st_uid, geteuid());
	if (err == -EACCES && (st.st_mode & 077))
		return why_set(why, err,
			       "the runtime directory %.300s has mode %04o, which lets other users "
			       "in: `chmod 700` it, or set SEVMIRROR_RUNTIME_DIR",
			       path, st.st_mode & 07777);
	return why_set(why, err, "the runtime directory %.300s: %s", path, strerror(-err));
}

static int file_path(char out[PATH_MAX], const char *dir, const char *name, const char *suffix)
{
	int len = snprintf(out, PATH_MAX, "%s/%s%s", dir, name, suffix);

	return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int socket_path(char out[PATH_MAX], const char *dir, const char *name)
{
	int ret = file_path(out, dir, name, ".sock");

	if (!ret && strlen(out) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		ret = -ENAMETOOLONG;
	return ret;
}

/*
 * Lock the file at path, made if need be. Whoever holds the lock may unlink the file, so a lock on
 * a file that is not (or no longer) the one at this path is worth nothing: try again.
 */
static int lock_file(const char *path)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	for (;;) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat mine, there;

		if (fd < 0)
			return -errno;
		if (fcntl(fd, F_OFD_SETLK, &whole)) {
			int ret = errno == EAGAIN || errno == EACCES ? -EADDRINUSE : -errno;

			close(fd);
			return ret;
		}
		if (!fstat(fd, &mine) && !stat(path, &there) && mine.st_ino == there.st_ino &&
		    mine.st_dev == there.st_dev)
			return fd;
		close(fd);
	}
}

int runtime_claim(struct runtime_claim *claim, const char *name)
{
	char dir[PATH_MAX];
	int ret;

	if (!runtime_name_valid(name))
		return -EINVAL;
	ret = runtime_dir(dir, true);
	if (!ret)
		ret = socket_path(claim->socket_path, dir, name);
	if (!ret)
		ret = file_path(claim->lock_path, dir, name, ".lock");
	if (ret)
		return ret;
	ret = lock_file(claim->lock_path);
	if (ret < 0)
		return ret;
	claim->lock_fd = ret;
	if (unlink(claim->socket_path) && errno != ENOENT) {
		ret = -errno;
		close(claim->lock_fd);
		return ret;
	}
	return 0;
}

void runtime_release(struct runtime_claim *claim)
{
	unlink(claim->socket_path);
	unlink(claim->lock_path);
	close(claim->lock_fd);
	claim->lock_fd = -1;
}

/*
 * Whether a living process holds the name. Only asks: a lock taken here could be in the way of one
 * who claims the name.
 */
static bool name_is_held(const char *dir, const char *name)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[PATH_MAX];
	bool held;
	int fd;

	if (file_path(path, dir, name, ".lock"))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	held = !fcntl(fd, F_OFD_GETLK, &whole) && whole.l_type != F_UNLCK;
	close(fd);
	return held;
}

int runtime_find(const char *name, char path[PATH_MAX])
{
	char dir[PATH_MAX];
	int ret;

	if (!runtime_name_valid(name))
		return -EINVAL;
	ret = runtime_dir(dir, false);
	if (!ret)
		ret = socket_path(path, dir, name);
	if (ret)
		return ret;
	if (access(path, F_OK))
		return -errno;
	return name_is_held(dir, name) ? 0 : -ECONNREFUSED;
}

static int is_socket(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 5 && !strcmp(entry->d_name + len - 5, ".sock");
}

int runtime_list(void (*each)(void *opaque, const char *name), void *opaque)
{
	struct dirent **entries = NULL;
	char dir[PATH_MAX];
	int ret, count;

	ret = runtime_dir(dir, false);
	if (ret)
		return ret == -ENOENT ? 0 : ret;
	count = scandir(dir, &entries, is_socket, alphasort);
	if (count < 0)
		return -errno;
	for (int i = 0; i < count; i++) {
		char *name = entries[i]->d_name;

		name[strlen(name) - 5] = '\0';
		if (runtime_name_valid(name) && name_is_held(dir, name))
			each(opaque, name);
		free(entries[i]);
	}
	free(entries);
	return 0;
}
