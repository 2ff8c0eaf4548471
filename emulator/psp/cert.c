/* SPDX-License-Identifier: Apache-2.0 */
#include "cert.h"

#include <string.h>

#include "psp.h"

#define CERT_VERSION 1

/* What a signature covers. */
#define CERT_BODY offsetof(struct sev_cert, sig)

void psp_cert_make(struct sev_cert *cert, enum cert_usage usage, const struct ec_pubkey *pub)
{
	memset(cert, 0, sizeof(*cert));
	cert->version = CERT_VERSION;
	cert->api_major = PSP_API_MAJOR;
	cert->api_minor = PSP_API_MINOR;
	cert->pubkey_usage = usage;
	cert->pubkey_algo = usage == USAGE_PDH ? ALGO_ECDH_SHA256 : ALGO_ECDSA_SHA256;
	cert->pubkey = *pub;
	cert->sig[0].usage = USAGE_NONE;
	cert->sig[1].usage = USAGE_NONE;
}

void psp_cert_sign(struct sev_cert *cert, int slot, enum cert_usage signer_usage,
		   const struct ec_key *signer, const struct rng *rng)
{
	struct cert_signature *sig = &cert->sig[slot];

	memset(sig, 0, sizeof(*sig));
	sig->usage = signer_usage;
	sig->algo = ALGO_ECDSA_SHA256;
	psp_ec_sign(signer, rng, sig->algo, cert, CERT_BODY, &sig->ec);
}

bool psp_cert_well_formed(const struct sev_cert *cert, enum cert_usage usage)
{
	if (cert->version != CERT_VERSION || cert->pubkey_usage != usage)
		return false;
	if (usage == USAGE_PDH) {
		if (cert->pubkey_algo != ALGO_ECDH_SHA256 && cert->pubkey_algo != ALGO_ECDH_SHA384)
			return false;
	} else if (cert->pubkey_algo != ALGO_ECDSA_SHA256 &&
		   cert->pubkey_algo != ALGO_ECDSA_SHA384) {
		return false;
	}
	return psp_ec_pubkey_valid(&cert->pubkey);
}

bool psp_cert_signed_by(const struct sev_cert *cert, const struct sev_cert *issuer, int *slot)
{
	for (int i = 0; i < 2; i++) {
		const struct cert_signature *sig = &cert->sig[i];

		if (sig->usage != issuer->pubkey_usage)
			continue;
		if (!psp_ec_verify(&issuer->pubkey, sig->algo, cert, CERT_BODY, &sig->ec))
			continue;
		if (slot)
			*slot = i;
		return true;
	}
	return false;
}
