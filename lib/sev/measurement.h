/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What the firmware measures at launch, computed by the guest owner: the launch digest over
 * everything that LAUNCH_UPDATE_DATA was given, in its order, and the measurement that binds it to
 * the platform's firmware, the policy and the owner's session.
 */
#ifndef LIB_SEV_MEASUREMENT_H
#define LIB_SEV_MEASUREMENT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/sev/error.h"
#include "lib/sev/format.h"

struct sev_digest;

/*
 * SHA-256 over the launch image, fed in the order of the launch. 0 or a negative errno.
 * sev_digest_final() may be called once.
 */
int sev_digest_create(struct sev_digest **digest);
int sev_digest_update(struct sev_digest *digest, const void *data, size_t len);
int sev_digest_final(struct sev_digest *digest, uint8_t out[SEV_DIGEST_BYTES]);
void sev_digest_destroy(struct sev_digest *digest);

/* What goes into a measurement besides the TIK. */
struct sev_measured {
	uint8_t api_major, api_minor, build; /* the firmware's, as PLATFORM_STATUS gives them */
	uint32_t policy;
	uint8_t digest[SEV_DIGEST_BYTES];
};

/*
 * HMAC-SHA-256(TIK, 0x04 | api_major | api_minor | build | policy | digest | nonce), as
 * LAUNCH_MEASURE computes it. 0 or -EIO.
 */
int sev_measurement_compute(const struct sev_measured *measured, const uint8_t tik[SEV_KEY_BYTES],
			    const uint8_t nonce[SEV_NONCE_BYTES], uint8_t mac[SEV_DIGEST_BYTES]);

/*
 * Is measurement (MAC and nonce, as LAUNCH_MEASURE gives it) what was expected? In constant time.
 * 0, -EBADMSG with what to look at, or -EIO.
 */
int sev_measurement_verify(const struct sev_measured *expected, const uint8_t tik[SEV_KEY_BYTES],
			   const uint8_t measurement[SEV_MEASUREMENT_BYTES],
			   struct sev_error *error);

#endif
