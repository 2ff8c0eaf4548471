/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *name;
	uint32_t bit;
} flags[] = {
	{ "NODBG", SEV_POLICY_NODBG },	 { "NOKS", SEV_POLICY_NOKS },	  { "ES", SEV_POLICY_ES },
	{ "NOSEND", SEV_POLICY_NOSEND }, { "DOMAIN", SEV_POLICY_DOMAIN }, { "SEV", SEV_POLICY_SEV },
};

#define NFLAGS		 (sizeof(flags) / sizeof(flags[0]))
#define POLICY_RESERVED	 0x0000ffc0U /* bits 6 to 15 */
#define POLICY_TEXT_ITEM 32

/* A decimal number up to 255, and where it ends. */
static int parse_byte(const char *text, char **end, uint8_t *value)
{
	unsigned long n;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	n = strtoul(text, end, 10);
	if (n > UINT8_MAX)
		return -EINVAL;
	*value = (uint8_t)n;
	return 0;
}

int sev_api_version_parse(const char *text, uint8_t *major, uint8_t *minor)
{
	uint8_t a, b;
	char *end;

	if (parse_byte(text, &end, &a) || *end != '.' || parse_byte(end + 1, &end, &b) || *end)
		return -EINVAL;
	*major = a;
	*minor = b;
	return 0;
}

static int parse_item(const char *item, uint32_t *policy)
{
	uint8_t major, minor;

	if (!strncasecmp(item, "API=", 4)) {
		if (sev_api_version_parse(item + 4, &major, &minor))
			return -EINVAL;
		*policy |= (uint32_t)major << SEV_POLICY_API_MAJOR_SHIFT |
			   (uint32_t)minor << SEV_POLICY_API_MINOR_SHIFT;
		return 0;
	}
	if (!strcasecmp(item, "default")) {
		*policy |= SEV_POLICY_DEFAULT;
		return 0;
	}
	for (size_t i = 0; i < NFLAGS; i++) {
		if (!strcasecmp(item, flags[i].name)) {
			*policy |= flags[i].bit;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_number(const char *text, uint32_t *policy)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 0);
	if (errno || *end != '\0' || value > UINT32_MAX || (value & POLICY_RESERVED))
		return -EINVAL;
	*policy = (uint32_t)value;
	return 0;
}

int sev_policy_parse(const char *text, uint32_t *policy)
{
	uint32_t value = 0;

	if (text[0] >= '0' && text[0] <= '9')
		return parse_number(text, policy);
	for (;;) {
		size_t len = strcspn(text, "|,");
		char item[POLICY_TEXT_ITEM];

		if (len == 0 || len >= sizeof(item))
			return -EINVAL;
		memcpy(item, text, len);
		item[len] = '\0';
		if (parse_item(item, &value))
			return -EINVAL;
		if (text[len] == '\0')
			break;
		text += len + 1;
	}
	*policy = value;
	return 0;
}

char *sev_policy_format(uint32_t policy, char *text, size_t max)
{
	char names[SEV_POLICY_TEXT_BYTES] = "";
	uint32_t api = policy >> SEV_POLICY_API_MAJOR_SHIFT;
	size_t used = 0;

	for (size_t i = 0; i < NFLAGS; i++) {
		if (policy & flags[i].bit)
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
						 used ? "|" : "", flags[i].name);
	}
	if (api)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%sAPI=%u.%u",
					 used ? "|" : "", api & 0xff, api >> 8);
	snprintf(text, max, "%s%s(0x%x)", names, used ? " " : "", policy);
	return text;
}

const char *sev_policy_warning(uint32_t policy, unsigned int nth)
{
	static const struct {
		uint32_t bit;
		const char *text;
	} warnings[] = {
		{ SEV_POLICY_NODBG,
		  "without NODBG the host may decrypt and change the guest's memory "
		  "through the firmware" },
		{ SEV_POLICY_NOKS,
		  "without NOKS the host may start another guest with the same key" },
		{ SEV_POLICY_SEV,
		  "without SEV the guest may be sent to a platform whose chain to the "
		  "vendor's root is not checked: its key may be anybody's" },
	};

	for (size_t i = 0; i < sizeof(warnings) / sizeof(warnings[0]); i++) {
		if (!(policy & warnings[i].bit) && nth-- == 0)
			return warnings[i].text;
	}
	return NULL;
}

/*
 * SEND_START checks the target's certificates only if the policy has SEV or DOMAIN (SEV API 0.24,
 * SEND_START, actions). With DOMAIN alone it asks for the same owner's signature, and an owner's
 * key is no proof that there is a chip.
 */
const char *sev_policy_weakness(uint32_t policy)
{
	if (!(policy & (SEV_POLICY_NOSEND | SEV_POLICY_SEV)))
		return "it permits sending the guest without SEV: the firmware does not check that "
		       "the target is an AMD chip, so software can receive the guest";
	if (policy & SEV_POLICY_ES && !(policy & SEV_POLICY_NOKS))
		return "it is for SEV-ES and permits key sharing: the host can start a second "
		       "guest with the same key, whose registers it sets";
	return NULL;
}
