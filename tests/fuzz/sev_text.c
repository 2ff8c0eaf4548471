/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people and files give the owner's tools: policies, base64, hexadecimal. What is accepted
 * must come back the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sev/policy.h"
#include "lib/util/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void policies(const char *text)
{
	char back[SEV_POLICY_TEXT_BYTES];
	uint32_t policy, again;

	if (sev_policy_parse(text, &policy))
		return;
	sev_policy_format(policy, back, sizeof(back));
	if (back[0] == '(')
		return;
	strchr(back, '(')[-1] = '\0';
	if (sev_policy_parse(back, &again) || again != policy)
		abort();
}

static void base64(const char *text, size_t len)
{
	uint8_t bytes[256], again[256];
	char back[UTIL_BASE64_BYTES(sizeof(bytes))];
	size_t n, m;

	if (util_base64_decode(text, len, bytes, sizeof(bytes), &n))
		return;
	util_base64_encode(bytes, n, back);
	if (util_base64_decode(back, strlen(back), again, sizeof(again), &m) || n != m ||
	    memcmp(bytes, again, n))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1);
	uint8_t digest[32];

	if (!text)
		return 0;
	if (len)
		memcpy(text, data, len);
	text[len] = '\0';
	policies(text);
	base64(text, len);
	util_hex_decode(text, digest, sizeof(digest));
	free(text);
	return 0;
}
