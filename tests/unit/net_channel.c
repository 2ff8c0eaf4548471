/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hosts' connection: addresses, TLS with certificates and with a pre-shared key, refusals,
 * cancelling. Real sockets, real TLS.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lib/net/address.h"
#include "lib/net/channel.h"
#include "tests/unit/channel_pair.h"

#define PATIENCE 60000

struct files {
	char dir[64];
	char ca[96], cert[96], key[96], other_ca[96], other_cert[96], other_key[96], psk[96],
		other_psk[96], open_psk[96], expired[96], future[96], self_signed[96];
};

/* When a certificate holds, in seconds from now. */
struct term {
	long from, to;
};

static const struct term now = { -60, 3600 }, past = { -7200, -60 }, to_come = { 3600, 7200 };

static X509 *make_certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
			      bool ca, struct term term, const char *path)
{
	X509 *x = X509_new();
	X509_NAME *n = X509_get_subject_name(x);
	X509_EXTENSION *ext;
	FILE *f;

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ca ? 1 : 2);
	X509_gmtime_adj(X509_getm_notBefore(x), term.from);
	X509_gmtime_adj(X509_getm_notAfter(x), term.to);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : n);
	ext = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints,
				  ca ? "critical,CA:TRUE" : "CA:FALSE");
	X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
	assert_true(X509_sign(x, issuer_key, EVP_sha256()) > 0);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, x), 1);
	fclose(f);
	return x;
}

/*
 * A CA and a certificate that holds; also, where there is a path for it, one that has expired and
 * one that does not hold yet, of the same key.
 */
static void make_pki(const char *ca_path, const char *cert_path, const char *key_path,
		     const char *name, const struct files *more)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *ca = make_certificate("test CA", ca_key, NULL, ca_key, true, now, ca_path);
	FILE *f = fopen(key_path, "w");

	X509_free(make_certificate(name, key, ca, ca_key, false, now, cert_path));
	if (more) {
		X509_free(make_certificate(name, key, ca, ca_key, false, past, more->expired));
		X509_free(make_certificate(name, key, ca, ca_key, false, to_come, more->future));
		X509_free(make_certificate(name, key, NULL, key, false, now, more->self_signed));
	}
	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
	X509_free(ca);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(key);
}

static void write_text(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	chmod(path, mode);
}

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
#define KEY_B "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"

static int setup(void **state)
{
	struct files *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/sevmirror-channel-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
#define NAME(field, file) snprintf(f->field, sizeof(f->field), "%s/" file, f->dir)
	NAME(ca, "ca.pem");
	NAME(cert, "cert.pem");
	NAME(key, "key.pem");
	NAME(other_ca, "other-ca.pem");
	NAME(other_cert, "other-cert.pem");
	NAME(other_key, "other-key.pem");
	NAME(psk, "psk");
	NAME(other_psk, "other-psk");
	NAME(open_psk, "open-psk");
	NAME(expired, "expired.pem");
	NAME(future, "future.pem");
	NAME(self_signed, "self-signed.pem");
#undef NAME
	make_pki(f->ca, f->cert, f->key, "host-a.test", f);
	make_pki(f->other_ca, f->other_cert, f->other_key, "host-b.test", NULL);
	write_text(f->psk, KEY_A, 0600);
	write_text(f->other_psk, KEY_B, 0600);
	write_text(f->open_psk, KEY_A, 0644);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct files *f = *state;
	const char *all[] = { f->ca,	     f->cert,	   f->key,    f->other_ca,
			      f->other_cert, f->other_key, f->psk,    f->other_psk,
			      f->open_psk,   f->expired,   f->future, f->self_signed };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		unlink(all[i]);
	rmdir(f->dir);
	free(f);
	return 0;
}

/* One end of a connection, opened by a thread of its own. */
struct end {
	int fd;
	bool server;
	struct channel_security security;
	struct channel *channel;
	int err;
	struct why why;
};

