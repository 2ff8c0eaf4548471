/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/recover.h"

#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define BINDING_BYTES 32

int recover_prepare(struct sevmirror_migration *m)
{
	uint8_t context[sizeof(m->hello.session) + sizeof(m->hello.recovery_salt)];

	memcpy(m->stream_session, m->hello.session, sizeof(m->stream_session));
	memcpy(context, m->hello.session, sizeof(m->hello.session));
	memcpy(context + sizeof(m->hello.session), m->hello.recovery_salt,
	       sizeof(m->hello.recovery_salt));
	if (channel_export_key(m->control, "EXPORTER-sevmirror-recovery", context, sizeof(context),
			       m->recovery_key, sizeof(m->recovery_key)))
		return session_fail(m, -EIO, "this host cannot make the key for a recovery");
	return 0;
}

/* Of a message that the source (or the target) sends over this connection. */
static int make_mac(const struct sevmirror_migration *m, bool by_source, struct channel *channel,
		    const struct wire_recover *message, uint8_t mac[32])
{
	uint8_t text[1 + offsetof(struct wire_recover, mac) + BINDING_BYTES];
	const size_t fixed = 1 + offsetof(struct wire_recover, mac);
	int err = 0;

	text[0] = by_source ? 'S' : 'T';
	memcpy(text + 1, message, offsetof(struct wire_recover, mac));
	if (channel_export_key(channel, "EXPORTER-sevmirror-recovery-binding", message->nonce,
			       sizeof(message->nonce), text + fixed, BINDING_BYTES) ||
	    !HMAC(EVP_sha256(), m->recovery_key, sizeof(m->recovery_key), text, sizeof(text), mac,
		  NULL))
		err = -EIO;
	OPENSSL_cleanse(text, sizeof(text));
	return err;
}

int recover_make(const struct sevmirror_migration *m, struct channel *channel,
		 struct wire_recover *message)
{
	memcpy(message->session, m->hello.session, sizeof(message->session));
	if (m->is_source && RAND_bytes(message->nonce, sizeof(message->nonce)) != 1)
		return -EIO;
	return make_mac(m, m->is_source, channel, message, message->mac);
}

int recover_check(const struct sevmirror_migration *m, struct channel *channel,
		  const struct wire_recover *message)
{
	uint8_t mac[32];

	if (memcmp(message->session, m->hello.session, sizeof(message->session)) != 0 ||
	    make_mac(m, !m->is_source, channel, message, mac) ||
	    CRYPTO_memcmp(mac, message->mac, sizeof(mac)) != 0)
		return -EPERM;
	return 0;
}

int recover_name_streams(struct sevmirror_migration *m, const struct wire_recover *message)
{
	uint8_t name[32];

	if (!HMAC(EVP_sha256(), m->recovery_key, sizeof(m->recovery_key), message->nonce,
		  sizeof(message->nonce), name, NULL))
		return session_fail(
			m, -EIO,
			"this host cannot make a key for the data streams of this connection");
	memcpy(m->stream_session, name, sizeof(m->stream_session));
	return 0;
}
