/* SPDX-License-Identifier: Apache-2.0 */
/*
 * P-384 keys in the certificates' format (little-endian): generation, ECDSA, ECDH. The only curve
 * of the SEV API in use.
 */
#ifndef EMULATOR_PSP_EC_H
#define EMULATOR_PSP_EC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define EC_BYTES 48

/* Where random bytes come from: the machine's generator. */
struct rng {
	void (*random)(void *opaque, void *buf, size_t len);
	void *opaque;
};

struct ec_key {
	uint8_t d[EC_BYTES]; /* the private scalar */
	struct ec_pubkey pub;
};

void psp_ec_key_generate(struct ec_key *key, const struct rng *rng);

/* Fill in key->pub from key->d. False when d is not in 1..n-1. */
bool psp_ec_key_complete(struct ec_key *key);

/* True when it is a point of P-384. */
bool psp_ec_pubkey_valid(const struct ec_pubkey *pub);

/* algo: ALGO_ECDSA_SHA256 or ALGO_ECDSA_SHA384; verifying under any other is false. */
void psp_ec_sign(const struct ec_key *key, const struct rng *rng, uint32_t algo, const void *data,
		 size_t len, struct ec_signature *sig);
bool psp_ec_verify(const struct ec_pubkey *pub, uint32_t algo, const void *data, size_t len,
		   const struct ec_signature *sig);

/*
 * Z: the x coordinate of d times the peer's point, big-endian as SP 800-56A has it. False when the
 * peer's point is invalid.
 */
bool psp_ec_shared_secret(const struct ec_key *key, const struct ec_pubkey *peer,
			  uint8_t z[EC_BYTES]);

#endif
