/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of the command line, with what is expected in the message. */
#ifndef CLI_OPTION_NUMBER_H
#define CLI_OPTION_NUMBER_H

#include <stdint.h>

#include "lib/util/why.h"

/* option: "--cpus". Decimal or 0x and hexadecimal, from min to max. 0 or -EINVAL. */
int cli_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *value,
	       struct why *why);

/* A size as util_parse_size() reads it, from unit to max, a multiple of unit. */
int cli_size(const char *option, const char *text, uint64_t unit, uint64_t max, uint64_t *bytes,
	     struct why *why);

/* "2.5" seconds, from a millisecond to a day. */
int cli_seconds(const char *option, const char *text, uint64_t *nanoseconds, struct why *why);

#endif
