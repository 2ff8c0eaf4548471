/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A firmware that fails when it is told to: the Nth command of a number answers a status instead of
 * being executed, and changes nothing. For tests of the software above; it is no part of the SEV
 * API.
 */
#ifndef EMULATOR_PSP_FAULT_H
#define EMULATOR_PSP_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PSP_FAULTS_MAX	 32
#define PSP_FAULT_CMDS	 0x80 /* commands have numbers below it */
#define PSP_FAULT_EVERY	 0 /* in place of N: each command of that number */
#define PSP_FAULT_STATUS 0xffff /* the largest status that the mailbox can answer */

struct psp_fault {
	uint32_t cmd;
	uint32_t nth; /* from 1, counted since psp_faults_parse(); or PSP_FAULT_EVERY */
	uint32_t status;
};

struct psp_faults {
	struct psp_fault at[PSP_FAULTS_MAX];
	size_t count;
	uint32_t seen[PSP_FAULT_CMDS]; /* commands since psp_faults_parse() */
};

/*
 * text: CMD:N:STATUS, numbers in decimal or with 0x; several of them separated by '/'; "" or "none"
 * for no faults. On an error *faults is as it was and *why a static string that says what is wrong.
 */
bool psp_faults_parse(const char *text, struct psp_faults *faults, const char **why);

/* Count this command. 0, or the status that it is to fail with. */
uint32_t psp_faults_next(struct psp_faults *faults, uint32_t cmd);

#endif