static void *open_end(void *arg)
{
	struct end *e = arg;

	e->err = channel_open(&e->channel, e->fd, e->server, &e->security, PATIENCE, &e->why);
	return NULL;
}

static void open_both(struct end *server, struct end *client)
{
	int fds[2];
	pthread_t thread;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	server->fd = fds[0];
	server->server = true;
	client->fd = fds[1];
	assert_int_equal(pthread_create(&thread, NULL, open_end, server), 0);
	open_end(client);
	pthread_join(thread, NULL);
}

static struct channel_security by_certificate(const struct files *f)
{
	return (struct channel_security){ .certificate = f->cert, .key = f->key, .ca = f->ca };
}

static void *pump(void *arg)
{
	struct end *e = arg;
	uint8_t *buf = malloc(1 << 20);

	for (int i = 0; i < 8 && !e->err; i++) {
		memset(buf, i, 1 << 20);
		e->err = channel_send(e->channel, buf, 1 << 20, PATIENCE);
	}
	free(buf);
	return NULL;
}

/* Eight MiB each way at once: neither direction waits for the other. */
static void talk(struct end *a, struct end *b)
{
	pthread_t threads[2];
	struct end *ends[2] = { a, b };
	uint8_t *buf = malloc(1 << 20);

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pump, ends[i]), 0);
	for (int k = 0; k < 8; k++) {
		for (int i = 0; i < 2; i++) {
			assert_int_equal(channel_recv(ends[i]->channel, buf, 1 << 20, PATIENCE), 0);
			for (int j = 0; j < 1 << 20; j += 4099)
				assert_int_equal(buf[j], k);
		}
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(ends[i]->err, 0);
	}
	free(buf);
}

static void assert_same_keys(struct end *a, struct end *b)
{
	uint8_t x[64], y[64], z[64];
	const uint8_t one = 1, two = 2;

	assert_int_equal(channel_export_key(a->channel, "label", &one, 1, x, sizeof(x)), 0);
	assert_int_equal(channel_export_key(b->channel, "label", &one, 1, y, sizeof(y)), 0);
	assert_int_equal(channel_export_key(b->channel, "label", &two, 1, z, sizeof(z)), 0);
	assert_memory_equal(x, y, sizeof(x));
	assert_memory_not_equal(x, z, sizeof(x));
}

static void assert_works(struct channel_security s, struct channel_security c, bool tls)
{
	struct end server = { .security = s }, client = { .security = c };

	open_both(&server, &client);
	assert_string_equal(server.why.text, "");
	assert_string_equal(client.why.text, "");
	assert_int_equal(server.err, 0);
	assert_int_equal(client.err, 0);
	assert_int_equal(channel_is_tls(client.channel), tls);
	assert_same_keys(&server, &client);
	talk(&server, &client);
	channel_close(client.channel);
	channel_close(server.channel);
}

static void assert_refused(struct channel_security s, struct channel_security c)
{
	struct end server = { .security = s }, client = { .security = c };

	open_both(&server, &client);
	assert_int_not_equal(server.err, 0);
	assert_int_not_equal(client.err, 0);
	assert_null(server.channel);
	assert_null(client.channel);
	assert_true(strlen(server.why.text) > 10);
	assert_true(strlen(client.why.text) > 10);
}

static void test_certificates(void **state)
{
	struct channel_security s = by_certificate(*state), c = s;

	c.peer_name = "host-a.test";
	assert_works(s, c, true);
}

static void test_psk(void **state)
{
	struct files *f = *state;
	struct channel_security s = { .psk_file = f->psk };

	assert_works(s, s, true);
}

/* The wall clock, as OpenSSL asks for it; while it runs away, an hour later with each look. */
static _Atomic long runs_away, hours;

/* Before OpenSSL 3.2 */
time_t time(time_t *out)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (atomic_load(&runs_away))
		now.tv_sec += 3600 * atomic_fetch_add(&hours, 1);
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}

