/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which system calls a VMM makes, by who makes them; seccomp.c makes filters of it. A call that is
 * in no list fails with ENOSYS, as on an older kernel, so that a C library that tries something new
 * falls back to what it did before. Those of lethal[] kill the process.
 */
#ifndef SANDBOX_SYSCALLS_H
#define SANDBOX_SYSCALLS_H

#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/psp-sev.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <seccomp.h>

/* Every thread: to wait, to compute, to allocate, to use what is open, to end. */
static const int calls_everyone[] = {
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(close),
	SCMP_SYS(lseek),
	SCMP_SYS(fstat),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(getcpu),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(getrandom),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(membarrier),
	SCMP_SYS(rseq),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigpending),
	SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(tgkill),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	/* a role's filter on top of the process's; it can only take away */
	SCMP_SYS(seccomp),
};

/* Files that are open already, at a place. */
static const int calls_files[] = {
	SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(preadv),    SCMP_SYS(pwritev),
	SCMP_SYS(preadv2), SCMP_SYS(pwritev2), SCMP_SYS(fdatasync), SCMP_SYS(fsync),
};

/* Sockets that are connected already. */
static const int calls_connected[] = {
	SCMP_SYS(sendto),      SCMP_SYS(sendmsg),     SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),     SCMP_SYS(getsockopt),  SCMP_SYS(setsockopt),
	SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(shutdown),
};

/*
 * The main thread, the control socket's and a migration's: they build VMs, open files and
 * connections, and tear down.
 */
static const int calls_process[] = {
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(openat2),
	SCMP_SYS(stat),
	SCMP_SYS(lstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(statfs),
	SCMP_SYS(fstatfs),
	SCMP_SYS(access),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64),
	SCMP_SYS(getcwd),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(fcntl),
	SCMP_SYS(flock),
	SCMP_SYS(dup),
	SCMP_SYS(dup2),
	SCMP_SYS(dup3),
	SCMP_SYS(pipe2),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate),
	SCMP_SYS(fadvise64),
	SCMP_SYS(memfd_create),
	SCMP_SYS(mincore),
	SCMP_SYS(msync),
	SCMP_SYS(mlock),
	SCMP_SYS(mlock2),
	SCMP_SYS(munlock),
	SCMP_SYS(eventfd2),
	SCMP_SYS(signalfd4),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_gettime),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(select),
	SCMP_SYS(pselect6),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(connect),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(recvmmsg),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getppid),
	SCMP_SYS(getrlimit),
	SCMP_SYS(prlimit64),
	SCMP_SYS(getrusage),
	SCMP_SYS(times),
	SCMP_SYS(uname),
	SCMP_SYS(sysinfo),
	SCMP_SYS(sched_setaffinity),
	SCMP_SYS(setpriority), /* threads of a migration yield to the guest's */
	SCMP_SYS(sched_getscheduler),
	SCMP_SYS(sched_getparam),
	SCMP_SYS(set_tid_address),
	/* an executable mapping: the resolver loads its modules (nsswitch.conf) */
	SCMP_SYS(mmap),
	SCMP_SYS(mprotect),
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED
/*
 * The leak checker stops the process from a clone of it; reports go to files and through a
 * symbolizer. Nobody runs VMs with these.
 */
