/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/measurement.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "lib/sev/sev_crypto.h"

struct sev_digest {
	EVP_MD_CTX *ctx;
};

int sev_digest_create(struct sev_digest **out)
{
	struct sev_digest *digest = calloc(1, sizeof(*digest));

	if (!digest)
		return -ENOMEM;
	digest->ctx = EVP_MD_CTX_new();
	if (!digest->ctx || EVP_DigestInit_ex(digest->ctx, EVP_sha256(), NULL) != 1) {
		sev_digest_destroy(digest);
		return -EIO;
	}
	*out = digest;
	return 0;
}

int sev_digest_update(struct sev_digest *digest, const void *data, size_t len)
{
	return EVP_DigestUpdate(digest->ctx, data, len) == 1 ? 0 : -EIO;
}

int sev_digest_final(struct sev_digest *digest, uint8_t out[SEV_DIGEST_BYTES])
{
	unsigned int len;

	return EVP_DigestFinal_ex(digest->ctx, out, &len) == 1 ? 0 : -EIO;
}

void sev_digest_destroy(struct sev_digest *digest)
{
	if (!digest)
		return;
	EVP_MD_CTX_free(digest->ctx);
	free(digest);
}

int sev_measurement_compute(const struct sev_measured *measured, const uint8_t tik[SEV_KEY_BYTES],
			    const uint8_t nonce[SEV_NONCE_BYTES], uint8_t mac[SEV_DIGEST_BYTES])
{
	uint8_t versions[] = { SEV_MAC_MEASUREMENT, measured->api_major, measured->api_minor,
			       measured->build };
	uint32_t policy = htole32(measured->policy);
	struct sev_part parts[] = {
		{ versions, sizeof(versions) },
		{ &policy, sizeof(policy) },
		{ measured->digest, SEV_DIGEST_BYTES },
		{ nonce, SEV_NONCE_BYTES },
	};

	return sev_crypto_hmac(tik, SEV_KEY_BYTES, parts, 4, mac);
}

int sev_measurement_verify(const struct sev_measured *expected, const uint8_t tik[SEV_KEY_BYTES],
			   const uint8_t measurement[SEV_MEASUREMENT_BYTES],
			   struct sev_error *error)
{
	uint8_t mac[SEV_DIGEST_BYTES];

	if (sev_measurement_compute(expected, tik, measurement + SEV_DIGEST_BYTES, mac))
		return sev_error_set(error, -EIO, "OpenSSL cannot compute the measurement");
	if (CRYPTO_memcmp(mac, measurement, sizeof(mac)) != 0)
		return sev_error_set(
			error, -EBADMSG,
			"the measurement is not the expected one: the guest was launched from "
			"another image, with another policy, on another firmware version, or not "
			"with this session");
	return 0;
}
