/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Why an SEV operation failed: errno of the kernel, code of the firmware, and a sentence for people
 * that says what was tried, what was wrong and what to do.
 */
#ifndef LIB_SEV_ERROR_H
#define LIB_SEV_ERROR_H

#include <sevmirror/sev.h>

/*
 * Record a failure: err is a negative errno, fw the firmware's code or SEV_FW_NO_CALL, the format
 * says what was tried ("LAUNCH_START"). The message becomes "WHAT: firmware error NAME (0xNN):
 * HINT" or "WHAT: STRERROR". error may be NULL. Returns err.
 */
int sev_error_firmware(struct sev_error *error, int err, uint32_t fw, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Record a failure with exactly this message; no firmware code. error may be NULL. Returns err. */
int sev_error_set(struct sev_error *error, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
