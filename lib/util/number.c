/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/util/number.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int in_range(uint64_t found, uint64_t min, uint64_t max, uint64_t *value)
{
	if (found < min || found > max)
		return -ERANGE;
	*value = found;
	return 0;
}

int util_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	unsigned long long found;
	char *end;

	if (!(hex ? isxdigit((unsigned char)text[2]) : isdigit((unsigned char)text[0])))
		return -EINVAL;
	errno = 0;
	found = strtoull(text, &end, hex ? 16 : 10);
	if (*end)
		return -EINVAL;
	return errno ? -ERANGE : in_range(found, min, max, value);
}

/* What the unit stands for; 0: not a unit. */
static uint64_t unit_bytes(const char *unit)
{
	static const char letters[] = "KMGT";
	const char *letter;
	uint64_t base = 1024, bytes = 1;

	if (!*unit || !strcasecmp(unit, "b"))
		return 1;
	letter = strchr(letters, toupper((unsigned char)*unit));
	if (!letter)
		return 0;
	if (!strcasecmp(unit + 1, "b"))
		base = 1000;
	else if (unit[1] && strcasecmp(unit + 1, "ib") != 0)
		return 0;
	for (; letter >= letters; letter--)
		bytes *= base;
	return bytes;
}

/* Up to 18 digits after the point, of the unit; -EINVAL if bytes do not come out whole. */
static int fraction_bytes(const char *digits, size_t len, uint64_t unit, uint64_t *bytes)
{
	unsigned __int128 sum = 0, scale = 1;

	if (!len || len > 18)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		sum = sum * 10 + (unsigned int)(digits[i] - '0');
		scale *= 10;
	}
	if (sum * unit % scale)
		return -EINVAL;
	*bytes = (uint64_t)(sum * unit / scale);
	return 0;
}

int util_parse_size(const char *text, uint64_t min, uint64_t max, uint64_t *bytes)
{
	size_t whole = strspn(text, "0123456789"), fraction = 0;
	const char *at = text + whole;
	uint64_t unit, count, more = 0;

	if (!whole)
		return -EINVAL;
	if (*at == '.')
		fraction = strspn(at + 1, "0123456789");
	unit = unit_bytes(*at == '.' ? at + 1 + fraction : at);
	if (!unit || (*at == '.' && fraction_bytes(at + 1, fraction, unit, &more)))
		return -EINVAL;
	errno = 0;
	count = strtoull(text, NULL, 10);
	if (errno || __builtin_mul_overflow(count, unit, &count) ||
	    __builtin_add_overflow(count, more, &count))
		return -ERANGE;
	return in_range(count, min, max, bytes);
}

const char *util_size_text(uint64_t bytes, char text[24])
{
	static const char *const units[] = { "", "K", "M", "G", "T" };
	unsigned int unit = 0;

	while (bytes && bytes % 1024 == 0 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, 24, "%" PRIu64 "%s", bytes, units[unit]);
	return text;
}
