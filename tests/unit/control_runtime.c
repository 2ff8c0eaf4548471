/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime directory where others have been first: modes, owners, links. */
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/control.h"
#include "control/runtime.h"

#define NOBODY 65534

static char base[] = "/tmp/control-runtime.XXXXXX";
static char dir[64];

static char *in(const char *name)
{
	static char paths[4][128];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static int setup(void **state)
{
	strcpy(base, "/tmp/control-runtime.XXXXXX");
	if (!mkdtemp(base))
		return -1;
	snprintf(dir, sizeof(dir), "%s/run", base);
	return setenv("SEVMIRROR_RUNTIME_DIR", dir, 1);
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", base);
	return system(command);
}

static int create(struct control **control)
{
	struct control_error err = { 0 };
	int ret = control_create(control, "vm", &err);

	/* Whatever is wrong is said. */
	assert_true(!ret || err.desc[0]);
	return ret;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void modes_do_not_depend_on_the_umask(void **state)
{
	mode_t before = umask(0);
	struct control *control;

	assert_int_equal(create(&control), 0);
	umask(before);
	assert_int_equal(mode_of(dir), 0700);
	assert_int_equal(mode_of(in("vm.sock")), 0600);
	assert_int_equal(mode_of(in("vm.lock")), 0600);
	control_destroy(control);
}

static void a_link_to_a_directory_is_refused(void **state)
{
	struct control *control;
	char other[96];

	snprintf(other, sizeof(other), "%s/other", base);
	assert_int_equal(mkdir(other, 0700), 0);
	assert_int_equal(symlink(other, dir), 0);
	assert_int_equal(create(&control), -ENOTDIR);
	assert_int_equal(unlink(dir), 0);
	assert_int_equal(symlink("/not/there", dir), 0);
	assert_int_equal(create(&control), -ENOTDIR);
}

static void somebody_elses_directory_is_refused(void **state)
{
	struct control *control;

	if (geteuid() != 0) {
		print_message("# skipped: only root can give a directory away\n");
		skip();
	}
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(chown(dir, NOBODY, NOBODY), 0);
	assert_int_equal(create(&control), -EACCES);
	assert_int_equal(chown(dir, 0, 0), 0);
}

static void every_right_of_others_is_refused(void **state)
{
	static const mode_t modes[] = { 0701, 0702, 0704, 0710, 0720, 0740, 01777 };
	struct control *control;

	assert_int_equal(mkdir(dir, 0700), 0);
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		assert_int_equal(chmod(dir, modes[i]), 0);
		assert_int_equal(create(&control), -EACCES);
	}
}

static void a_file_in_its_place_is_refused(void **state)
{
	struct control *control;
	int fd = open(dir, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(create(&control), -ENOTDIR);
}

/*
 * A lock that leads elsewhere would create or lock that; a socket that does is replaced, not
 * followed.
 */
static void links_inside_are_not_followed(void **state)
{
	char target[96];
	struct control *control;
	struct stat st;
	int fd;

	snprintf(target, sizeof(target), "%s/target", base);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(symlink(target, in("vm.lock")), 0);
	assert_int_equal(create(&control), -ELOOP);
	assert_int_equal(access(target, F_OK), -1);
	assert_int_equal(unlink(in("vm.lock")), 0);

	fd = open(target, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(symlink(target, in("vm.sock")), 0);
	assert_int_equal(create(&control), 0);
	assert_int_equal(lstat(in("vm.sock"), &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(mode_of(target), 0644);
	control_destroy(control);
	assert_int_equal(access(target, F_OK), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(modes_do_not_depend_on_the_umask),	   CASE(a_link_to_a_directory_is_refused),
		CASE(somebody_elses_directory_is_refused), CASE(every_right_of_others_is_refused),
		CASE(a_file_in_its_place_is_refused),	   CASE(links_inside_are_not_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
