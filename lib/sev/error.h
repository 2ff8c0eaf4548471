/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why an SEV operation failed: errno of the kernel, code of the firmware, and a sentence for people that says what was
 * tried, what was wrong and what to do.
 */
#ifndef LIB_SEV_ERROR_H
#define LIB_SEV_ERROR_H

#include <stddef.h>
#include <stdint.h>

/* The firmware was not asked, or its answer is unknown (SEV_RET_NO_FW_CALL of <linux/psp-sev.h>). */
#define SEV_FW_NO_CALL UINT32_MAX

#define SEV_ERROR_MESSAGE_BYTES 512

struct sev_error {
	int err; /* negative errno, 0: no error was recorded */
	uint32_t fw; /* SEV_RET_* code of the firmware, or SEV_FW_NO_CALL */
	char message[SEV_ERROR_MESSAGE_BYTES]; /* one line without newline, NUL-terminated */
};

/*
 * The specification's name of a firmware status ("POLICY_FAILURE"), and one sentence on what it usually means and what to do.
 * Never NULL: unknown codes have a name and hint that say so.
 */
const char *sev_fw_error_name(uint32_t fw);
const char *sev_fw_error_hint(uint32_t fw);

/*
 * Record a failure: err is a negative errno, fw the firmware's code or SEV_FW_NO_CALL, the format says what was tried
 * ("LAUNCH_START"). The message becomes "WHAT: firmware error NAME (0xNN): HINT" or "WHAT: STRERROR". error may be
 * NULL. Returns err.
 */
int sev_error_firmware(struct sev_error *error, int err, uint32_t fw, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Record a failure with exactly this message; no firmware code. error may be NULL. Returns err. */
int sev_error_set(struct sev_error *error, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
