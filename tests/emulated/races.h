/* SPDX-License-Identifier: Apache-2.0 */
/* What t_races.c and t_orphans.c share. */
#ifndef TESTS_EMULATED_RACES_H
#define TESTS_EMULATED_RACES_H

#include "tests/emulated/vm.h"

#define ASIDS  15 /* CPUID 8000001F ECX of the emulated host */
#define SECRET "what only this key opens"

/* Its first vCPU says the secret. */
bool races_reads_secret(struct vm *vm);
/* Waits up to 20 s until the firmware keeps that many guests. */
bool races_guests(struct host *host, unsigned int guests);
/* A check: the firmware keeps no guest any more. */
bool races_no_guests(struct tap *tap, struct host *host, const char *test);

#endif