static const int calls_sanitizer[] = {
	SCMP_SYS(ptrace),
	SCMP_SYS(clone),
	SCMP_SYS(fork),
	SCMP_SYS(vfork),
	SCMP_SYS(execve),
	SCMP_SYS(wait4),
	SCMP_SYS(waitid),
	SCMP_SYS(prctl),
	SCMP_SYS(mmap),
	SCMP_SYS(mprotect),
	SCMP_SYS(openat),
	SCMP_SYS(open),
	SCMP_SYS(ioctl),
	SCMP_SYS(readlink),
	SCMP_SYS(getdents64),
	SCMP_SYS(pipe),
	SCMP_SYS(getdents),
	SCMP_SYS(dup2),
	SCMP_SYS(kill),
	SCMP_SYS(stat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(getppid),
	SCMP_SYS(tkill),
	SCMP_SYS(uname),
	SCMP_SYS(sched_setaffinity),
	SCMP_SYS(getuid),
	SCMP_SYS(fcntl),
	SCMP_SYS(getcwd),
	SCMP_SYS(clone3),
};
#else
/* Nothing in a VMM does this; code that tries has broken in. */
static const int calls_lethal[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(kcmp),
	SCMP_SYS(setuid),
	SCMP_SYS(setreuid),
	SCMP_SYS(setresuid),
	SCMP_SYS(setgid),
	SCMP_SYS(setregid),
	SCMP_SYS(setresgid),
	SCMP_SYS(setgroups),
	SCMP_SYS(capset),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(move_mount),
	SCMP_SYS(fsopen),
	SCMP_SYS(open_tree),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(mknod),
	SCMP_SYS(mknodat),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(keyctl),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(reboot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(iopl),
	SCMP_SYS(ioperm),
	SCMP_SYS(modify_ldt),
	SCMP_SYS(personality),
	SCMP_SYS(io_uring_setup),
};
#endif

/* A call that is allowed if (argument & mask) == value. */
struct argument_rule {
	int call;
	unsigned int argument;
	uint64_t mask, value;
};

#define IOCTL(request)                                              \
	{                                                           \
		SCMP_SYS(ioctl), 1, UINT32_MAX, (uint32_t)(request) \
	}
#define IOCTL_TYPE(type)                                          \
	{                                                         \
		SCMP_SYS(ioctl), 1, 0xff00, (uint64_t)(type) << 8 \
	}
#define PRCTL(option)                                    \
	{                                                \
		SCMP_SYS(prctl), 0, UINT32_MAX, (option) \
	}
#define SOCKET(domain)                                    \
	{                                                 \
		SCMP_SYS(socket), 0, UINT32_MAX, (domain) \
	}
#define KVM_IOCTLS	  IOCTL_TYPE(0xae) /* <linux/kvm.h>, KVMIO */
#define UFFD_IOCTLS	  IOCTL_TYPE(0xaa) /* <linux/userfaultfd.h>, UFFDIO */
#define PR_SET_VMA_OPTION 0x53564d41 /* names for malloc's mappings, <linux/prctl.h> */

static const struct argument_rule arguments_everyone[] = {
	PRCTL(PR_SET_NAME),
	PRCTL(PR_SET_VMA_OPTION),
};

/* Memory that is not executable. */
static const struct argument_rule arguments_leaf[] = {
	{ SCMP_SYS(mmap), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(mprotect), 2, PROT_EXEC, 0 },
};

static const struct argument_rule arguments_kvm[] = { KVM_IOCTLS };
static const struct argument_rule arguments_uffd[] = { UFFD_IOCTLS };

static const struct argument_rule arguments_process[] = {
	KVM_IOCTLS,
	UFFD_IOCTLS,
	IOCTL(SEV_ISSUE_CMD),
	IOCTL(TUNSETIFF),
	IOCTL(BLKGETSIZE64),
	IOCTL(BLKFLSBUF),
	/* the terminal, but not TIOCSTI, which types into it */
	IOCTL(TCGETS),
	IOCTL(TCSETS),
	IOCTL(TCSETSW),
	IOCTL(TCSETSF),
	IOCTL(TIOCGWINSZ),
	IOCTL(FIONREAD),
	IOCTL(FIONBIO),
	PRCTL(PR_GET_DUMPABLE),
	PRCTL(PR_SET_DUMPABLE),
	/*
	 * threads, not processes; clone3(), whose flags a filter cannot see, is refused and its
	 * callers know clone()
	 */
	{ SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD },
	SOCKET(AF_INET),
	SOCKET(AF_INET6),
	SOCKET(AF_NETLINK), /* the resolver asks which addresses there are */
	/* a connected pair; not of datagrams, which could be sent to any other socket */
	{ SCMP_SYS(socketpair), 1, 0xf, SOCK_SEQPACKET },
};

/*
 * Only of a process that says so: a daemon believes what SO_PEERCRED says of the user, and a VM
 * that root started is root to it.
 */
static const struct argument_rule arguments_unix[] = { SOCKET(AF_UNIX) };

#endif
