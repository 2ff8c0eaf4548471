/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A platform's certificates from the PDH up to the vendor's root, and whether they hold: ARK signs
 * ASK, ASK signs CEK, CEK and OCA sign PEK, OCA signs itself, PEK signs PDH (SEV API 0.24, chapter
 * "Certificates").
 */
#ifndef LIB_SEV_CHAIN_H
#define LIB_SEV_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#include "lib/sev/cert.h"
#include "lib/sev/root.h"

#define SEV_CHAIN_FILE_BYTES_MAX 65536

enum sev_chain_link {
	SEV_CHAIN_PDH,
	SEV_CHAIN_PEK,
	SEV_CHAIN_OCA,
	SEV_CHAIN_CEK,
	SEV_CHAIN_ASK,
	SEV_CHAIN_ARK,
	SEV_CHAIN_LINKS,
};

struct sev_chain {
	struct sev_cert certs[SEV_CHAIN_CEK + 1]; /* by enum sev_chain_link */
	struct sev_vendor_cert ask, ark;
	unsigned int present; /* a bit for each link */
};

/* Zeros; chain points into itself: do not copy it. */
void sev_chain_init(struct sev_chain *chain);

/*
 * Add all certificates in buf, told apart by their usage, in any order: a single one (pdh.cert,
 * cek.cert, ask_ark.cert), the firmware's chain of PEK, OCA and CEK (cert_chain.cert), or a whole
 * export of sevctl. A later one replaces an earlier one of the same kind: the CEK in a hardware
 * platform's own chain is not signed, the one from AMD's key server is. 0; -EBADMSG with the
 * reason, when bytes are left over or a certificate is damaged; source names the bytes in the
 * message.
 */
int sev_chain_add(struct sev_chain *chain, const void *buf, size_t len, const char *source,
		  struct sev_error *error);

/* "PDH", "PEK", ... */
const char *sev_chain_link_name(enum sev_chain_link link);

/* The bytes of a link that is present. */
const void *sev_chain_link_bytes(const struct sev_chain *chain, enum sev_chain_link link,
				 size_t *bytes);

/*
 * Does every certificate hold, up to root? 0. -ENOENT: links are missing, all of them named.
 * -EBADMSG: the message names the first link that does not hold, from the root down.
 */
int sev_chain_verify(const struct sev_chain *chain, const struct sev_root *root,
		     struct sev_error *error);

#endif
