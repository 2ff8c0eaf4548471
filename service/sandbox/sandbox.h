/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process of a VM gives away what it does not need, so that whoever breaks out of the guest
 * into it, or breaks in over the wire, finds little: sandbox_begin() first of all in a process,
 * sandbox_enter() once everything that needs privileges is open and while there is one thread,
 * sandbox_thread() at the beginning of every thread with one narrow task. docs/host.md says
 * what is allowed.
 */
#ifndef SERVICE_SANDBOX_H
#define SERVICE_SANDBOX_H

#include <stdbool.h>

#include "lib/util/why.h"

/*
 * For good: no core dumps, not even for a debugger of the same user (the memory holds keys), no new
 * privileges by any execve(), and no file descriptor that the caller left open, except 0 to 2 and
 * those that an argument names as /dev/fd/N. Descriptors 0 to 2 that are closed become /dev/null. 0
 * or a negative errno.
 */
int sandbox_begin(int argc, char *const *argv, struct why *why);

#define SANDBOX_PATHS_MAX 16

struct sandbox_config {
	const char *user; /* a name or a number to become; NULL: stay. Only root can */
	/*
	 * Files, directories and devices that stay writable, NULL-terminated; what is not there is
	 * left out. Nothing else can be written.
	 */
	const char *writable[SANDBOX_PATHS_MAX + 1];
	/* where the sockets of control and of a unix: address are removed; NULL: nowhere */
	const char *runtime_dir, *socket_dir;
	bool unix_sockets; /* new ones can be made, and connected to what listens on this host */
};

/*
 * Raise the limit of locked memory, become the user, drop every capability, restrict the file
 * system (Landlock, where the kernel has it) and the system calls (seccomp) to what a VMM does.
 * There is no way back. Everything that comes later inherits it. 0 or a negative errno, after which
 * the process must end: it may have got half-way.
 */
int sandbox_enter(const struct sandbox_config *config, struct why *why);

enum sandbox_role {
	SANDBOX_VCPU, /* of the guest or of a mirror: KVM's ioctls */
	SANDBOX_DEVICE, /* a device's worker: its open files, interrupts */
	SANDBOX_STREAM, /* a migration's data: its socket, the rings' doorbells, userfaultfd */
	SANDBOX_PLAIN, /* computes and waits */
	SANDBOX_ROLES
};

/*
 * Name the calling thread (at most 15 bytes) and restrict it to its role, if the process is in the
 * sandbox. Threads without a role may do what the process may. Threads that it makes inherit the
 * role.
 */
void sandbox_thread(enum sandbox_role role, const char *name);

#endif
