/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left to a process and its threads in the sandbox: each case is a child that enters it and
 * tries.
 */
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/kvm.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/sandbox/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

#define NOBODY 65534

static char *dir; /* of files, a new one for each test */
static struct sandbox_config config;

static int make_dir(void **state)
{
	static char path[] = "/tmp/sandbox-test.XXXXXX";

	strcpy(path, "/tmp/sandbox-test.XXXXXX");
	dir = mkdtemp(path);
	config = (struct sandbox_config){ 0 };
	return dir ? 0 : -1;
}

static int remove_dir(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static const char *in_dir(const char *name)
{
	static char paths[4][128];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static void make_file(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);

	assert_true(fd >= 0);
	close(fd);
}

/* A child in the sandbox; its wait status. 0: body said 0. 99: it did not get in. */
static int confined(int (*body)(void))
{
	char *argv[] = { (char *)"test", NULL };
	struct why why = { "" };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		if (sandbox_begin(1, argv, &why) || sandbox_enter(&config, &why)) {
			fprintf(stderr, "# %s\n", why.text);
			_exit(99);
		}
		_exit(body());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void skip_because(const char *why)
{
	print_message("# skipped: %s\n", why);
	skip();
}

#define REFUSED(call, error) ((call) == -1 && errno == (error) ? 0 : __LINE__ & 0x7f)

static void assert_fine(int (*body)(void))
{
	int status = confined(body);

	if (status)
		print_message("# wait status 0x%x\n", (unsigned int)status);
	assert_int_equal(status, 0);
}

static int status_line(const char *want)
{
	FILE *f = fopen("/proc/thread-self/status", "re");
	char line[256];
	int found = 0;

	while (f && fgets(line, sizeof(line), f))
		found |= !strncmp(line, want, strlen(want));
	if (f)
		fclose(f);
	return !found;
}

static int privileges_are_gone(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
	struct rlimit core;
	unsigned int i;

	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) || getrlimit(RLIMIT_CORE, &core) || core.rlim_max)
		return 1;
	if (status_line("NoNewPrivs:\t1") || status_line("Seccomp:\t2"))
		return 2;
	/* A VMM does not call capget. */
	if (!SANITIZED && syscall(SYS_capget, &header, caps) != -1)
		return 3;
	for (i = 0; i < 5; i++) {
		static const char *const sets[] = { "CapInh:", "CapPrm:", "CapEff:", "CapBnd:",
						    "CapAmb:" };
		char want[64];

		snprintf(want, sizeof(want), "%s\t0000000000000000", sets[i]);
		if (status_line(want))
			return 10 + (int)i;
	}
	return 0;
}

static void test_privileges(void **state)
{
	if (geteuid() != 0)
		skip_because("only root has privileges to give up");
	assert_fine(privileges_are_gone);
}

static int user_is_nobody(void)
{
	gid_t groups[8];

	if (getuid() != NOBODY || geteuid() != NOBODY || getgid() != NOBODY)
		return 1;
	if (!SANITIZED && getgroups(8, groups) != -1)
		return 2;
	return status_line("Uid:\t65534\t65534\t65534\t65534") ||
	       status_line("Gid:\t65534\t65534\t65534\t65534") || privileges_are_gone();
}

static void test_user(void **state)
{
	if (geteuid() != 0)
		skip_because("only root has privileges to give up");
	config.user = "65534";
	assert_fine(user_is_nobody);
	config.user = "nobody";
	assert_fine(user_is_nobody);
}

static void refused_user(const char *user, int expected, const char *said)
{
	struct sandbox_config with = { .user = user };
	struct why why = { "" };

	assert_int_equal(sandbox_enter(&with, &why), expected);
	if (!strstr(why.text, said))
		fail_msg("'%s' is not in '%s'", said, why.text);
}

/* These fail before anything is given up but the bounding set. */
static void test_user_refused(void **state)
{
	refused_user("no-such-user-here", -ENOENT, "no such user");
	refused_user("12x", -ENOENT, "no such user");
	refused_user("4294967295", -ENOENT, "no such user");
	refused_user("", -ENOENT, "no such user");
	if (geteuid() == 0)
		refused_user("0", -EINVAL, "this user is root");
}

static int exec_something(void)
{
	return execl("/bin/true", "true", NULL);
}

