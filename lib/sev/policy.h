/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A guest's policy: what the firmware lets a host do with it (SEV API 0.24, chapter "Guest
 * policy"). Fixed at launch, measured, and carried along by migration.
 */
#ifndef LIB_SEV_POLICY_H
#define LIB_SEV_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEV_POLICY_NODBG	   (1U << 0) /* no DBG_DECRYPT, DBG_ENCRYPT */
#define SEV_POLICY_NOKS		   (1U << 1) /* no key sharing with other guests */
#define SEV_POLICY_ES		   (1U << 2) /* the guest must be SEV-ES */
#define SEV_POLICY_NOSEND	   (1U << 3) /* never to another platform */
#define SEV_POLICY_DOMAIN	   (1U << 4) /* only to a platform with the same owner (OCA) */
#define SEV_POLICY_SEV		   (1U << 5) /* only to platforms below the vendor's root */
#define SEV_POLICY_API_MAJOR_SHIFT 16 /* least API version of a platform that may run it */
#define SEV_POLICY_API_MINOR_SHIFT 24

/* NODBG|NOKS|SEV. */
#define SEV_POLICY_DEFAULT (SEV_POLICY_NODBG | SEV_POLICY_NOKS | SEV_POLICY_SEV)

#define SEV_POLICY_TEXT_BYTES 96

/*
 * Read "NODBG|NOKS|SEV" (any of the flag names, separated by '|' or ',', in any case), "API=0.24"
 * as one more item, "default", or a number as strtoul() takes it. 0; -EINVAL when text is none of
 * these or sets reserved bits.
 */
int sev_policy_parse(const char *text, uint32_t *policy);

/* "0.24", a firmware's API version. 0 or -EINVAL. */
int sev_api_version_parse(const char *text, uint8_t *major, uint8_t *minor);

/*
 * A policy as sev_policy_parse() reads it, then its number: "NODBG|NOKS|SEV (0x23)", truncated to
 * max bytes with its NUL. Returns text.
 */
char *sev_policy_format(uint32_t policy, char *text, size_t max);

/*
 * What is looser in policy than in the default one, as a sentence for people that says what it lets
 * a host do; NULL when nothing is. nth counts from 0: call until NULL.
 */
const char *sev_policy_warning(uint32_t policy, unsigned int nth);

/*
 * Why an owner should not launch a guest under this policy, as a sentence for people; NULL: nothing
 * speaks against it. The host alone decides what happens to such a guest.
 */
const char *sev_policy_weakness(uint32_t policy);

#endif
