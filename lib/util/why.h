/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Why something failed. The one way in which errors are carried from where they are known to the
 * one place that prints them: a sentence for people, and the same for programs.
 */
#ifndef LIB_UTIL_WHY_H
#define LIB_UTIL_WHY_H

#include <stdint.h>

#include <sevmirror/host.h>
#include <sevmirror/sev.h>

struct why {
	/* one line without newline, NUL-terminated; empty when nothing was recorded */
	char text[640];
	int err; /* negative errno */
	uint32_t fw; /* the firmware's status, SEV_FW_NO_CALL if it was not asked */
	enum sevmirror_reason reason;
};

/*
 * Record the sentence and return err. The reason follows from err: -ETIMEDOUT is TIMEOUT,
 * -ECONNRESET CONNECTION, -ENOMEM NO_MEMORY, ...; what says nothing by itself is INTERNAL. why may
 * be NULL, here and below.
 */
int why_set(struct why *why, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for a reason that does not follow from err. */
int why_because(struct why *why, enum sevmirror_reason reason, int err, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * The same from a system call's errno, which is appended: "FORMAT: No such file or directory".
 * Returns -errno.
 */
int why_errno(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Take over what lib/sev recorded, with its firmware status: POLICY, CERTIFICATES or FIRMWARE.
 * Returns err.
 */
int why_sev(struct why *why, int err, const struct sev_error *error);

/* Put words before or after the sentence, which keeps its other members. */
void why_prefix(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
void why_append(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Forget what was recorded. */
void why_clear(struct why *why);

#endif
