/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/option_number.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/util/number.h"

#define SECONDS_MIN 0.001
#define SECONDS_MAX 86400.0

int cli_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *value,
	       struct why *why)
{
	if (!util_parse_number(text, min, max, value))
		return 0;
	return why_set(why, -EINVAL, "%s %s: expected a number from %" PRIu64 " to %" PRIu64,
		       option, text, min, max);
}

int cli_size(const char *option, const char *text, uint64_t unit, uint64_t max, uint64_t *bytes,
	     struct why *why)
{
	char least[24], most[24];

	if (!util_parse_size(text, unit, max, bytes) && *bytes % unit == 0)
		return 0;
	return why_set(why, -EINVAL,
		       "%s %s: expected a size from %s to %s, a multiple of %s, as in 256M, 1.5G, "
		       "1GiB or 2GB",
		       option, text, util_size_text(unit, least), util_size_text(max, most), least);
}

int cli_seconds(const char *option, const char *text, uint64_t *nanoseconds, struct why *why)
{
	char *end;
	double seconds = strtod(text, &end);

	if (!isdigit((unsigned char)*text) || *end ||
	    !(seconds >= SECONDS_MIN && seconds <= SECONDS_MAX))
		return why_set(why, -EINVAL, "%s %s: expected seconds from %g to %g, as in 2.5",
			       option, text, SECONDS_MIN, SECONDS_MAX);
	*nanoseconds = (uint64_t)(seconds * 1e9);
	return 0;
}
