/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/net/tls.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "lib/net/channel.h"

#define PSK_IDENTITY  "sevmirror"
#define PSK_MIN_BYTES 32
#define PSK_MAX_BYTES 64
#define CIPHERSUITE   "TLS_AES_256_GCM_SHA384"

/*
 * IANA's number of TLS_AES_256_GCM_SHA384, which an external PSK must be bound to (RFC 8446,
 * section 4.2.11).
 */
static const unsigned char ciphersuite_id[2] = { 0x13, 0x02 };

struct psk {
	uint8_t key[PSK_MAX_BYTES];
	size_t len;
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int psk_parse(const char *text, size_t len, struct psk *psk)
{
	while (len && isspace((unsigned char)text[len - 1]))
		len--;
	if (len % 2 || len < 2 * PSK_MIN_BYTES || len > 2 * PSK_MAX_BYTES)
		return -EINVAL;
	for (size_t i = 0; i < len / 2; i++) {
		int hi = hex_digit(text[2 * i]), lo = hex_digit(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		psk->key[i] = (uint8_t)(hi << 4 | lo);
	}
	psk->len = len / 2;
	return 0;
}

static int psk_read(const char *path, struct psk *psk, struct why *why)
{
	char text[4 * PSK_MAX_BYTES];
	struct stat st;
	ssize_t n;
	int err = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		err = -errno;
		why_set(why, err, "pre-shared key %s: %s", path, strerror(-err));
	} else if (st.st_mode & 077) {
		err = -EPERM;
		why_set(why, err, "pre-shared key %s can be read by other users: chmod 600 it",
			path);
	} else {
		n = read(fd, text, sizeof(text));
		err = n < 0 ? -errno : psk_parse(text, (size_t)n, psk);
		if (err)
			why_set(why, err,
				"pre-shared key %s: it must hold %d to %d bytes as hexadecimal "
				"digits",
				path, PSK_MIN_BYTES, PSK_MAX_BYTES);
	}
	OPENSSL_cleanse(text, sizeof(text));
	if (fd >= 0)
		close(fd);
	return err;
}

/*
 * OpenSSL compares a session's age with its timeout (by default five minutes) by the wall clock.
 * The key has no age, and a clock that is set in the middle of a handshake must not end it.
 */
#define KEEP_S INT32_MAX

static SSL_SESSION *psk_session(SSL *ssl)
{
	const struct psk *psk = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, ciphersuite_id);
	SSL_SESSION *session = SSL_SESSION_new();

	if (!psk || !session || !cipher ||
	    !SSL_SESSION_set1_master_key(session, psk->key, psk->len) ||
	    !SSL_SESSION_set_cipher(session, cipher) ||
	    !SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) ||
	    !SSL_SESSION_set_timeout(session, KEEP_S)) {
		SSL_SESSION_free(session);
		return NULL;
	}
	return session;
}

static int psk_offer(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *id_len,
		     SSL_SESSION **session)
{
	*id = (const unsigned char *)PSK_IDENTITY;
	*id_len = strlen(PSK_IDENTITY);
	*session = psk_session(ssl);
	if (*session && md &&
	    SSL_CIPHER_get_handshake_digest(SSL_SESSION_get0_cipher(*session)) != md) {
		SSL_SESSION_free(*session);
		*session = NULL;
	}
	return 1;
}

static int psk_find(SSL *ssl, const unsigned char *id, size_t id_len, SSL_SESSION **session)
{
	bool ours = id_len == strlen(PSK_IDENTITY) && memcmp(id, PSK_IDENTITY, id_len) == 0;

	*session = ours ? psk_session(ssl) : NULL;
	return 1;
}

static int use_psk(SSL_CTX *ctx, const char *path, struct why *why)
{
	struct psk *psk = OPENSSL_zalloc(sizeof(*psk));
	int err;

	if (!psk) {
		return why_set(why, -ENOMEM, "out of memory for TLS");
	}
	err = psk_read(path, psk, why);
	if (err || !SSL_CTX_set_app_data(ctx, psk)) {
		OPENSSL_clear_free(psk, sizeof(*psk));
		return err ? err : -ENOMEM;
	}
	SSL_CTX_set_psk_use_session_callback(ctx, psk_offer);
	SSL_CTX_set_psk_find_session_callback(ctx, psk_find);
	return 0;
}

static int use_certificates(SSL_CTX *ctx, const struct channel_security *security, struct why *why)
{
	const char *what = NULL;

	errno = 0;
	if (SSL_CTX_use_certificate_chain_file(ctx, security->certificate) != 1)
		what = security->certificate;
	else if (SSL_CTX_use_PrivateKey_file(ctx, security->key, SSL_FILETYPE_PEM) != 1)
		what = security->key;
	else if (SSL_CTX_load_verify_locations(ctx, security->ca, NULL) != 1)
		what = security->ca;
	if (what) {
		/* The caller can do something about a lack of descriptors. */
		int err = errno == EMFILE || errno == ENFILE ? -errno : -EINVAL;

		return why_set(why, err, "%s: %s", what,
			       ERR_reason_error_string(ERR_peek_last_error()));
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return 0;
}

/*
 * A server with a PSK has no certificate, so a client without the key finds no way in; no other
 * check is needed.
 */
int tls_context_create(SSL_CTX **out, bool server, const struct channel_security *security,
		       struct why *why)
{
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	int err;

	*out = NULL;
	if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_ciphersuites(ctx, CIPHERSUITE)) {
		SSL_CTX_free(ctx);
		return why_set(why, -ENOTSUP, "OpenSSL offers no TLS 1.3 with %s", CIPHERSUITE);
	}
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	err = security->psk_file ? use_psk(ctx, security->psk_file, why) :
				   use_certificates(ctx, security, why);
	if (err) {
		tls_context_destroy(ctx);
		return err;
	}
	*out = ctx;
	return 0;
}

