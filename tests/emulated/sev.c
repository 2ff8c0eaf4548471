/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/emulated/sev.h"

struct sev_result sev_vm_cmd(int vm_fd, int sev_fd, uint32_t id, void *data)
{
	struct kvm_sev_cmd cmd = {
		.id = id, .data = (uintptr_t)data, .error = UINT32_MAX, .sev_fd = sev_fd
	};
	int rc = ioctl(vm_fd, KVM_MEMORY_ENCRYPT_OP, &cmd);

	return (struct sev_result){ .errnum = rc < 0 ? errno : 0, .fw = cmd.error };
}

struct sev_result sev_platform_cmd(int sev_fd, uint32_t id, void *data)
{
	struct sev_issue_cmd cmd = { .cmd = id, .data = (uintptr_t)data, .error = UINT32_MAX };
	int rc = ioctl(sev_fd, SEV_ISSUE_CMD, &cmd);

	return (struct sev_result){ .errnum = rc < 0 ? errno : 0, .fw = cmd.error };
}

const char *sev_status_name(uint32_t fw)
{
	static const char *const names[] = {
		"SUCCESS",
		"INVALID_PLATFORM_STATE",
		"INVALID_GUEST_STATE",
		"INVALID_CONFIG",
		"INVALID_LENGTH",
		"ALREADY_OWNED",
		"INVALID_CERTIFICATE",
		"POLICY_FAILURE",
		"INACTIVE",
		"INVALID_ADDRESS",
		"BAD_SIGNATURE",
		"BAD_MEASUREMENT",
		"ASID_OWNED",
		"INVALID_ASID",
		"WBINVD_REQUIRED",
		"DF_FLUSH_REQUIRED",
		"INVALID_GUEST",
		"INVALID_COMMAND",
		"ACTIVE",
		"HWERROR_PLATFORM",
		"HWERROR_UNSAFE",
		"UNSUPPORTED",
		"INVALID_PARAM",
		"RESOURCE_LIMIT",
		"SECURE_DATA_INVALID",
	};

	if (fw == UINT32_MAX)
		return "firmware not asked";
	return fw < sizeof(names) / sizeof(names[0]) ? names[fw] : "unknown status";
}

static bool report(struct tap *tap, bool good, struct sev_result result, const char *what)
{
	if (good)
		return tap_ok(tap, true, "%s", what);
	return tap_ok(tap, false, "%s [got errno %d (%s), firmware %s]", what, result.errnum,
		      strerror(result.errnum), sev_status_name(result.fw));
}

bool tap_sev_good(struct tap *tap, struct sev_result result, const char *what)
{
	return report(tap, !result.errnum, result, what);
}

bool tap_sev_status(struct tap *tap, struct sev_result result, uint32_t fw, const char *what)
{
	char line[256];

	snprintf(line, sizeof(line), "%s: %s", what, sev_status_name(fw));
	return report(tap, result.errnum == EIO && result.fw == fw, result, line);
}

bool tap_sev_errno(struct tap *tap, struct sev_result result, int errnum, const char *what)
{
	char line[256];

	snprintf(line, sizeof(line), "%s: %s", what, strerror(errnum));
	return report(tap, result.errnum == errnum && (result.fw == UINT32_MAX || !result.fw),
		      result, line);
}

struct sev_result sev_export(int sev_fd, void *pdh, void *chain)
{
	struct sev_user_data_pdh_cert_export export = {
		.pdh_cert_address = (uintptr_t)pdh,
		.pdh_cert_len = SEV_CERT_BYTES,
		.cert_chain_address = (uintptr_t)chain,
		.cert_chain_len = SEV_CHAIN_BYTES,
	};

	return sev_platform_cmd(sev_fd, SEV_PDH_CERT_EXPORT, &export);
}

long file_read(const char *path, void *buf, size_t max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t done = 0;
	long n = 0;

	if (fd < 0)
		return -errno;
	while (done < max && (n = read(fd, (char *)buf + done, max - done)) > 0)
		done += n;
	close(fd);
	return n < 0 ? -EIO : (long)done;
}

int file_write(const char *path, const void *buf, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t done = 0;

	if (fd < 0)
		return -errno;
	while (done < len) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);

		if (n <= 0)
			break;
		done += n;
	}
	if (close(fd) || done < len)
		return -EIO;
	return 0;
}
