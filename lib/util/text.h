/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Bytes as text and back: hexadecimal and base64 (RFC 4648). */
#ifndef LIB_UTIL_TEXT_H
#define LIB_UTIL_TEXT_H

#include <stddef.h>

/* Lower-case hexadecimal with its NUL: text has 2 * len + 1 bytes. Returns text. */
char *util_hex_encode(const void *buf, size_t len, char *text);

/* Exactly 2 * len hexadecimal digits, nothing else. 0 or -EINVAL. */
int util_hex_decode(const char *text, void *buf, size_t len);

#define UTIL_BASE64_BYTES(len) (((len) + 2) / 3 * 4 + 1) /* with the NUL */

/* One line, padded, with its NUL: text has UTIL_BASE64_BYTES(len) bytes. Returns text. */
char *util_base64_encode(const void *buf, size_t len, char *text);

/*
 * Padded base64 of text_len characters; spaces and line ends anywhere are skipped. Writes at most
 * max bytes, *len of them. 0, -EINVAL (any other character, wrong padding, bits set that encode
 * nothing), or -EFBIG.
 */
int util_base64_decode(const char *text, size_t text_len, void *buf, size_t max, size_t *len);

#endif
