/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_SANDBOX_PRIVATE_H
#define SERVICE_SANDBOX_PRIVATE_H

#include <stdbool.h>

#include "service/sandbox/sandbox.h"

/* descriptors.c */
int descriptors_close(int argc, char *const *argv, struct why *why);

/* privileges.c: user NULL: stay. Capabilities go either way. */
int privileges_drop(const char *user, struct why *why);

/* landlock.c: 0 also where the kernel has no Landlock. */
int landlock_enter(const struct sandbox_config *config, struct why *why);

/* vmm_threads.c: threads of the VM take the role that they name (vmm/thread.h). */
void vmm_threads_confine(void);

/* seccomp.c: of the process, and make ready those of the roles. */
int seccomp_enter(bool unix_sockets, struct why *why);

#endif
