/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A secret of the guest owner as a packet that only the measured guest's firmware context opens
 * (SEV API 0.24, LAUNCH_UPDATE_SECRET).
 */
#ifndef LIB_SEV_SECRET_H
#define LIB_SEV_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "lib/sev/error.h"
#include "lib/sev/format.h"

/* Bytes of the packet's payload for a secret of len bytes: rounded up to 16, filled with zeros. */
#define SEV_SECRET_PAYLOAD_BYTES(len) (((size_t)(len) + 15) & ~(size_t)15)

/*
 * Encrypt len bytes (1 to SEV_SECRET_BYTES_MAX) under the TEK and bind them, under the TIK, to the
 * launch whose measurement this is. payload has room for SEV_SECRET_PAYLOAD_BYTES(len). Verify the
 * measurement first. 0, -EINVAL (length), -EIO.
 */
int sev_secret_seal(const uint8_t tek[SEV_KEY_BYTES], const uint8_t tik[SEV_KEY_BYTES],
		    const uint8_t measurement[SEV_MEASUREMENT_BYTES], const void *secret,
		    size_t len, struct sev_packet_header *header, void *payload,
		    struct sev_error *error);

#endif
