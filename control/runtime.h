/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime directory, where the control sockets of running VMs are: $SEVMIRROR_RUNTIME_DIR, or
 * /run/sevmirror for root, or $XDG_RUNTIME_DIR/sevmirror. It is its owner's only (0700). For a VM
 * there are NAME.sock and NAME.lock; the VMM holds a lock on the latter as long as it lives, so a
 * socket that a crash left behind is told from one that is served.
 */
#ifndef CONTROL_RUNTIME_H
#define CONTROL_RUNTIME_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/util/why.h"

#define RUNTIME_NAME_MAX 64

/* 1 to RUNTIME_NAME_MAX letters, digits, '.', '_' and '-', the first a letter or digit. */
bool runtime_name_valid(const char *name);

/*
 * The directory's path into path. create: make it if it is not there. 0; -ENOENT: not there;
 * -ENXIO: none of the variables says where;
 * -EACCES: somebody else's, or open to others; -ENOTDIR; -ENAMETOOLONG.
 */
int runtime_dir(char path[PATH_MAX], bool create);

/*
 * What is wrong with the runtime directory after runtime_dir() gave err: its path and the cause.
 * Returns err.
 */
int runtime_dir_problem(int err, struct why *why);

/* A name that is ours. */
struct runtime_claim {
	int lock_fd;
	char lock_path[PATH_MAX];
	char socket_path[PATH_MAX];
};

/*
 * 0; -EADDRINUSE: a living process has the name; -EINVAL: not a name; or as runtime_dir(). A stale
 * socket is removed.
 */
int runtime_claim(struct runtime_claim *claim, const char *name);
void runtime_release(struct runtime_claim *claim);

/*
 * Path of the socket of the VM name. 0; -ENOENT: no such VM; -ECONNREFUSED: its process died
 * without cleaning up.
 */
int runtime_find(const char *name, char path[PATH_MAX]);

/* Call each with the name of each running VM, in alphabetical order. 0 or a negative errno. */
int runtime_list(void (*each)(void *opaque, const char *name), void *opaque);

#endif
