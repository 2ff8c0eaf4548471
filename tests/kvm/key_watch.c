/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/key_watch.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

#include "helper/layout.h"
#include "tests/kvm/needles.h"

#define SECRET_BYTES 48 /* of TLS_AES_256_GCM_SHA384 */
#define PSK_BYTES    32
#define KEYS_BYTES   128
#define MAX_SECRETS  8
#define MAX_USES     64

/* To the process that derives; secrets are masked. */
struct question {
	enum { MAKE_PSK, EXPORT, SESSION } what;
	char text[128]; /* the file, or the label */
	uint8_t secret[SECRET_BYTES];
	uint8_t context[64];
	uint32_t context_len;
};

struct answer {
	uint8_t secret[SECRET_BYTES]; /* of the label: the pre-shared key: its digits' first half */
	uint8_t keys[KEYS_BYTES];
};

/* A use of the exporter, whose label and context are no secret. */
struct use {
	char label[64];
	uint8_t context[64];
	uint32_t context_len;
};

static struct {
	pthread_mutex_t lock;
	pid_t starter, child[2];
	int fd[2]; /* of the one that asks for the starter, and of the other process's */
	unsigned int nsecrets, nuses;
	uint8_t secret[MAX_SECRETS][SECRET_BYTES]; /* masked */
	struct use use[MAX_USES];
	struct needles needles;
} watch = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- the process that derives ---- */

static void hmac(const EVP_MD *md, const uint8_t *key, size_t key_len, const uint8_t *text,
		 size_t len, uint8_t *out)
{
	if (!HMAC(md, key, (int)key_len, text, len, out, NULL))
		abort();
}

/* HKDF-Expand (RFC 5869, 2.3). */
static void expand(const EVP_MD *md, const uint8_t *prk, const uint8_t *info, size_t info_len,
		   uint8_t *out, size_t len)
{
	size_t hash = (size_t)EVP_MD_get_size(md), before = 0;
	uint8_t text[64 + 256 + 1], block[64] = { 0 };

	for (uint8_t i = 1; len; i++) {
		size_t n = len < hash ? len : hash;

		memcpy(text, block, before);
		memcpy(text + before, info, info_len);
		text[before + info_len] = i;
		hmac(md, prk, hash, text, before + info_len + 1, block);
		memcpy(out, block, n);
		out += n;
		len -= n;
		before = hash;
	}
}

/* HKDF-Expand-Label (RFC 8446, 7.1), with SHA-384. */
static void expand_label(const uint8_t *secret, const char *label, const uint8_t *context,
			 size_t context_len, uint8_t *out, size_t len)
{
	static const uint8_t prefix[6] = { 't', 'l', 's', '1', '3', ' ' };
	uint8_t info[256];
	size_t n = sizeof(prefix) + strlen(label);

	info[0] = (uint8_t)(len >> 8);
	info[1] = (uint8_t)len;
	info[2] = (uint8_t)n;
	memcpy(info + 3, prefix, sizeof(prefix));
	memcpy(info + 3 + sizeof(prefix), label, n - sizeof(prefix));
	info[3 + n] = (uint8_t)context_len;
	memcpy(info + 4 + n, context, context_len);
	expand(EVP_sha384(), secret, info, 4 + n + context_len, out, len);
}

/*
 * Exporters (RFC 8446, 7.5). How long a key is is part of it: the session's are 32 bytes, a
 * stream's two are 64.
 */
static void derive_export(const struct question *q, struct answer *a)
{
	size_t len = strcmp(q->text, "EXPORTER-sevmirror-stream") == 0 ? 64 : 32;
	uint8_t hash[SHA384_DIGEST_LENGTH];

	SHA384(NULL, 0, hash);
	expand_label(q->secret, q->text, hash, sizeof(hash), a->secret, sizeof(a->secret));
	SHA384(q->context, q->context_len, hash);
	expand_label(a->secret, "exporter", hash, sizeof(hash), a->keys, len);
}

/* What the helper has (docs/protocol.md, part 1): the extracted key and three expanded ones. */
static void derive_session(const struct question *q, struct answer *a)
{
	static const char *const labels[] = { "sevmirror 1 records source to target",
					      "sevmirror 1 manifest source to target",
					      "sevmirror 1 core" };

	hmac(EVP_sha256(), q->context, 16, q->secret, 32, a->keys);
	for (size_t i = 0; i < 3; i++)
		expand(EVP_sha256(), a->keys, (const uint8_t *)labels[i], strlen(labels[i]),
		       a->keys + 32 * (i + 1), 32);
}