static int become_root(void)
{
	return (int)syscall(SYS_setuid, 0);
}

static int trace(void)
{
	return (int)syscall(SYS_ptrace, 0, 0, 0, 0);
}

static void test_lethal(void **state)
{
	int (*const tries[])(void) = { exec_something, become_root, trace };
	size_t i;

	if (SANITIZED)
		skip_because("sanitizers make these system calls themselves");
	for (i = 0; i < sizeof(tries) / sizeof(*tries); i++) {
		int status = confined(tries[i]);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
	}
}

static int fork_something(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return REFUSED(pid, ENOSYS);
}

static int refused_calls(void)
{
	int err = REFUSED(syscall(SYS_socket, AF_PACKET, SOCK_RAW, 0), ENOSYS);

	err = err ? err : REFUSED(syscall(SYS_kill, getppid(), 0), ENOSYS);
	err = err ? err : REFUSED(syscall(SYS_chmod, "/", 0755), ENOSYS);
	/* typing into the terminal from which the VM was started */
	err = err ? err : REFUSED(ioctl(STDIN_FILENO, TIOCSTI, "x"), ENOSYS);
	return err ? err : REFUSED(syscall(SYS_clone3, NULL, 0), ENOSYS);
}

static void test_refused(void **state)
{
	if (SANITIZED)
		skip_because("sanitizers make these system calls themselves");
	assert_fine(fork_something);
	assert_fine(refused_calls);
}

static int resolve(void)
{
	struct addrinfo *list = NULL;
	int err = getaddrinfo("localhost", "1", NULL, &list);

	if (list)
		freeaddrinfo(list);
	return err == 0 ? 0 : 1;
}

static void *nothing(void *arg)
{
	return arg;
}

static int make_thread(void)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL);
}

static int what_the_process_needs(void)
{
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED || make_thread() || resolve();
}

static void test_allowed(void **state)
{
	assert_fine(what_the_process_needs);
}

/* A process that is root to SO_PEERCRED must not connect to this host's daemons. */
static int no_unix_sockets(void)
{
	int pair[2], err = REFUSED(socket(AF_UNIX, SOCK_STREAM, 0), ENOSYS);

	err = err ? err : REFUSED(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), ENOSYS);
	err = err ? err : REFUSED(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), ENOSYS);
	err = err ? err : REFUSED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ENOSYS);
	if (!err && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		err = 126;
	return err;
}

static int unix_sockets(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? 0 : 1;
}

static void test_unix_sockets(void **state)
{
	assert_fine(no_unix_sockets);
	config.unix_sockets = true;
	assert_fine(unix_sockets);
}

static enum sandbox_role role;
static int (*role_body)(void);

static void *in_role(void *arg)
{
	int *result = arg;

	sandbox_thread(role, "role");
	*result = role_body();
	return NULL;
}

static int in_thread(void)
{
	pthread_t thread;
	int result = 1;

	if (pthread_create(&thread, NULL, in_role, &result) || pthread_join(thread, NULL))
		return 1;
	/* and the others may continue */
	return result ? result : what_the_process_needs();
}

static int narrow(void)
{
	const bool kvm = role == SANDBOX_VCPU || role == SANDBOX_DEVICE;
	int err = REFUSED(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY), ENOSYS);

	err = err ? err : REFUSED(syscall(SYS_socket, AF_INET, SOCK_STREAM, 0), ENOSYS);
	err = err ? err : REFUSED(syscall(SYS_connect, 0, NULL, 0), ENOSYS);
	err = err ? err : REFUSED(syscall(SYS_unlink, "/nothing"), ENOSYS);
	err = err ? err : REFUSED(syscall(SYS_accept4, -1, NULL, NULL, 0), ENOSYS);
	err = err ? err : REFUSED(ioctl(STDIN_FILENO, KVM_RUN, 0), kvm ? ENOTTY : ENOSYS);
	if (!err && mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
			    MAP_FAILED)
		err = 126;
	return err;
}

static void test_roles(void **state)
{
	if (SANITIZED)
		skip_because("sanitizers make these system calls themselves");
	role_body = narrow;
	for (role = 0; role < SANDBOX_ROLES; role++)
		assert_fine(in_thread);
}

