/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why something failed, as a sentence for people: what was tried, what was wrong, what to do.
 * Carried up beside the negative errno to the one place that prints it.
 */
#ifndef LIB_UTIL_WHY_H
#define LIB_UTIL_WHY_H

#include <sevmirror/sev.h>

struct why {
	/* one line without newline, NUL-terminated; empty when nothing was recorded */
	char text[640];
};

/* Record the sentence and return err. why may be NULL. */
int why_set(struct why *why, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * The same from a system call's errno, which is appended: "FORMAT: No such file or directory".
 * Returns -errno.
 */
int why_errno(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Take over what lib/sev recorded. Returns err. */
int why_sev(struct why *why, int err, const struct sev_error *error);

#endif
