/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The guest owner's secure channel to a platform's firmware: an ephemeral DH key, transport keys
 * (TEK, TIK) and the session buffer that carries them, readable only by the platform whose PDH
 * certificate was given (SEV API 0.24, chapter "Transport keys").
 */
#ifndef LIB_SEV_OWNER_SESSION_H
#define LIB_SEV_OWNER_SESSION_H

#include <stdint.h>

#include "lib/sev/cert.h"
#include "lib/sev/guest.h"

struct sev_owner_session {
	struct sev_owner_start start; /* public: for LAUNCH_START */
	uint8_t tek[SEV_KEY_BYTES]; /* secret */
	uint8_t tik[SEV_KEY_BYTES]; /* secret */
};

/*
 * Make a session for the platform with this PDH certificate and for this policy. Verify the PDH's
 * chain first: a session is worth what the PDH is. The DH private key is not kept. 0, -EBADMSG (the
 * PDH certificate is unusable), -EIO. The caller wipes *session (sev_owner_session_wipe()).
 */
int sev_owner_session_create(struct sev_owner_session *session, const struct sev_cert *pdh,
			     uint32_t policy, struct sev_error *error);

void sev_owner_session_wipe(struct sev_owner_session *session);

#endif