void tls_context_destroy(SSL_CTX *ctx)
{
	if (!ctx)
		return;
	OPENSSL_clear_free(SSL_CTX_get_app_data(ctx), sizeof(struct psk));
	SSL_CTX_set_app_data(ctx, NULL);
	SSL_CTX_free(ctx);
}

static int bio_result(BIO *bio, ssize_t n, int retry_flag)
{
	BIO_clear_retry_flags(bio);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_flags(bio, retry_flag | BIO_FLAGS_SHOULD_RETRY);
	return (int)n;
}

static int bio_write(BIO *bio, const char *buf, int len)
{
	return bio_result(bio,
			  send((int)(intptr_t)BIO_get_data(bio), buf, (size_t)len, MSG_NOSIGNAL),
			  BIO_FLAGS_WRITE);
}

static int bio_read(BIO *bio, char *buf, int len)
{
	return bio_result(bio, recv((int)(intptr_t)BIO_get_data(bio), buf, (size_t)len, 0),
			  BIO_FLAGS_READ);
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	return cmd == BIO_CTRL_FLUSH;
}

int tls_use_socket(SSL *ssl, int fd, BIO_METHOD **out)
{
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "socket without SIGPIPE");
	BIO *bio;

	*out = method;
	if (!method || !BIO_meth_set_write(method, bio_write) ||
	    !BIO_meth_set_read(method, bio_read) || !BIO_meth_set_ctrl(method, bio_ctrl))
		return -ENOMEM;
	bio = BIO_new(method);
	if (!bio)
		return -ENOMEM;
	BIO_set_data(bio, (void *)(intptr_t)fd);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	return 0;
}

/* OpenSSL's word for it, "wrong version number", sends people looking for versions. */
static bool is_no_tls(unsigned long code)
{
	int reason = ERR_GET_REASON(code);

	return ERR_GET_LIB(code) == ERR_LIB_SSL &&
	       (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
		reason == SSL_R_HTTPS_PROXY_REQUEST || reason == SSL_R_PACKET_LENGTH_TOO_LONG ||
		reason == SSL_R_ENCRYPTED_LENGTH_TOO_LONG);
}

int tls_explain(SSL *ssl, struct why *why)
{
	const enum sevmirror_reason reason = SEVMIRROR_REASON_AUTHENTICATION;
	unsigned long code = ERR_peek_last_error();
	long verdict = SSL_get_verify_result(ssl);

	if (verdict != X509_V_OK)
		return why_because(why, reason, -EPERM, "the peer's certificate is refused: %s",
				   X509_verify_cert_error_string(verdict));
	if (is_no_tls(code))
		return why_because(
			why, reason, -EPERM,
			"TLS: the peer does not speak TLS: it is not sevmirror, or it runs with "
			"--insecure");
	if (ERR_GET_REASON(code) == SSL_R_BINDER_DOES_NOT_VERIFY)
		return why_because(why, reason, -EPERM, "TLS: the peer has another pre-shared key");
	/* What a server with another key answers (RFC 8446, 4.2.11: a binder that does not verify).
	 */
	if (!SSL_is_server(ssl) && ERR_GET_REASON(code) == SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER)
		return why_because(why, reason, -EPERM,
				   "TLS: the target refuses the pre-shared key: the two hosts have "
				   "different keys");
	if (ERR_GET_REASON(code) == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM)
		return why_because(why, reason, -EPERM, "TLS: the peer offers no pre-shared key");
	if (code)
		return why_because(why, reason, -EPERM, "TLS: %s", ERR_reason_error_string(code));
	return why_because(why, reason, -EPERM, "TLS: the peer broke the protocol");
}

int channel_security_check(const struct channel_security *security, struct why *why)
{
	int certificates = !!security->certificate + !!security->key + !!security->ca;
	int ways = !!security->psk_file + security->insecure + (certificates > 0);
	SSL_CTX *ctx;
	int err;

	if (certificates != 0 && certificates != 3) {
		return why_set(
			why, -EINVAL,
			"certificates need all three: the certificate, its key, and the CA that "
			"signs the peer's certificate");
	}
	if (ways != 1) {
		return why_set(
			why, -EINVAL,
			"say how the hosts authenticate each other: certificates, a pre-shared "
			"key, or explicitly insecure%s",
			ways > 1 ? " (only one of them)" : "");
	}
	if (security->insecure)
		return 0;
	err = tls_context_create(&ctx, true, security, why);
	tls_context_destroy(ctx);
	return err;
}

int channel_security_prepare(struct channel_security *security, bool server, struct why *why)
{
	SSL_CTX *ctx = NULL;
	int err = security->insecure ? 0 : tls_context_create(&ctx, server, security, why);

	security->prepared = ctx;
	return err;
}

void channel_security_release(struct channel_security *security)
{
	tls_context_destroy(security->prepared);
	security->prepared = NULL;
}
