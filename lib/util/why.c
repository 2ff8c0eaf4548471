/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/why.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int why_set(struct why *why, int err, const char *format, ...)
{
	va_list args;

	if (!why)
		return err;
	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return err;
}

int why_errno(struct why *why, const char *format, ...)
{
	int err = errno;
	va_list args;
	size_t used;

	if (!why)
		return -err;
	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	used = strlen(why->text);
	snprintf(why->text + used, sizeof(why->text) - used, ": %s", strerror(err));
	return -err;
}

int why_sev(struct why *why, int err, const struct sev_error *error)
{
	return why_set(why, err, "%s", error->message);
}
