/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A number and the character behind it, or (last) the end of the text. *text is moved on. */
static bool number(const char **text, char behind, bool last, uint32_t max, uint32_t *value)
{
	unsigned long parsed;
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	parsed = strtoul(*text, &end, 0);
	if (errno || parsed > max || !(*end == behind || (last && !*end)))
		return false;
	*value = parsed;
	*text = *end ? end + 1 : end;
	return true;
}

bool psp_faults_parse(const char *text, struct psp_faults *faults, const char **why)
{
	struct psp_faults parsed = { .count = 0 };
	bool more = *text && strcmp(text, "none") != 0;

	while (more) {
		struct psp_fault *fault = &parsed.at[parsed.count];

		if (parsed.count == PSP_FAULTS_MAX) {
			*why = "there are more than 32 faults";
			return false;
		}
		if (!number(&text, ':', false, PSP_FAULT_CMDS - 1, &fault->cmd)) {
			*why = "CMD of CMD:N:STATUS is not a number below 0x80";
			return false;
		}
		if (!number(&text, ':', false, UINT32_MAX, &fault->nth)) {
			*why = "N of CMD:N:STATUS is not a number";
			return false;
		}
		if (!number(&text, '/', true, PSP_FAULT_STATUS, &fault->status) || !fault->status) {
			*why = "STATUS of CMD:N:STATUS is not a number from 1 to 0xffff";
			return false;
		}
		more = text[-1] == '/';
		parsed.count++;
	}
	*faults = parsed;
	return true;
}

uint32_t psp_faults_next(struct psp_faults *faults, uint32_t cmd)
{
	uint32_t seen;

	if (cmd >= PSP_FAULT_CMDS)
		return 0;
	seen = ++faults->seen[cmd];
	for (size_t i = 0; i < faults->count; i++) {
		const struct psp_fault *fault = &faults->at[i];

		if (fault->cmd == cmd && (fault->nth == seen || fault->nth == PSP_FAULT_EVERY))
			return fault->status;
	}
	return 0;
}
