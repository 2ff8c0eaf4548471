/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A trust anchor: the public key of a vendor's root (ARK). The owner who verifies a platform says
 * which one to trust; there is no default.
 */
#ifndef LIB_SEV_ROOT_H
#define LIB_SEV_ROOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/sev/cert.h"

struct sev_root {
	uint8_t modulus[SEV_VENDOR_KEY_BYTES_MAX]; /* little-endian */
	size_t key_bytes;
	uint64_t exponent;
};

/*
 * AMD's roots that are built in: "milan", "genoa", "turin". Their keys are those of the X.509
 * certificates ARK-Milan, ARK-Genoa and ARK-Turin, whose self-signatures are verified on the way.
 * That the ARK in AMD's SEV certificate format (ask_ark_*.cert) has the same key was checked by
 * others for Milan; for Genoa and Turin it is expected, and if it were not so their platforms would
 * be refused. The roots of the first two generations (Naples, Rome) were only published in that
 * format and are not built in: use sev_root_from_file_bytes(). 0; -ENOENT: no such name; -EBADMSG.
 */
int sev_root_builtin(struct sev_root *root, const char *name, struct sev_error *error);

/* The names above, one after the other; NULL at the end. */
const char *sev_root_builtin_name(unsigned int nth);

/*
 * The root in a file that the caller trusts: an ARK certificate, alone or after its ASK, in AMD's
 * format (ask_ark_*.cert) or an X.509 certificate in PEM. The self-signature is verified. 0 or
 * -EBADMSG with the reason.
 */
int sev_root_from_file_bytes(struct sev_root *root, const void *buf, size_t len,
			     struct sev_error *error);

/* Has the ARK certificate this root's key? */
bool sev_root_is(const struct sev_root *root, const struct sev_vendor_cert *ark);

/* SHA-256 of the modulus (big-endian), to be compared with what the vendor published. 0 or -EIO. */
int sev_root_fingerprint(const struct sev_root *root, uint8_t digest[SEV_DIGEST_BYTES]);

#endif
