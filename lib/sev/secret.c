/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/secret.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include <openssl/rand.h>

#include "lib/sev/sev_crypto.h"

/* MAC over tag, header, both lengths, ciphertext and the measurement's 32-byte MAC. */
static int packet_mac(const uint8_t tik[SEV_KEY_BYTES], const uint8_t *measurement,
		      struct sev_packet_header *header, const void *payload, uint32_t bytes)
{
	uint8_t tag = SEV_MAC_LAUNCH_SECRET;
	uint32_t length = htole32(bytes);
	struct sev_part parts[] = {
		{ &tag, sizeof(tag) },
		{ header->flags, sizeof(header->flags) },
		{ header->iv, sizeof(header->iv) },
		{ &length, sizeof(length) }, /* in the guest */
		{ &length, sizeof(length) }, /* on the way */
		{ payload, bytes },
		{ measurement, SEV_DIGEST_BYTES },
	};

	return sev_crypto_hmac(tik, SEV_KEY_BYTES, parts, 7, header->mac);
}

int sev_secret_seal(const uint8_t tek[SEV_KEY_BYTES], const uint8_t tik[SEV_KEY_BYTES],
		    const uint8_t measurement[SEV_MEASUREMENT_BYTES], const void *secret,
		    size_t len, struct sev_packet_header *header, void *payload,
		    struct sev_error *error)
{
	size_t bytes = SEV_SECRET_PAYLOAD_BYTES(len);

	if (len == 0 || len > SEV_SECRET_BYTES_MAX)
		return sev_error_set(error, -EINVAL,
				     "a secret has 1 to %u bytes, not %zu: it goes in one packet",
				     SEV_SECRET_BYTES_MAX, len);
	memset(header, 0, sizeof(*header));
	memcpy(payload, secret, len);
	memset((char *)payload + len, 0, bytes - len);
	if (RAND_bytes(header->iv, sizeof(header->iv)) != 1 ||
	    sev_crypto_ctr(tek, header->iv, payload, payload, bytes) ||
	    packet_mac(tik, measurement, header, payload, (uint32_t)bytes)) {
		explicit_bzero(payload, bytes);
		return sev_error_set(error, -EIO, "OpenSSL cannot seal the secret");
	}
	return 0;
}
