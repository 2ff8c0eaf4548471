/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's secure processor through /dev/sev (<linux/psp-sev.h>): its state, identity and certificates. Errors as in guest.h.
 */
#ifndef LIB_SEV_PLATFORM_H
#define LIB_SEV_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/sev/error.h"
#include "lib/sev/format.h"

#define SEV_DEVICE "/dev/sev"

enum sev_platform_state {
	SEV_PLATFORM_UNINIT = 0,
	SEV_PLATFORM_INIT = 1,
	SEV_PLATFORM_WORKING = 2,
};

struct sev_platform_status {
	uint8_t api_major;
	uint8_t api_minor;
	uint8_t build;
	uint8_t state; /* enum sev_platform_state */
	bool owned; /* an external owner signed the PEK */
	bool es; /* configured for SEV-ES */
	uint32_t guests;
};

/* Open /dev/sev close-on-exec. Returns the fd, or a negative errno with what to do about it. */
int sev_device_open(struct sev_error *error);

int sev_platform_status(int sev_fd, struct sev_platform_status *status, struct sev_error *error);

/*
 * GET_ID: the chip's identity, what AMD's key server is asked for the CEK with. *bytes is room on entry, length on
 * return. -ENOSPC when the room is too small.
 */
int sev_platform_get_id(int sev_fd, uint8_t *id, uint32_t *bytes, struct sev_error *error);

/* PDH_CERT_EXPORT: the PDH certificate, and PEK, OCA, CEK. Initialises the platform when it is not. */
int sev_platform_export_certs(int sev_fd, uint8_t pdh[SEV_CERT_BYTES],
			      uint8_t chain[SEV_CERT_CHAIN_BYTES], struct sev_error *error);

/* PEK_CSR: the PEK's signing request, for an external owner. Needs write access to the device and no running guest. */
int sev_platform_pek_csr(int sev_fd, uint8_t csr[SEV_CERT_BYTES], struct sev_error *error);

/* PEK_CERT_IMPORT: the PEK signed by an external owner, and the owner's OCA certificate. The platform is owned from then on. */
int sev_platform_pek_cert_import(int sev_fd, const uint8_t pek[SEV_CERT_BYTES],
				 const uint8_t oca[SEV_CERT_BYTES], struct sev_error *error);

/* FACTORY_RESET, PEK_GEN, PDH_GEN: new identities; every earlier session and certificate is void. No guest may run. */
int sev_platform_factory_reset(int sev_fd, struct sev_error *error);
int sev_platform_pek_gen(int sev_fd, struct sev_error *error);
int sev_platform_pdh_gen(int sev_fd, struct sev_error *error);

#endif