/* From 3.2 on */
int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	(void)zone;
	out->tv_sec = time(NULL);
	out->tv_usec = 0;
	return 0;
}

/* The key has no age. */
static void test_psk_while_the_clock_is_set(void **state)
{
	const struct files *f = *state;
	struct channel_security s = { .psk_file = f->psk };

	atomic_store(&runs_away, 1);
	assert_works(s, s, true);
	atomic_store(&runs_away, 0);
	assert_true(atomic_load(&hours) > 0);
}

static void assert_meet(struct channel_security s, struct channel_security c)
{
	struct end server = { .security = s }, client = { .security = c };

	open_both(&server, &client);
	assert_int_equal(server.err, 0);
	assert_int_equal(client.err, 0);
	assert_same_keys(&server, &client);
	channel_close(client.channel);
	channel_close(server.channel);
}

/* One side's files are read once, for any number of connections, and gone when it is released. */
static void assert_reads_once(struct channel_security *security, const char *path)
{
	struct channel_security server = *security, client = *security;

	assert_int_equal(channel_security_prepare(&server, true, NULL), 0);
	assert_int_equal(channel_security_prepare(&client, false, NULL), 0);
	unlink(path);
	assert_meet(server, client);
	assert_meet(server, client);
	channel_security_release(&server);
	channel_security_release(&client);
	assert_null(server.prepared);
	assert_refused(server, client);
	assert_int_equal(channel_security_prepare(&server, true, NULL) < 0, true);
	assert_null(server.prepared);
}

static void test_files_are_read_once(void **state)
{
	const struct files *f = *state;
	struct channel_security key = { .psk_file = f->psk }, bare = { .insecure = true };
	struct channel_security pki = by_certificate(f);

	assert_reads_once(&key, f->psk);
	assert_reads_once(&pki, f->key);
	assert_int_equal(channel_security_prepare(&bare, true, NULL), 0);
	assert_null(bare.prepared);
}

static void test_insecure(void **state)
{
	struct channel_security s = { .insecure = true };

	assert_works(s, s, false);
}

static void test_wrong_peers(void **state)
{
	struct files *f = *state;
	struct channel_security good = by_certificate(f), foreign = good, name = good;
	struct channel_security key_a = { .psk_file = f->psk },
				key_b = { .psk_file = f->other_psk };

	foreign.certificate = f->other_cert;
	foreign.key = f->other_key;
	name.peer_name = "host-b.test";
	assert_refused(good, foreign);
	assert_refused(foreign, good);
	assert_refused(good, name);
	assert_refused(key_a, key_b);
	assert_refused(key_a, good);
	assert_refused(good, key_a);
}

/* Both ends find out, and the one that looked says what is wrong with the other's certificate. */
static void assert_certificate_refused(const struct files *f, const char *path, const char *why)
{
	struct channel_security good = by_certificate(f), bad = good;
	struct end server = { .security = good }, client = { .security = bad };

	server.security.certificate = path;
	open_both(&server, &client);
	assert_int_equal(client.err, -EPERM);
	assert_non_null(strstr(client.why.text, why));
	assert_int_not_equal(server.err, 0);
	assert_null(server.channel);

	server = (struct end){ .security = good };
	client = (struct end){ .security = bad };
	client.security.certificate = path;
	open_both(&server, &client);
	assert_int_equal(server.err, -EPERM);
	assert_non_null(strstr(server.why.text, why));
	assert_int_not_equal(client.err, 0);
	assert_null(client.channel);
}

static void test_certificates_out_of_their_term(void **state)
{
	struct files *f = *state;

	assert_certificate_refused(f, f->expired, "expired");
	assert_certificate_refused(f, f->future, "not yet valid");
	assert_certificate_refused(f, f->self_signed, "self");
}

/* A client that speaks TLS well and shows no certificate at all. */
static void *connect_bare_tls(void *arg)
{
	int fd = *(int *)arg;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	char byte;

	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) == 1)
		(void)SSL_read(ssl, &byte, 1);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return NULL;
}