static void make_psk(const struct question *q, struct answer *a)
{
	uint8_t psk[PSK_BYTES];
	char digits[2 * PSK_BYTES + 1];
	FILE *file = fopen(q->text, "w");

	if (!file || RAND_bytes(psk, sizeof(psk)) != 1)
		abort();
	for (size_t i = 0; i < sizeof(psk); i++)
		sprintf(digits + 2 * i, "%02x", psk[i]);
	fprintf(file, "%s\n", digits);
	fclose(file);
	memcpy(a->keys, psk, sizeof(psk));
	memcpy(a->keys + sizeof(psk), digits, 2 * PSK_BYTES);
}

static void deriver_main(int fd)
{
	struct question q;
	struct answer a;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (recv(fd, &q, sizeof(q), 0) == sizeof(q)) {
		memset(&a, 0, sizeof(a));
		needles_mask(q.secret, sizeof(q.secret));
		if (q.what == MAKE_PSK)
			make_psk(&q, &a);
		else if (q.what == EXPORT)
			derive_export(&q, &a);
		else
			derive_session(&q, &a);
		needles_mask(&a, sizeof(a));
		if (send(fd, &a, sizeof(a), 0) != sizeof(a))
			break;
	}
	_exit(0);
}

/* ---- the process that is watched ---- */

static void ask(const struct question *q, struct answer *a)
{
	int fd = watch.fd[getpid() != watch.starter];

	if (send(fd, q, sizeof(*q), 0) != sizeof(*q) || recv(fd, a, sizeof(*a), 0) != sizeof(*a))
		abort();
}

/* A needle of zeros would be found everywhere. */
static void add(const char *name, const uint8_t *masked, size_t len)
{
	for (size_t at = 0; at + NEEDLE_BYTES <= len; at += NEEDLE_BYTES) {
		uint8_t zeros[NEEDLE_BYTES] = { 0 };

		needles_mask(zeros, sizeof(zeros));
		if (memcmp(masked + at, zeros, sizeof(zeros)) != 0)
			needles_add(&watch.needles, name, masked + at, NEEDLE_BYTES);
	}
}

void key_watch_start(const char *psk_file)
{
	struct question q = { .what = MAKE_PSK };
	struct answer a;

	watch.starter = getpid();
	watch.nsecrets = watch.nuses = watch.needles.n = 0;
	for (int i = 0; i < 2; i++) {
		int pair[2];

		fflush(NULL);
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
			abort();
		watch.child[i] = fork();
		if (watch.child[i] < 0)
			abort();
		if (watch.child[i] == 0) {
			close(pair[0]);
			deriver_main(pair[1]);
		}
		close(pair[1]);
		watch.fd[i] = pair[0];
	}
	snprintf(q.text, sizeof(q.text), "%s", psk_file);
	ask(&q, &a);
	add("pre-shared key", a.keys, PSK_BYTES);
	add("pre-shared key's digits", a.keys + PSK_BYTES, sizeof(a.keys) - PSK_BYTES);
}

void key_watch_end(void)
{
	for (int i = 0; i < 2; i++) {
		kill(watch.child[i], SIGKILL);
		waitpid(watch.child[i], NULL, 0);
		close(watch.fd[i]);
	}
}

void key_watch_session(const void *key_page)
{
	const struct helper_keys *keys = key_page;
	struct question q = { .what = SESSION };
	struct answer a;

	if (!keys->live)
		return;
	for (size_t i = 0; i < sizeof(keys->secret); i++) {
		q.secret[i] = keys->secret[i];
		needles_mask(&q.secret[i], 1);
	}
	needles_mask(q.secret + sizeof(keys->secret), sizeof(q.secret) - sizeof(keys->secret));
	memcpy(q.context, keys->session, sizeof(keys->session));
	pthread_mutex_lock(&watch.lock);
	ask(&q, &a);
	add("helper's session secret", q.secret, sizeof(keys->secret));
	add("helper's keys", a.keys, sizeof(a.keys));
	pthread_mutex_unlock(&watch.lock);
}

