/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test Anything Protocol for programs inside the emulated host: one line a check, the plan at the
 * end.
 */
#ifndef TESTS_EMULATED_TAP_H
#define TESTS_EMULATED_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

struct tap {
	const char *program;
	int count;
	int failed;
};

/*
 * Prints 'ok N - PROGRAM: what' or 'not ok ...'. Returns good, so that a test can leave out what
 * cannot work any more.
 */
__attribute__((format(printf, 3, 4))) static inline bool tap_ok(struct tap *tap, bool good,
								const char *what, ...)
{
	va_list args;

	printf("%sok %d - %s: ", good ? "" : "not ", ++tap->count, tap->program);
	va_start(args, what);
	vprintf(what, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	tap->failed += !good;
	return good;
}

__attribute__((format(printf, 3, 4))) static inline void tap_skip(struct tap *tap, const char *why,
								  const char *what, ...)
{
	va_list args;

	printf("ok %d - %s: ", ++tap->count, tap->program);
	va_start(args, what);
	vprintf(what, args);
	va_end(args);
	printf(" # SKIP %s\n", why);
	fflush(stdout);
}

/*
 * The plan, last: a program that died before it has no plan, which the driver counts as a failure.
 * Returns main()'s status.
 */
static inline int tap_done(const struct tap *tap)
{
	printf("1..%d\n", tap->count);
	return tap->failed || !tap->count;
}

#endif
