/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <sys/ioctl.h>

#include <linux/psp-sev.h>

/*
 * sev_user_data_status.flags: bit 0 is set when an external owner owns the platform (SEV API,
 * PLATFORM_STATUS).
 */
#define STATUS_FLAG_OWNED 0x1

static uint64_t addr(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

int sev_device_open(struct sev_error *error)
{
	int fd = open(SEV_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
		return sev_error_set(
			error, -ENOENT,
			SEV_DEVICE
			": no such device: this host has no secure processor in use; is SEV "
			"enabled in the BIOS setup, and the module ccp loaded?");
	case EACCES:
	case EPERM:
		return sev_error_set(error, -EACCES,
				     SEV_DEVICE
				     ": permission denied: let your group use it by a udev "
				     "rule, or run as root");
	default:
		return sev_error_set(error, -errno, SEV_DEVICE ": %s", strerror(errno));
	}
}

static int sev_issue(int sev_fd, uint32_t id, const char *name, void *data, struct sev_error *error)
{
	struct sev_issue_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.cmd = id;
	cmd.data = addr(data);
	if (ioctl(sev_fd, SEV_ISSUE_CMD, &cmd) == 0)
		return 0;
	if (errno == EPERM)
		return sev_error_set(error, -EPERM,
				     "%s: only the administrator may do this (CAP_SYS_ADMIN)",
				     name);
	return sev_error_firmware(error, -errno, cmd.error, "%s", name);
}

int sev_platform_status(int sev_fd, struct sev_platform_status *status, struct sev_error *error)
{
	struct sev_user_data_status out = { 0 };
	int err = sev_issue(sev_fd, SEV_PLATFORM_STATUS, "PLATFORM_STATUS", &out, error);

	if (err)
		return err;
	*status = (struct sev_platform_status){
		.api_major = out.api_major,
		.api_minor = out.api_minor,
		.build = out.build,
		.state = out.state,
		.owned = out.flags & STATUS_FLAG_OWNED,
		.es = out.flags & SEV_STATUS_FLAGS_CONFIG_ES,
		.guests = out.guest_count,
	};
	return 0;
}

int sev_platform_get_id(int sev_fd, uint8_t *id, uint32_t *bytes, struct sev_error *error)
{
	struct sev_user_data_get_id2 get = { .address = addr(id), .length = *bytes };
	uint32_t room = *bytes;
	int err = sev_issue(sev_fd, SEV_GET_ID2, "GET_ID", &get, error);

	*bytes = get.length;
	if (err && get.length > room)
		return sev_error_set(error, -ENOSPC, "GET_ID: the identity has %u bytes",
				     get.length);
	return err;
}

int sev_platform_export_certs(int sev_fd, uint8_t pdh[SEV_CERT_BYTES],
			      uint8_t chain[SEV_CERT_CHAIN_BYTES], struct sev_error *error)
{
	struct sev_user_data_pdh_cert_export export = {
		.pdh_cert_address = addr(pdh),
		.pdh_cert_len = SEV_CERT_BYTES,
		.cert_chain_address = addr(chain),
		.cert_chain_len = SEV_CERT_CHAIN_BYTES,
	};
	int err = sev_issue(sev_fd, SEV_PDH_CERT_EXPORT, "PDH_CERT_EXPORT", &export, error);

	if (!err && (export.pdh_cert_len != SEV_CERT_BYTES ||
		     export.cert_chain_len != SEV_CERT_CHAIN_BYTES))
		return sev_error_set(
			error, -EPROTO,
			"PDH_CERT_EXPORT: certificates of %u and %u bytes instead of %u and %u",
			export.pdh_cert_len, export.cert_chain_len, SEV_CERT_BYTES,
			SEV_CERT_CHAIN_BYTES);
	return err;
}

int sev_platform_pek_csr(int sev_fd, uint8_t csr[SEV_CERT_BYTES], struct sev_error *error)
{
	struct sev_user_data_pek_csr args = { .address = addr(csr), .length = SEV_CERT_BYTES };

	return sev_issue(sev_fd, SEV_PEK_CSR, "PEK_CSR", &args, error);
}

int sev_platform_pek_cert_import(int sev_fd, const uint8_t pek[SEV_CERT_BYTES],
				 const uint8_t oca[SEV_CERT_BYTES], struct sev_error *error)
{
	struct sev_user_data_pek_cert_import import = {
		.pek_cert_address = addr(pek),
		.pek_cert_len = SEV_CERT_BYTES,
		.oca_cert_address = addr(oca),
		.oca_cert_len = SEV_CERT_BYTES,
	};

	return sev_issue(sev_fd, SEV_PEK_CERT_IMPORT, "PEK_CERT_IMPORT", &import, error);
}

int sev_platform_factory_reset(int sev_fd, struct sev_error *error)
{
	return sev_issue(sev_fd, SEV_FACTORY_RESET, "FACTORY_RESET", NULL, error);
}

int sev_platform_pek_gen(int sev_fd, struct sev_error *error)
{
	return sev_issue(sev_fd, SEV_PEK_GEN, "PEK_GEN", NULL, error);
}

int sev_platform_pdh_gen(int sev_fd, struct sev_error *error)
{
	return sev_issue(sev_fd, SEV_PDH_GEN, "PDH_GEN", NULL, error);
}
