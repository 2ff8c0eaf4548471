/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#ifndef LIB_UTIL_STACK_H
#define LIB_UTIL_STACK_H

/*
 * Overwrite what calls that have returned left on this thread's stack, 64 KiB of it. For after the
 * use of keys: OpenSSL does not clean up all of its temporaries, registers are spilled, and a
 * signal puts them all on the stack.
 */
void util_stack_wipe(void);

#endif
