/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SANDBOX_SANDBOX_PRIVATE_H
#define SANDBOX_SANDBOX_PRIVATE_H

#include "sandbox/sandbox.h"

/* descriptors.c */
int descriptors_close(int argc, char *const *argv, struct why *why);

/* privileges.c: user NULL: stay. Capabilities go either way. */
int privileges_drop(const char *user, struct why *why);

/* landlock.c: 0 also where the kernel has no Landlock. */
int landlock_enter(const struct sandbox_config *config, struct why *why);

/* seccomp.c: of the process, and make ready those of the roles. */
int seccomp_enter(struct why *why);

#endif