/* Memory, locks, waits, output: every role has them. */
static int ordinary(void)
{
	void *memory = malloc(8 << 20);
	struct timespec moment = { .tv_nsec = 1000 };
	char name[16] = "";

	memset(memory, 1, 8 << 20);
	free(memory);
	nanosleep(&moment, NULL);
	prctl(PR_GET_NAME, name, 0, 0, 0);
	return write(STDERR_FILENO, "", 0) == 0 && !clock_gettime(CLOCK_REALTIME, &moment) ? 0 : 1;
}

static void test_ordinary(void **state)
{
	role_body = ordinary;
	for (role = 0; role < SANDBOX_ROLES; role++)
		assert_fine(in_thread);
}

/* Without a sandbox a role only names the thread. */
static void *outside(void *arg)
{
	char name[16] = "";
	int *result = arg, fd;

	sandbox_thread(SANDBOX_PLAIN, "plain");
	prctl(PR_GET_NAME, name, 0, 0, 0);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	*result = !strcmp(name, "plain") && fd >= 0;
	close(fd);
	return NULL;
}

static void test_role_outside(void **state)
{
	pthread_t thread;
	int result = 0;

	assert_int_equal(pthread_create(&thread, NULL, outside, &result), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(result);
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

static int open_for_writing(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

static int files(void)
{
	int err = REFUSED(open_for_writing(in_dir("other")), EACCES), fd;

	if (!err && open_for_writing(in_dir("disk")))
		err = 101;
	if (!err)
		err = REFUSED(open(in_dir("new"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600), EACCES);
	if (!err)
		err = REFUSED(unlink(in_dir("other")), EACCES);
	if (err)
		return err;
	if (unlink(in_dir("run/web.sock")))
		return 102;
	fd = open(in_dir("other"), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 103;
	return open_for_writing("/dev/null") ? 104 : 0;
}

static void test_files(void **state)
{
	if (!has_landlock())
		skip_because("this kernel has no Landlock");
	assert_int_equal(mkdir(in_dir("run"), 0700), 0);
	make_file(in_dir("run/web.sock"));
	make_file(in_dir("disk"));
	make_file(in_dir("other"));
	config.writable[0] = in_dir("disk");
	config.writable[1] = "/not/there";
	config.runtime_dir = in_dir("run");
	assert_fine(files);
}

static int directory(void)
{
	int err = open_for_writing(in_dir("disks/one")) ? 101 : 0;

	err = err ? err : REFUSED(open_for_writing(in_dir("other")) ? -1 : 0, EACCES);
	return err ? err :
		     REFUSED(open(in_dir("disks/new"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600),
			     EACCES);
}

/* What is in a directory may be written, and nothing made there. */
static void test_directory(void **state)
{
	if (!has_landlock())
		skip_because("this kernel has no Landlock");
	assert_int_equal(mkdir(in_dir("disks"), 0700), 0);
	make_file(in_dir("disks/one"));
	make_file(in_dir("other"));
	config.writable[0] = in_dir("disks");
	assert_fine(directory);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/*
 * What was left open by the caller goes, but for what an argument names; a closed standard input
 * becomes /dev/null.
 */
static void test_descriptors(void **state)
{
	char *argv[] = { (char *)"sevmirror", (char *)"--session", (char *)"/dev/fd/20",
			 (char *)"--disk=/dev/fd/30,ro", NULL };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		struct why why;
		bool ok;

		dup2(STDERR_FILENO, 10);
		dup2(STDERR_FILENO, 20);
		dup2(STDERR_FILENO, 30);
		dup2(STDERR_FILENO, 40);
		close(STDIN_FILENO);
		ok = !sandbox_begin(4, argv, &why) && is_open(STDIN_FILENO) && is_open(1) &&
		     is_open(2) && !is_open(3) && !is_open(10) && is_open(20) && is_open(30) &&
		     !is_open(40);
		_exit(ok ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_user_refused),
		cmocka_unit_test(test_role_outside),
		cmocka_unit_test(test_privileges),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_lethal),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_allowed),
		cmocka_unit_test(test_unix_sockets),
		cmocka_unit_test(test_roles),
		cmocka_unit_test(test_ordinary),
		cmocka_unit_test_setup_teardown(test_files, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_directory, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
