/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * OpenSSL set up for migrations: TLS 1.3 only, AES-256-GCM only, both ends authenticated, no
 * resumption, no early data.
 */
#ifndef LIB_NET_TLS_H
#define LIB_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/ssl.h>

#include "lib/util/why.h"

struct channel_security;

/* A context for one side. 0, or a negative errno with the reason in why. */
int tls_context_create(SSL_CTX **ctx, bool server, const struct channel_security *security,
		       struct why *why);

/*
 * Frees it and wipes its pre-shared key; an SSL that was made of it shakes no hands any more. NULL
 * is allowed.
 */
void tls_context_destroy(SSL_CTX *ctx);

/*
 * Let ssl work on a non-blocking socket. OpenSSL's own socket BIO raises SIGPIPE when the peer has
 * gone, and a library may not decide what its host does with signals. *method belongs to the
 * caller, who frees it with BIO_meth_free() after the SSL. 0 or -ENOMEM.
 */
int tls_use_socket(SSL *ssl, int fd, BIO_METHOD **method);

/*
 * Why the last handshake or call on ssl failed, in words: the certificate's fault, an alert of the
 * peer, or OpenSSL's own text. Returns -EPERM.
 */
int tls_explain(SSL *ssl, struct why *why);

#endif
