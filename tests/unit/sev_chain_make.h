/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vendor, a chip and a platform made up with OpenSSL: certificate chains for the tests that the
 * emulator's firmware cannot make (keys of 2048 bits, wrong signers), and a third opinion on those
 * that it can.
 */
#ifndef TESTS_UNIT_SEV_CHAIN_MAKE_H
#define TESTS_UNIT_SEV_CHAIN_MAKE_H

#include <openssl/evp.h>

#include "lib/sev/chain.h"

struct made_chain {
	EVP_PKEY *keys[SEV_CHAIN_LINKS]; /* by enum sev_chain_link */
	struct sev_cert certs[SEV_CHAIN_CEK + 1];
	uint8_t vendor[2 * SEV_VENDOR_CERT_BYTES_MAX]; /* ASK, ARK */
	size_t vendor_cert_bytes;
};

/* Asserts success. Keys of the vendor have rsa_bits (2048 or 4096). */
struct made_chain *make_chain(unsigned int rsa_bits);
void unmake_chain(struct made_chain *made);

/* Sign (again) a platform's certificate as signature 0 or 1 by the key of this link. */
void make_signature(struct made_chain *made, enum sev_chain_link cert, int which,
		    enum sev_chain_link signer);

/* As files would be loaded. */
void load_made(const struct made_chain *made, struct sev_chain *chain);

#endif
