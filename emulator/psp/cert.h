/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SEV certificates and the vendor's: making, signing, verifying (publication 55766, appendices B
 * and C).
 */
#ifndef EMULATOR_PSP_CERT_H
#define EMULATOR_PSP_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ec.h"
#include "wire.h"

/* A certificate without signatures for this key. */
void psp_cert_make(struct sev_cert *cert, enum cert_usage usage, const struct ec_pubkey *pub);

/* Put an ECDSA-SHA-256 signature by a key of this usage into sig[slot]. */
void psp_cert_sign(struct sev_cert *cert, int slot, enum cert_usage signer_usage,
		   const struct ec_key *signer, const struct rng *rng);

/*
 * The CEK's signature: the ASK's, RSA-PSS with SHA-384 and this salt, so that the same chip always
 * has the same certificate.
 */
bool psp_cert_sign_by_ask(struct sev_cert *cert, int slot, const uint8_t salt[48],
			  const struct rng *rng);

/*
 * True when version, usage, algorithm and public key are those of a SEV certificate of this usage.
 */
bool psp_cert_well_formed(const struct sev_cert *cert, enum cert_usage usage);

/*
 * True when one of cert's signatures is by issuer (both well-formed). *slot (may be NULL) says
 * which.
 */
bool psp_cert_signed_by(const struct sev_cert *cert, const struct sev_cert *issuer, int *slot);

/*
 * PSP_OK when ark is this emulation's root, ask is signed by it and cek by ask; else the status
 * that says what is wrong.
 */
enum psp_status psp_cert_verify_vendor(const struct sev_cert *cek,
				       const struct vendor_chain *chain);

#endif
