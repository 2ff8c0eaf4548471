/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/cert.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include <openssl/evp.h>

#include "lib/sev/sev_crypto.h"

#define CERT_VERSION 1

/* What is signed: everything before the first signature. */
#define SIGNED_BYTES offsetof(struct sev_cert, signatures)

const char *sev_cert_usage_name(uint32_t usage)
{
	switch (usage) {
	case SEV_CERT_ARK:
		return "ARK";
	case SEV_CERT_ASK:
		return "ASK";
	case SEV_CERT_OCA:
		return "OCA";
	case SEV_CERT_PEK:
		return "PEK";
	case SEV_CERT_PDH:
		return "PDH";
	case SEV_CERT_CEK:
		return "CEK";
	default:
		return "unknown";
	}
}

int sev_cert_fingerprint(const void *cert, size_t bytes, uint8_t digest[SEV_DIGEST_BYTES])
{
	unsigned int len;

	return EVP_Digest(cert, bytes, digest, &len, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

static bool all_zero(const void *buf, size_t len)
{
	const uint8_t *bytes = buf;
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

static EVP_PKEY *cert_key(const struct sev_cert *cert)
{
	const struct sev_cert_ec_key *key = &cert->key;

	if (le32toh(key->curve) != SEV_CURVE_P384 ||
	    !all_zero(key->x + SEV_EC_BYTES, sizeof(key->x) - SEV_EC_BYTES) ||
	    !all_zero(key->y + SEV_EC_BYTES, sizeof(key->y) - SEV_EC_BYTES) ||
	    !all_zero(key->zero, sizeof(key->zero)))
		return NULL;
	return sev_crypto_ec_public(key->x, key->y);
}

static bool algo_fits(uint32_t usage, uint32_t algo)
{
	if (usage == SEV_CERT_PDH)
		return algo == SEV_ALGO_ECDH_SHA256 || algo == SEV_ALGO_ECDH_SHA384;
	return algo == SEV_ALGO_ECDSA_SHA256 || algo == SEV_ALGO_ECDSA_SHA384;
}

int sev_cert_check(const struct sev_cert *cert, uint32_t usage, struct sev_error *error)
{
	const char *name = sev_cert_usage_name(usage);
	EVP_PKEY *key;

	if (le32toh(cert->version) != CERT_VERSION)
		return sev_error_set(
			error, -EBADMSG,
			"the %s certificate has version %u instead of 1; is it an SEV certificate?",
			name, le32toh(cert->version));
	if (le32toh(cert->usage) != usage)
		return sev_error_set(
			error, -EBADMSG,
			"the %s certificate has a key for usage 0x%x (%s); is it the right file?",
			name, le32toh(cert->usage), sev_cert_usage_name(le32toh(cert->usage)));
	if (cert->reserved || !algo_fits(usage, le32toh(cert->algo)))
		return sev_error_set(
			error, -EBADMSG,
			"the %s certificate is damaged (reserved bytes, or algorithm 0x%x)", name,
			le32toh(cert->algo));
	key = cert_key(cert);
	if (!key)
		return sev_error_set(
			error, -EBADMSG,
			"the %s certificate is damaged: its public key is not a point of P-384",
			name);
	EVP_PKEY_free(key);
	return 0;
}

static int not_signed(struct sev_error *error, uint32_t usage, uint32_t signer, const char *why)
{
	return sev_error_set(error, -EBADMSG, "the %s certificate %s the %s's key",
			     sev_cert_usage_name(usage), why, sev_cert_usage_name(signer));
}

static const struct sev_cert_signature *signature_by(const struct sev_cert *cert, uint32_t usage)
{
	for (int i = 0; i < 2; i++) {
		if (le32toh(cert->signatures[i].usage) == usage)
			return &cert->signatures[i];
	}
	return NULL;
}

static int verify_ecdsa(const struct sev_cert *cert, const struct sev_cert_signature *sig,
			EVP_PKEY *key)
{
	const uint8_t *r = sig->data, *s = sig->data + 72;
	const EVP_MD *md;

	switch (le32toh(sig->algo)) {
	case SEV_ALGO_ECDSA_SHA256:
		md = EVP_sha256();
		break;
	case SEV_ALGO_ECDSA_SHA384:
		md = EVP_sha384();
		break;
	default:
		return -EBADMSG;
	}
	if (!all_zero(r + SEV_EC_BYTES, 72 - SEV_EC_BYTES) ||
	    !all_zero(s + SEV_EC_BYTES, 72 - SEV_EC_BYTES))
		return -EBADMSG;
	return sev_crypto_ecdsa_verify(key, md, r, s, cert, SIGNED_BYTES);
}

int sev_cert_verify(const struct sev_cert *cert, const struct sev_cert *signer,
		    struct sev_error *error)
{
	uint32_t usage = le32toh(cert->usage), by = le32toh(signer->usage);
	const struct sev_cert_signature *sig = signature_by(cert, by);
	EVP_PKEY *key;
	int err;

	if (!sig)
		return not_signed(error, usage, by, "carries no signature by");
	key = cert_key(signer);
	if (!key)
		return sev_error_set(error, -EBADMSG, "the %s certificate has no usable key",
				     sev_cert_usage_name(by));
	err = verify_ecdsa(cert, sig, key);
	EVP_PKEY_free(key);
	if (err == -EBADMSG)
		return not_signed(error, usage, by, "is not signed by");
	return err ? sev_error_set(error, err, "OpenSSL cannot verify a signature") : 0;
}

static EVP_PKEY *vendor_key(const struct sev_vendor_cert *cert)
{
	return sev_crypto_rsa_public(cert->modulus, cert->key_bytes, cert->exponent,
				     cert->exponent_bytes);
}

/* SHA-256 with the 2048-bit keys of the first generation, SHA-384 with 4096 bits. */
static const EVP_MD *vendor_md(const struct sev_vendor_cert *signer)
{
	return signer->key_bytes == 256 ? EVP_sha256() : EVP_sha384();
}

static int verify_pss(const struct sev_vendor_cert *signer, const uint8_t *signature,
		      const void *data, size_t len, struct sev_error *error)
{
	EVP_PKEY *key = vendor_key(signer);
	int err;

	if (!key)
		return sev_error_set(error, -EBADMSG, "the %s certificate has no usable RSA key",
				     sev_cert_usage_name(signer->usage));
	err = sev_crypto_pss_verify(key, vendor_md(signer), signature, signer->key_bytes, data,
				    len);
	EVP_PKEY_free(key);
	if (err && err != -EBADMSG)
		return sev_error_set(error, err, "OpenSSL cannot verify a signature");
	return err;
}

int sev_cert_verify_by_vendor(const struct sev_cert *cert, const struct sev_vendor_cert *signer,
			      struct sev_error *error)
{
	const struct sev_cert_signature *sig = signature_by(cert, signer->usage);
	uint32_t usage = le32toh(cert->usage);
	uint32_t algo = signer->key_bytes == 256 ? SEV_ALGO_RSA_SHA256 : SEV_ALGO_RSA_SHA384;
	int err;

	if (!sig)
		return not_signed(error, usage, signer->usage, "carries no signature by");
	if (le32toh(sig->algo) != algo)
		return not_signed(error, usage, signer->usage, "names the wrong algorithm for");
	err = verify_pss(signer, sig->data, cert, SIGNED_BYTES, error);
	if (err == -EBADMSG)
		return not_signed(error, usage, signer->usage, "is not signed by");
	return err;
}

static uint32_t le32_at(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static bool key_size_is_valid(uint32_t bits)
{
	return bits == 2048 || bits == 4096;
}

int sev_vendor_cert_parse(struct sev_vendor_cert *cert, const void *buf, size_t len,
			  struct sev_error *error)
{
	const uint8_t *in = buf;
	uint32_t exponent_bits, modulus_bits;

	if (len < SEV_VENDOR_CERT_HEADER_BYTES)
		return sev_error_set(error, -EBADMSG,
				     "the vendor certificate is truncated: it has %zu bytes", len);
	exponent_bits = le32_at(in + 56);
	modulus_bits = le32_at(in + 60);
	if (le32_at(in) != CERT_VERSION || !key_size_is_valid(exponent_bits) ||
	    !key_size_is_valid(modulus_bits))
		return sev_error_set(
			error, -EBADMSG,
			"these %zu bytes are neither an SEV certificate (%u bytes) nor AMD's ASK "
			"or ARK",
			len, SEV_CERT_BYTES);
	*cert = (struct sev_vendor_cert){
		.usage = le32_at(in + 36),
		.key_bytes = modulus_bits / 8,
		.exponent_bytes = exponent_bits / 8,
	};
	cert->bytes = SEV_VENDOR_CERT_HEADER_BYTES + cert->exponent_bytes + 2 * cert->key_bytes;
	if (cert->usage != SEV_CERT_ARK && cert->usage != SEV_CERT_ASK)
		return sev_error_set(error, -EBADMSG,
				     "the vendor certificate's usage 0x%x is neither ARK nor ASK",
				     cert->usage);
	if (len < cert->bytes)
		return sev_error_set(
			error, -EBADMSG,
			"the %s certificate is truncated: it has %zu bytes instead of %zu",
			sev_cert_usage_name(cert->usage), len, cert->bytes);
	memcpy(cert->raw, in, cert->bytes);
	memcpy(cert->key_id, in + 4, sizeof(cert->key_id));
	memcpy(cert->certifying_id, in + 20, sizeof(cert->certifying_id));
	cert->exponent = cert->raw + SEV_VENDOR_CERT_HEADER_BYTES;
	cert->modulus = cert->exponent + cert->exponent_bytes;
	cert->signature = cert->modulus + cert->key_bytes;
	return 0;
}

int sev_vendor_cert_verify(const struct sev_vendor_cert *cert, const struct sev_vendor_cert *signer,
			   struct sev_error *error)
{
	int err;

	if (memcmp(cert->certifying_id, signer->key_id, sizeof(cert->certifying_id)) != 0)
		return not_signed(error, cert->usage, signer->usage, "names another key than");
	if (cert->key_bytes != signer->key_bytes)
		return not_signed(error, cert->usage, signer->usage, "has another key size than");
	err = verify_pss(signer, cert->signature, cert->raw, (size_t)(cert->signature - cert->raw),
			 error);
	if (err == -EBADMSG)
		return not_signed(error, cert->usage, signer->usage, "is not signed by");
	return err;
}
