/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/util/text.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";
static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *util_hex_encode(const void *buf, size_t len, char *text)
{
	const uint8_t *bytes = buf;

	for (size_t i = 0; i < len; i++) {
		text[2 * i] = hex_digits[bytes[i] >> 4];
		text[2 * i + 1] = hex_digits[bytes[i] & 0xf];
	}
	text[2 * len] = '\0';
	return text;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int util_hex_decode(const char *text, void *buf, size_t len)
{
	uint8_t *bytes = buf;

	if (strlen(text) != 2 * len)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

char *util_base64_encode(const void *buf, size_t len, char *text)
{
	const uint8_t *in = buf;
	char *out = text;

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t group = (uint32_t)in[i] << 16 | (uint32_t)(n > 1 ? in[i + 1] : 0) << 8 |
				 (uint32_t)(n > 2 ? in[i + 2] : 0);

		*out++ = base64_digits[group >> 18 & 63];
		*out++ = base64_digits[group >> 12 & 63];
		*out++ = n > 1 ? base64_digits[group >> 6 & 63] : '=';
		*out++ = n > 2 ? base64_digits[group & 63] : '=';
	}
	*out = '\0';
	return text;
}

static int base64_value(char c)
{
	const char *at = c ? strchr(base64_digits, c) : NULL;

	return at ? (int)(at - base64_digits) : -1;
}

struct base64 {
	uint32_t group;
	unsigned int digits, pads;
	uint8_t *out;
	size_t len, max;
};

/* A full group of four characters: 3 bytes, less one for each pad. */
static int flush_group(struct base64 *b)
{
	unsigned int bytes = 3 - b->pads;

	if (b->pads > 2 || b->group & ((1U << 8 * b->pads) - 1))
		return -EINVAL;
	if (b->max - b->len < bytes)
		return -EFBIG;
	for (unsigned int i = 0; i < bytes; i++)
		b->out[b->len++] = (uint8_t)(b->group >> (16 - 8 * i));
	b->group = 0;
	b->digits = 0;
	return 0;
}

int util_base64_decode(const char *text, size_t text_len, void *buf, size_t max, size_t *len)
{
	struct base64 b = { .out = buf, .max = max };

	for (size_t i = 0; i < text_len; i++) {
		int value, err;

		if (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t')
			continue;
		value = base64_value(text[i]);
		if (text[i] == '=' && b.digits > 0)
			b.pads++;
		else if (value < 0 || b.pads)
			return -EINVAL;
		b.group = b.group << 6 | (uint32_t)(value < 0 ? 0 : value);
		if (++b.digits < 4)
			continue;
		err = flush_group(&b);
		if (err)
			return err;
	}
	if (b.digits)
		return -EINVAL;
	*len = b.len;
	return 0;
}
