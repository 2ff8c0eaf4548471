/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/util/why.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <linux/psp-sev.h>

static enum sevmirror_reason reason_of(int err)
{
	switch (err) {
	case 0:
		return SEVMIRROR_REASON_NONE;
	case -ECANCELED:
		return SEVMIRROR_REASON_CANCELLED;
	case -ETIMEDOUT:
		return SEVMIRROR_REASON_TIMEOUT;
	case -ECONNRESET:
	case -ECONNREFUSED:
	case -ECONNABORTED:
	case -EPIPE:
	case -ENOTCONN:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return SEVMIRROR_REASON_CONNECTION;
	case -EREMOTEIO:
		return SEVMIRROR_REASON_PEER;
	case -EPROTO:
		return SEVMIRROR_REASON_PROTOCOL;
	case -ENOMEM:
		return SEVMIRROR_REASON_NO_MEMORY;
	default:
		return SEVMIRROR_REASON_INTERNAL;
	}
}

static enum sevmirror_reason reason_of_firmware(uint32_t fw)
{
	switch (fw) {
	case SEV_RET_POLICY_FAILURE:
		return SEVMIRROR_REASON_POLICY;
	case SEV_RET_INVALID_CERTIFICATE:
	case SEV_RET_BAD_SIGNATURE:
		return SEVMIRROR_REASON_CERTIFICATES;
	default:
		return SEVMIRROR_REASON_FIRMWARE;
	}
}

static void record(struct why *why, enum sevmirror_reason reason, int err, const char *format,
		   va_list args)
{
	why->err = err;
	why->fw = SEV_FW_NO_CALL;
	why->reason = reason;
	vsnprintf(why->text, sizeof(why->text), format, args);
}

int why_set(struct why *why, int err, const char *format, ...)
{
	va_list args;

	if (!why)
		return err;
	va_start(args, format);
	record(why, reason_of(err), err, format, args);
	va_end(args);
	return err;
}

int why_because(struct why *why, enum sevmirror_reason reason, int err, const char *format, ...)
{
	va_list args;

	if (!why)
		return err;
	va_start(args, format);
	record(why, reason, err, format, args);
	va_end(args);
	return err;
}

int why_errno(struct why *why, const char *format, ...)
{
	int err = -errno;
	va_list args;

	if (!why)
		return err;
	va_start(args, format);
	record(why, reason_of(err), err, format, args);
	va_end(args);
	why_append(why, ": %s", strerror(-err));
	return err;
}

int why_sev(struct why *why, int err, const struct sev_error *error)
{
	if (!why)
		return err;
	why_set(why, err, "%s", error->message);
	why->fw = error->fw;
	if (error->fw != SEV_FW_NO_CALL)
		why->reason = reason_of_firmware(error->fw);
	return err;
}

void why_prefix(struct why *why, const char *format, ...)
{
	char text[sizeof(why->text)];
	va_list args;
	size_t used;

	if (!why)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	used = strlen(text);
	snprintf(text + used, sizeof(text) - used, "%s", why->text);
	memcpy(why->text, text, sizeof(text));
}

void why_append(struct why *why, const char *format, ...)
{
	va_list args;
	size_t used;

	if (!why)
		return;
	used = strlen(why->text);
	va_start(args, format);
	vsnprintf(why->text + used, sizeof(why->text) - used, format, args);
	va_end(args);
}

void why_clear(struct why *why)
{
	*why = (struct why){ .fw = SEV_FW_NO_CALL };
}