static void test_no_certificate(void **state)
{
	struct end server = { .security = by_certificate(*state), .server = true };
	pthread_t thread;
	int fds[2];

	signal(SIGPIPE, SIG_IGN); /* the refused peer's OpenSSL writes with write() */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(pthread_create(&thread, NULL, connect_bare_tls, &fds[1]), 0);
	server.fd = fds[0];
	open_end(&server);
	pthread_join(thread, NULL);
	assert_int_equal(server.err, -EPERM);
	assert_non_null(strstr(server.why.text, "certificate"));
	assert_null(server.channel);
}

static void test_garbage_is_no_handshake(void **state)
{
	struct end server = { .security = by_certificate(*state), .server = true };
	char garbage[4096];
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	memset(garbage, 'x', sizeof(garbage));
	assert_int_equal(write(fds[1], garbage, sizeof(garbage)), sizeof(garbage));
	server.fd = fds[0];
	open_end(&server);
	assert_int_equal(server.err, -EPERM);
	assert_null(server.channel);
	close(fds[1]);
}

/*
 * A peer that begins a TLS record and then sends a byte now and then, for half a minute. Returns
 * NULL, or why it ended earlier.
 */
static void *trickle(void *arg)
{
	const uint8_t record[] = { 0x16, 0x03, 0x01, 0x40, 0x00 };
	int fd = *(int *)arg;

	if (send(fd, record, sizeof(record), MSG_NOSIGNAL) != sizeof(record))
		return NULL;
	for (int i = 0; i < 3000; i++) {
		if (send(fd, "x", 1, MSG_NOSIGNAL) != 1)
			return "the connection was closed";
		usleep(10000);
	}
	return NULL;
}

/* It takes as long as a silent peer, no longer. */
static void test_a_trickle_is_no_handshake(void **state)
{
	struct channel_security security = by_certificate(*state);
	struct channel *channel;
	struct why why;
	pthread_t peer;
	void *ended;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(pthread_create(&peer, NULL, trickle, &fds[1]), 0);
	assert_int_equal(channel_open(&channel, fds[0], true, &security, 200, &why), -ETIMEDOUT);
	pthread_join(peer, &ended);
	assert_non_null(ended);
	close(fds[1]);
}

static void test_security_check(void **state)
{
	struct files *f = *state;
	struct why why;
	struct channel_security half = { .certificate = f->cert }, none = { 0 };
	struct channel_security both = { .psk_file = f->psk, .insecure = true },
				readable = { .psk_file = f->open_psk };
	struct channel_security missing = { .psk_file = "/nonexistent/psk" },
				no_key = { .psk_file = f->cert };
	struct channel_security mixed = { .certificate = f->cert,
					  .key = f->other_key,
					  .ca = f->ca };
	struct channel_security good = by_certificate(f);

	chmod(f->cert, 0600);
	assert_int_equal(channel_security_check(&good, &why), 0);
	assert_int_equal(channel_security_check(&half, &why), -EINVAL);
	assert_int_equal(channel_security_check(&none, &why), -EINVAL);
	assert_int_equal(channel_security_check(&both, &why), -EINVAL);
	assert_int_equal(channel_security_check(&readable, &why), -EPERM);
	assert_non_null(strstr(why.text, "chmod 600"));
	assert_int_equal(channel_security_check(&missing, &why), -ENOENT);
	assert_int_equal(channel_security_check(&no_key, &why), -EINVAL);
	assert_int_equal(channel_security_check(&mixed, &why), -EINVAL);
	assert_non_null(strstr(why.text, "other-key.pem"));
}

static void *cancel_soon(void *arg)
{
	usleep(20000);
	channel_cancel(arg);
	return NULL;
}

