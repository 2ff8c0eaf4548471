/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of a few instructions: it counts, and stamps each page of a working area with the count,
 * so that anyone can tell whether every page arrived as it was last.
 */
#ifndef EMBED_GUEST_H
#define EMBED_GUEST_H

#include "vm.h"

extern const struct vm_guest counting_guest;

/* How far the guest has counted. */
uint64_t guest_count(const struct vm *vm);

/*
 * Stop the guest for good and look at every stamp. True if each page has the last count that the
 * guest can have put there.
 */
bool guest_check(struct vm *vm);

#endif