static const char *key_name(const char *label)
{
	if (strcmp(label, "EXPORTER-sevmirror-stream") == 0)
		return "stream key";
	return strcmp(label, "EXPORTER-sevmirror-recovery") == 0 ? "recovery key" : "binding";
}

static const char *secret_name(const char *label)
{
	if (strcmp(label, "EXPORTER-sevmirror-stream") == 0)
		return "secret of all stream keys";
	return strcmp(label, "EXPORTER-sevmirror-recovery") == 0 ? "secret of the recovery key" :
								   "secret of the binding";
}

/*
 * Each use with each secret: which goes with which is not told, and what is not a key is not found.
 */
static void derive_all(void)
{
	for (unsigned int i = 0; i < watch.nsecrets; i++) {
		add("exporter secret", watch.secret[i], SECRET_BYTES);
		for (unsigned int j = 0; j < watch.nuses; j++) {
			const struct use *use = &watch.use[j];
			struct question q = { .what = EXPORT, .context_len = use->context_len };
			struct answer a;

			memcpy(q.text, use->label, sizeof(use->label));
			memcpy(q.secret, watch.secret[i], sizeof(q.secret));
			memcpy(q.context, use->context, sizeof(use->context));
			ask(&q, &a);
			add(secret_name(use->label), a.secret, sizeof(a.secret));
			add(key_name(use->label), a.keys, sizeof(a.keys));
		}
	}
}

unsigned int key_watch_find(const char *name, int loud)
{
	unsigned int found;

	pthread_mutex_lock(&watch.lock);
	derive_all();
	found = needles_find(&watch.needles, name, loud);
	pthread_mutex_unlock(&watch.lock);
	return found;
}

/* ---- between the library and OpenSSL ---- */

static uint8_t digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* EXPORTER_SECRET, the client's random number, the secret: in hexadecimal digits (NSS key log). */
static void on_key_log(const SSL *ssl, const char *line)
{
	const char *hex = strrchr(line, ' ');

	if (strncmp(line, "EXPORTER_SECRET ", 16) != 0 || strlen(hex + 1) != 2 * SECRET_BYTES)
		return;
	pthread_mutex_lock(&watch.lock);
	if (watch.nsecrets == MAX_SECRETS)
		abort();
	for (size_t i = 0; i < SECRET_BYTES; i++) {
		uint8_t *byte = &watch.secret[watch.nsecrets][i];

		*byte = (uint8_t)(digit(hex[1 + 2 * i]) << 4 | digit(hex[2 + 2 * i]));
		needles_mask(byte, 1);
	}
	watch.nsecrets++;
	pthread_mutex_unlock(&watch.lock);
}

SSL_CTX *__real_SSL_CTX_new(const SSL_METHOD *method);
SSL_CTX *__wrap_SSL_CTX_new(const SSL_METHOD *method);

SSL_CTX *__wrap_SSL_CTX_new(const SSL_METHOD *method)
{
	SSL_CTX *ctx = __real_SSL_CTX_new(method);

	if (ctx)
		SSL_CTX_set_keylog_callback(ctx, on_key_log);
	return ctx;
}

int __real_SSL_export_keying_material(SSL *s, unsigned char *out, size_t len, const char *label,
				      size_t label_len, const unsigned char *context,
				      size_t context_len, int use_context);
int __wrap_SSL_export_keying_material(SSL *s, unsigned char *out, size_t len, const char *label,
				      size_t label_len, const unsigned char *context,
				      size_t context_len, int use_context);

int __wrap_SSL_export_keying_material(SSL *s, unsigned char *out, size_t len, const char *label,
				      size_t label_len, const unsigned char *context,
				      size_t context_len, int use_context)
{
	struct use *use;

	pthread_mutex_lock(&watch.lock);
	if (watch.nuses == MAX_USES || label_len >= sizeof(use->label) ||
	    context_len > sizeof(use->context))
		abort();
	use = &watch.use[watch.nuses++];
	memset(use, 0, sizeof(*use));
	memcpy(use->label, label, label_len);
	memcpy(use->context, context, context_len);
	use->context_len = (uint32_t)context_len;
	pthread_mutex_unlock(&watch.lock);
	return __real_SSL_export_keying_material(s, out, len, label, label_len, context,
						 context_len, use_context);
}
