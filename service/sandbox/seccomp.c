/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/util/file.h"
#include "service/sandbox/sandbox_private.h"
#include "service/sandbox/syscalls.h"

#define N(array) (sizeof(array) / sizeof(*(array)))

struct program {
	struct sock_filter *code;
	unsigned short len; /* 0: the process is not in the sandbox */
};

/*
 * Filters are the process's by nature, and so is this: written once, by seccomp_enter(), before
 * there is a second thread.
 */
static struct program roles[SANDBOX_ROLES];

static int allow(scmp_filter_ctx ctx, const int *calls, size_t n)
{
	size_t i;
	int err = 0;

	for (i = 0; !err && i < n; i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return err;
}

static int allow_arguments(scmp_filter_ctx ctx, const struct argument_rule *rules, size_t n)
{
	size_t i;
	int err = 0;

	for (i = 0; !err && i < n; i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, rules[i].call, 1,
				       SCMP_CMP64(rules[i].argument, SCMP_CMP_MASKED_EQ,
						  rules[i].mask, rules[i].value));
	return err;
}

#ifdef SANITIZED
static int add_lethal(scmp_filter_ctx ctx)
{
	return allow(ctx, calls_sanitizer, N(calls_sanitizer));
}
#else
static int add_lethal(scmp_filter_ctx ctx)
{
	size_t i;
	int err = 0;

	for (i = 0; !err && i < N(calls_lethal); i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, calls_lethal[i], 0);
	return err;
}
#endif

/* What every thread may do and none. */
static int add_common(scmp_filter_ctx ctx)
{
	int err = add_lethal(ctx);

	if (!err)
		err = allow(ctx, calls_everyone, N(calls_everyone));
	return err ? err : allow_arguments(ctx, arguments_everyone, N(arguments_everyone));
}

static int add_process(scmp_filter_ctx ctx, bool unix_sockets)
{
	int err = allow(ctx, calls_process, N(calls_process));

	if (err)
		return err;
	err = allow(ctx, calls_files, N(calls_files));
	if (err)
		return err;
	err = allow(ctx, calls_connected, N(calls_connected));
	if (err)
		return err;
	err = allow_arguments(ctx, arguments_process, N(arguments_process));
	if (err)
		return err;
	if (unix_sockets)
		err = allow_arguments(ctx, arguments_unix, N(arguments_unix));
	return err;
}

static int add_role(scmp_filter_ctx ctx, enum sandbox_role role)
{
	int err = allow_arguments(ctx, arguments_leaf, N(arguments_leaf));

	if (err)
		return err;
	if (role == SANDBOX_VCPU || role == SANDBOX_DEVICE)
		err = allow_arguments(ctx, arguments_kvm, N(arguments_kvm));
	if (err)
		return err;
	if (role == SANDBOX_DEVICE)
		err = allow(ctx, calls_files, N(calls_files));
	if (err)
		return err;
	if (role == SANDBOX_DEVICE || role == SANDBOX_STREAM)
		err = allow(ctx, calls_connected, N(calls_connected));
	if (err)
		return err;
	if (role == SANDBOX_STREAM)
		err = allow_arguments(ctx, arguments_uffd, N(arguments_uffd));
	return err;
}

/* libseccomp 2.5 writes to files only. */
static int take_code(scmp_filter_ctx ctx, struct program *program)
{
	int fd = memfd_create("seccomp", MFD_CLOEXEC), err;
	struct stat st = { 0 };

	if (fd < 0)
		return -errno;
	err = seccomp_export_bpf(ctx, fd);
	if (!err && (fstat(fd, &st) || lseek(fd, 0, SEEK_SET) < 0))
		err = -errno;
	if (!err && (size_t)st.st_size > BPF_MAXINSNS * sizeof(*program->code))
		err = -E2BIG;
	program->code = err ? NULL : malloc((size_t)st.st_size);
	if (!err && !program->code)
		err = -ENOMEM;
	if (!err && util_read_full(fd, program->code, (size_t)st.st_size) != st.st_size)
		err = -EIO;
	if (!err)
		program->len = (unsigned short)((size_t)st.st_size / sizeof(*program->code));
	close(fd);
	return err;
}

/* role SANDBOX_ROLES: the process. */
static int compile(struct program *program, enum sandbox_role role, bool unix_sockets)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int err;

	if (!ctx)
		return -ENOMEM;
	/* A tree instead of a list: KVM_RUN and send() pass through here. */
	err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!err)
		err = add_common(ctx);
	if (!err)
		err = role == SANDBOX_ROLES ? add_process(ctx, unix_sockets) : add_role(ctx, role);
	if (!err)
		err = take_code(ctx, program);
	seccomp_release(ctx);
	return err;
}

/*
 * SPEC_ALLOW: kernels before 5.16 slow a filtered thread down by speculation controls that protect
 * a process from code in its own address space; a VMM runs none that it does not trust.
 */
static int install(const struct program *program)
{
	const struct sock_fprog prog = { .len = program->len, .filter = program->code };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		       &prog) ?
		       -errno :
		       0;
}

int seccomp_enter(bool unix_sockets, struct why *why)
{
	struct program process = { 0 };
	enum sandbox_role role;
	int err = compile(&process, SANDBOX_ROLES, unix_sockets);

	for (role = 0; !err && role < SANDBOX_ROLES; role++)
		err = compile(&roles[role], role, unix_sockets);
	if (!err)
		err = install(&process);
	free(process.code);
	return err ? why_set(why, err, "cannot install the seccomp filters: %s", strerror(-err)) :
		     0;
}

void sandbox_thread(enum sandbox_role role, const char *name)
{
	int err;

	(void)prctl(PR_SET_NAME, name, 0, 0, 0);
	if (!roles[role].len)
		return;
	err = install(&roles[role]);
	if (err) {
		/*
		 * The process has a filter, so the kernel knows them: no memory. A thread with more
		 * rights than it should have does not run.
		 */
		fprintf(stderr, "sevmirror: the thread %s cannot be confined: %s\n", name,
			strerror(-err));
		abort();
	}
}
