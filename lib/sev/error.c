/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <linux/psp-sev.h>

struct fw_code {
	const char *name;
	const char *hint;
};

/*
 * Names as in the SEV API specification (table "Status codes"), where <linux/psp-sev.h> misspells
 * or prefixes them.
 */
static const struct fw_code codes[] = {
	[SEV_RET_SUCCESS] = { "SUCCESS", "the firmware did what it was asked" },
	[SEV_RET_INVALID_PLATFORM_STATE] = { "INVALID_PLATFORM_STATE",
					     "the platform is in the wrong state for this command: "
					     "see 'sevmirror platform status'; is another program "
					     "using the secure processor, or do guests run?" },
	[SEV_RET_INVALID_GUEST_STATE] = { "INVALID_GUEST_STATE",
					  "the guest is in the wrong state for this command: "
					  "commands of launch, sending and receiving have a fixed "
					  "order" },
	[SEV_RET_INAVLID_CONFIG] = { "INVALID_CONFIG",
				     "the platform's configuration does not allow it: check SEV "
				     "and the ASID split (minimum SEV ASID) in the BIOS setup" },
	[SEV_RET_INVALID_LEN] = { "INVALID_LENGTH",
				  "a buffer has the wrong size: certificate, session or packet "
				  "truncated?" },
	[SEV_RET_ALREADY_OWNED] = { "ALREADY_OWNED",
				    "the platform already has an external owner: a factory reset "
				    "is needed first" },
	[SEV_RET_INVALID_CERTIFICATE] = { "INVALID_CERTIFICATE",
					  "a certificate is malformed or not signed by the one "
					  "above it: check the chain with 'sevmirror owner "
					  "verify-platform'" },
	[SEV_RET_POLICY_FAILURE] = { "POLICY_FAILURE",
				     "the guest's policy forbids it (debugging, sending, another "
				     "owner's platform, or a firmware older than the policy "
				     "demands)" },
	[SEV_RET_INACTIVE] = { "INACTIVE", "the guest has no ASID: it was deactivated" },
	[SEV_RET_INVALID_ADDRESS] = { "INVALID_ADDRESS",
				      "a memory address is not what the firmware expects: not RAM, "
				      "not aligned, or without C-bit" },
	[SEV_RET_BAD_SIGNATURE] = { "BAD_SIGNATURE",
				    "a signature does not verify: certificate changed or "
				    "signed by another key" },
	[SEV_RET_BAD_MEASUREMENT] = { "BAD_MEASUREMENT",
				      "a MAC does not verify: session or packet was changed, or "
				      "made for another guest, another platform or an older PDH" },
	[SEV_RET_ASID_OWNED] = { "ASID_OWNED", "the ASID belongs to another guest" },
	[SEV_RET_INVALID_ASID] = { "INVALID_ASID",
				   "the ASID is outside the range for this kind of guest (SEV or "
				   "SEV-ES)" },
	[SEV_RET_WBINVD_REQUIRED] = { "WBINVD_REQUIRED",
				      "caches must be flushed first: a kernel bug if seen here" },
	[SEV_RET_DFFLUSH_REQUIRED] = { "DFFLUSH_REQUIRED",
				       "the data fabric must be flushed before an ASID is used "
				       "again: a kernel bug if seen here" },
	[SEV_RET_INVALID_GUEST] = { "INVALID_GUEST",
				    "the firmware does not know this guest's handle" },
	[SEV_RET_INVALID_COMMAND] = { "INVALID_COMMAND",
				      "the firmware does not know this command: its API version is "
				      "too old" },
	[SEV_RET_ACTIVE] = { "ACTIVE", "the guest is still active: it must be deactivated first" },
	[SEV_RET_HWSEV_RET_PLATFORM] = { "HWERROR_PLATFORM",
					 "a hardware error that the platform survives: try again" },
	[SEV_RET_HWSEV_RET_UNSAFE] = { "HWERROR_UNSAFE",
				       "a hardware error after which no guest is safe: stop all of "
				       "them and reset the machine" },
	[SEV_RET_UNSUPPORTED] = { "UNSUPPORTED", "the firmware does not support this feature" },
	[SEV_RET_INVALID_PARAM] = { "INVALID_PARAM",
				    "a parameter is invalid or a reserved field is not zero" },
	[SEV_RET_RESOURCE_LIMIT] = { "RESOURCE_LIMIT",
				     "the firmware cannot hold more guests: stop one" },
	[SEV_RET_SECURE_DATA_INVALID] = { "SECURE_DATA_INVALID",
					  "the firmware's persistent data is damaged: a factory "
					  "reset (new platform identity) is needed" },
};

#define NCODES (sizeof(codes) / sizeof(codes[0]))
_Static_assert(NCODES == SEV_RET_SECURE_DATA_INVALID + 1,
	       "every status of SEV API 0.24 has a name");

static const struct fw_code no_call = {
	"NO_FW_CALL",
	"the firmware was not reached: does the kernel log (dmesg | grep -i -e ccp -e sev) say why?"
};
static const struct fw_code unknown = {
	"UNKNOWN", "not a status of SEV API 0.24: newer firmware than this program knows?"
};

static const struct fw_code *code_of(uint32_t fw)
{
	if (fw == SEV_FW_NO_CALL)
		return &no_call;
	return fw < NCODES && codes[fw].name ? &codes[fw] : &unknown;
}

const char *sev_fw_error_name(uint32_t fw)
{
	return code_of(fw)->name;
}

const char *sev_fw_error_hint(uint32_t fw)
{
	return code_of(fw)->hint;
}

int sev_error_firmware(struct sev_error *error, int err, uint32_t fw, const char *format, ...)
{
	char what[160];
	va_list args;

	if (!error)
		return err;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	error->err = err;
	if (fw == SEV_RET_SUCCESS || fw == SEV_FW_NO_CALL) {
		error->fw = SEV_FW_NO_CALL;
		snprintf(error->message, sizeof(error->message), "%s: %s", what, strerror(-err));
	} else {
		error->fw = fw;
		snprintf(error->message, sizeof(error->message),
			 "%s: firmware error %s (0x%02x): %s", what, sev_fw_error_name(fw), fw,
			 sev_fw_error_hint(fw));
	}
	return err;
}

int sev_error_set(struct sev_error *error, int err, const char *format, ...)
{
	va_list args;

	if (!error)
		return err;
	error->err = err;
	error->fw = SEV_FW_NO_CALL;
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	return err;
}
