/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/root.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "lib/sev/root_certs.h"

static const struct {
	const char *name;
	const char *pem;
} builtin[] = {
	{ "milan", sev_root_pem_milan },
	{ "genoa", sev_root_pem_genoa },
	{ "turin", sev_root_pem_turin },
};

#define NBUILTIN (sizeof(builtin) / sizeof(builtin[0]))

const char *sev_root_builtin_name(unsigned int nth)
{
	return nth < NBUILTIN ? builtin[nth].name : NULL;
}

static int root_set(struct sev_root *root, const BIGNUM *n, const BIGNUM *e)
{
	size_t bytes = (size_t)BN_num_bytes(n);

	if ((bytes != 256 && bytes != 512) || BN_num_bits(e) > 64 ||
	    BN_bn2lebinpad(n, root->modulus, (int)bytes) < 0)
		return -EBADMSG;
	root->key_bytes = bytes;
	root->exponent = BN_get_word(e);
	return 0;
}

static int root_from_x509(struct sev_root *root, X509 *cert)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	BIGNUM *n = NULL, *e = NULL;
	int err = -EBADMSG;

	if (key && X509_verify(cert, key) == 1 &&
	    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
	    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1)
		err = root_set(root, n, e);
	BN_free(n);
	BN_free(e);
	return err;
}

/*
 * Of all certificates of a chain only an X.509 root says how long it is valid: AMD's own format has
 * no dates.
 */
static int check_validity(const X509 *cert, struct sev_error *error)
{
	if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		return sev_error_set(
			error, -EBADMSG,
			"the root's certificate is not valid yet; is this machine's clock right?");
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		return sev_error_set(
			error, -EBADMSG,
			"the root's certificate has expired; get the vendor's current one, or "
			"set this machine's clock");
	return 0;
}

static int root_from_pem(struct sev_root *root, const void *buf, size_t len,
			 struct sev_error *error)
{
	BIO *bio = BIO_new_mem_buf(buf, (int)len);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	int err = cert ? root_from_x509(root, cert) : -EBADMSG;

	if (err)
		sev_error_set(
			error, err,
			"the root is not a self-signed RSA certificate of 2048 or 4096 bits in "
			"PEM");
	else
		err = check_validity(cert, error);
	X509_free(cert);
	BIO_free(bio);
	ERR_clear_error();
	return err;
}

int sev_root_builtin(struct sev_root *root, const char *name, struct sev_error *error)
{
	memset(root, 0, sizeof(*root));
	for (size_t i = 0; i < NBUILTIN; i++) {
		if (!strcasecmp(name, builtin[i].name))
			return root_from_pem(root, builtin[i].pem, strlen(builtin[i].pem), error);
	}
	return sev_error_set(error, -ENOENT, "there is no built-in root '%s'", name);
}

static uint64_t exponent_word(const struct sev_vendor_cert *cert)
{
	uint64_t word = 0;

	for (size_t i = cert->exponent_bytes; i-- > 0;) {
		if (word >> 56)
			return 0;
		word = word << 8 | cert->exponent[i];
	}
	return word;
}

static int root_from_vendor_cert(struct sev_root *root, const struct sev_vendor_cert *ark,
				 struct sev_error *error)
{
	int err = sev_vendor_cert_verify(ark, ark, error);

	if (err)
		return err;
	memcpy(root->modulus, ark->modulus, ark->key_bytes);
	root->key_bytes = ark->key_bytes;
	root->exponent = exponent_word(ark);
	return 0;
}

int sev_root_from_file_bytes(struct sev_root *root, const void *buf, size_t len,
			     struct sev_error *error)
{
	static const char pem[] = "-----BEGIN";
	struct sev_vendor_cert cert;
	size_t at = 0;

	memset(root, 0, sizeof(*root));
	if (len > 1 << 20)
		return sev_error_set(error, -EBADMSG,
				     "the root's file (%zu bytes) is not a certificate", len);
	if (len >= sizeof(pem) - 1 && !memcmp(buf, pem, sizeof(pem) - 1))
		return root_from_pem(root, buf, len, error);
	do {
		int err = sev_vendor_cert_parse(&cert, (const char *)buf + at, len - at, error);

		if (err)
			return err;
		at += cert.bytes;
	} while (cert.usage != SEV_CERT_ARK && at < len);
	if (cert.usage != SEV_CERT_ARK)
		return sev_error_set(error, -EBADMSG, "the root's file has no ARK certificate");
	return root_from_vendor_cert(root, &cert, error);
}

bool sev_root_is(const struct sev_root *root, const struct sev_vendor_cert *ark)
{
	return root->key_bytes && ark->key_bytes == root->key_bytes &&
	       !memcmp(ark->modulus, root->modulus, root->key_bytes) &&
	       exponent_word(ark) == root->exponent;
}

int sev_root_fingerprint(const struct sev_root *root, uint8_t digest[SEV_DIGEST_BYTES])
{
	uint8_t big_endian[SEV_VENDOR_KEY_BYTES_MAX];

	for (size_t i = 0; i < root->key_bytes; i++)
		big_endian[i] = root->modulus[root->key_bytes - 1 - i];
	return sev_cert_fingerprint(big_endian, root->key_bytes, digest);
}
