/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The host's secure processor through /dev/sev (<linux/psp-sev.h>), beyond <sevmirror/sev.h>: its
 * owner's commands. Errors as there.
 */
#ifndef LIB_SEV_PLATFORM_H
#define LIB_SEV_PLATFORM_H

#include <sevmirror/sev.h>

#include "lib/sev/error.h"
#include "lib/sev/format.h"

/*
 * PEK_CSR: the PEK's signing request, for an external owner. Needs write access to the device and
 * no running guest.
 */
int sev_platform_pek_csr(int sev_fd, uint8_t csr[SEV_CERT_BYTES], struct sev_error *error);

/*
 * PEK_CERT_IMPORT: the PEK signed by an external owner, and the owner's OCA certificate. The
 * platform is owned from then on.
 */
int sev_platform_pek_cert_import(int sev_fd, const uint8_t pek[SEV_CERT_BYTES],
				 const uint8_t oca[SEV_CERT_BYTES], struct sev_error *error);

/*
 * FACTORY_RESET, PEK_GEN, PDH_GEN: new identities; every earlier session and certificate is void.
 * No guest may run.
 */
int sev_platform_factory_reset(int sev_fd, struct sev_error *error);
int sev_platform_pek_gen(int sev_fd, struct sev_error *error);
int sev_platform_pdh_gen(int sev_fd, struct sev_error *error);

#endif
