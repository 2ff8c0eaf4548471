/* SPDX-License-Identifier: Apache-2.0 */
/* SEV commands by raw ioctls: the guest's on a VM fd, the platform's on /dev/sev. */
#ifndef TESTS_EMULATED_SEV_H
#define TESTS_EMULATED_SEV_H

#include <linux/kvm.h>
#include <linux/psp-sev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/emulated/tap.h"

/* Policy bits (SEV API, chapter 3) and guest states (chapter 6). */
#define POLICY_NODBG  0x01u
#define POLICY_NOKS   0x02u
#define POLICY_ES     0x04u
#define POLICY_NOSEND 0x08u
#define POLICY_DOMAIN 0x10u
#define POLICY_SEV    0x20u

enum guest_state {
	GSTATE_UNINIT,
	GSTATE_LUPDATE,
	GSTATE_LSECRET,
	GSTATE_RUNNING,
	GSTATE_SUPDATE,
	GSTATE_RUPDATE,
	GSTATE_SENT,
};

#define SEV_CERT_BYTES	  0x824u
#define SEV_CHAIN_BYTES	  (3 * SEV_CERT_BYTES) /* PEK, OCA, CEK */
#define SEV_SESSION_BYTES 128u
#define SEV_HEADER_BYTES  52u
#define SEV_MEASURE_BYTES 48u
#define SEV_REPORT_BYTES  208u

/*
 * What came of a command: errnum is 0 or errno of the ioctl, fw the firmware's status (SEV_RET_*;
 * ~0 if it was not asked).
 */
struct sev_result {
	int errnum;
	uint32_t fw;
};

/* KVM_MEMORY_ENCRYPT_OP with one of enum sev_cmd_id on a VM. data may be NULL. */
struct sev_result sev_vm_cmd(int vm_fd, int sev_fd, uint32_t id, void *data);

/* SEV_ISSUE_CMD on /dev/sev. */
struct sev_result sev_platform_cmd(int sev_fd, uint32_t cmd, void *data);

/* The firmware status by the name the specification gives it. */
const char *sev_status_name(uint32_t fw);

/*
 * The result is success; or it is the failure EIO (as the driver reports every firmware error) with
 * this status.
 */
bool tap_sev_good(struct tap *tap, struct sev_result result, const char *what);
bool tap_sev_status(struct tap *tap, struct sev_result result, uint32_t fw, const char *what);
/* Refused by the kernel with this errno, without asking the firmware. */
bool tap_sev_errno(struct tap *tap, struct sev_result result, int errnum, const char *what);

/* The PDH certificate and its chain (SEV_CERT_BYTES, SEV_CHAIN_BYTES). */
struct sev_result sev_export(int sev_fd, void *pdh, void *chain);

/* A whole file, at most max bytes. Returns its length or a negative errno. */
long file_read(const char *path, void *buf, size_t max);
/* Replaces the file. 0 or a negative errno. */
int file_write(const char *path, const void *buf, size_t len);

#endif
