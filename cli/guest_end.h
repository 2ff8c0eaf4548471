/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that run a guest in the foreground have in common. */
#ifndef CLI_GUEST_END_H
#define CLI_GUEST_END_H

#include "cli/cli.h"
#include "service/foreground.h"

/*
 * Let everything go and say how the guest ended. code: CLI_OK to have the exit code from its end,
 * or what went wrong, with why.
 */
int cli_guest_end(struct foreground *guest, int code, const struct why *why);

#endif