static void test_cancel_and_timeout(void **state)
{
	struct channel_security s = by_certificate(*state);
	struct end server = { .security = s }, client = { .security = s };
	pthread_t thread;
	char byte;

	open_both(&server, &client);
	assert_int_equal(client.err, 0);
	assert_false(channel_readable(client.channel));
	assert_int_equal(channel_recv(client.channel, &byte, 1, 10), -ETIMEDOUT);
	assert_int_equal(channel_send(server.channel, "x", 1, PATIENCE), 0);
	assert_int_equal(channel_recv(client.channel, &byte, 1, PATIENCE), 0);
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, client.channel), 0);
	assert_int_equal(channel_recv(client.channel, &byte, 1, -1), -ECANCELED);
	pthread_join(thread, NULL);
	assert_int_equal(channel_send(client.channel, &byte, 1, PATIENCE), -ECANCELED);
	channel_close(client.channel);
	assert_int_equal(channel_recv(server.channel, &byte, 1, PATIENCE), -ECONNRESET);
	channel_close(server.channel);
}

static void test_addresses(void **state)
{
	struct files *f = *state;
	struct why why;
	char text[160], path[120];
	int listener, client, server;

	listener = address_listen("127.0.0.1:0", &why);
	assert_true(listener >= 0);
	assert_int_equal(address_of(listener, text, sizeof(text)), 0);
	client = address_connect(text, PATIENCE, &why);
	assert_true(client >= 0);
	server = address_accept(listener, PATIENCE);
	assert_true(server >= 0);
	assert_int_equal(address_accept(listener, 0), -ETIMEDOUT);
	close(client);
	close(server);
	close(listener);
	assert_int_equal(address_connect(text, PATIENCE, &why), -ECONNREFUSED);

	snprintf(path, sizeof(path), "unix:%s/s", f->dir);
	listener = address_listen(path, &why);
	assert_true(listener >= 0);
	assert_int_equal(address_listen(path, &why), -EADDRINUSE);
	close(listener);
	listener = address_listen(path, &why);
	assert_true(listener >= 0);
	close(listener);
	unlink(path + 5);

	assert_int_equal(address_connect("nohost", PATIENCE, &why), -EINVAL);
	assert_int_equal(address_connect("::1:80", PATIENCE, &why), -EINVAL);
	assert_int_equal(address_connect(":80", PATIENCE, &why), -EINVAL);
	assert_int_equal(address_connect("127.0.0.1:", PATIENCE, &why), -EINVAL);
}

static void *sendv_thread(void *arg)
{
	struct channel_pair *p = arg;
	struct iovec iov[1500];
	static uint8_t bytes[1500 * 37];

	for (int i = 0; i < 1500; i++) {
		memset(bytes + i * 37, i, 37);
		iov[i] = (struct iovec){ bytes + i * 37, i % 37 };
	}
	return (void *)(intptr_t)channel_sendv(p->source, iov, 1500, PATIENCE);
}

/* More buffers than one system call takes, empty ones among them. */
static void test_scattered(void **state)
{
	struct channel_pair *p = *state;
	pthread_t thread;
	uint8_t buf[64];
	void *err;

	assert_int_equal(pthread_create(&thread, NULL, sendv_thread, p), 0);
	for (int i = 0; i < 1500; i++) {
		assert_int_equal(channel_recv(p->target, buf, i % 37, PATIENCE), 0);
		for (int j = 0; j < i % 37; j++)
			assert_int_equal(buf[j], i & 0xff);
	}
	pthread_join(thread, &err);
	assert_null(err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_certificates, setup, teardown),
		cmocka_unit_test_setup_teardown(test_psk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_psk_while_the_clock_is_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files_are_read_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_insecure, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_peers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_certificates_out_of_their_term, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_no_certificate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage_is_no_handshake, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_trickle_is_no_handshake, setup, teardown),
		cmocka_unit_test_setup_teardown(test_security_check, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel_and_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scattered, channel_pair_setup,
						channel_pair_teardown),
	};

	return cmocka_run_group_tests_name("net_channel", tests, NULL, NULL);
}
