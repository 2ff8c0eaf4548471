/* SPDX-License-Identifier: Apache-2.0 */
/* Guest commands in states they are not for. */
#ifndef TESTS_EMULATED_STATES_H
#define TESTS_EMULATED_STATES_H

#include "tests/emulated/vm.h"

/*
 * The guest is in this state: every guest command that the specification does not allow in it must
 * give INVALID_GUEST_STATE, with otherwise plausible arguments, and leave the state as it is.
 */
void tap_wrong_state(struct tap *tap, struct vm *vm, enum guest_state state);

#endif
