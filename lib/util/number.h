/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Numbers in text, strictly: the whole text is the number, without spaces and signs. For command
 * lines, addresses and configuration.
 */
#ifndef LIB_UTIL_NUMBER_H
#define LIB_UTIL_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Decimal, or hexadecimal with 0x, from min to max. 0; -EINVAL: not a number; -ERANGE: out of the
 * range, or of 64 bits. *value is written on success only.
 */
int util_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);

/*
 * Bytes: decimal with an optional fraction and unit. K, M, G, T and KiB, MiB, GiB, TiB are powers
 * of 1024, KB, MB, GB, TB powers of 1000, in either case; without a unit, or with B, it is bytes.
 * As above; -EINVAL also for a fraction of a byte.
 */
int util_parse_size(const char *text, uint64_t min, uint64_t max, uint64_t *bytes);

/* "300M", as util_parse_size() takes it: the largest binary unit without a fraction. Returns text.
 */
const char *util_size_text(uint64_t bytes, char text[24]);

#endif
