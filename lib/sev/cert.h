/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * One certificate of the SEV API: a platform's own (PDH, PEK, OCA, CEK; 2084 bytes, publication
 * 55766 appendix C) or the vendor's (ASK, ARK; appendix B). They have no dates: what replaces
 * expiry is that PEK and PDH are made again and old ones no longer match.
 */
#ifndef LIB_SEV_CERT_H
#define LIB_SEV_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/sev/error.h"
#include "lib/sev/format.h"

enum sev_cert_usage {
	SEV_CERT_ARK = 0x0,
	SEV_CERT_ASK = 0x13,
	SEV_CERT_NONE = 0x1000, /* an unused signature */
	SEV_CERT_OCA = 0x1001,
	SEV_CERT_PEK = 0x1002,
	SEV_CERT_PDH = 0x1003,
	SEV_CERT_CEK = 0x1004,
};

enum sev_cert_algo {
	SEV_ALGO_NONE = 0x0,
	SEV_ALGO_RSA_SHA256 = 0x1,
	SEV_ALGO_ECDSA_SHA256 = 0x2,
	SEV_ALGO_ECDH_SHA256 = 0x3,
	SEV_ALGO_RSA_SHA384 = 0x101,
	SEV_ALGO_ECDSA_SHA384 = 0x102,
	SEV_ALGO_ECDH_SHA384 = 0x103,
};

#define SEV_CURVE_P384 2

struct sev_cert_ec_key {
	uint32_t curve;
	uint8_t x[72];
	uint8_t y[72];
	uint8_t zero[880];
} __attribute__((packed));

struct sev_cert_signature {
	uint32_t usage; /* who signed: enum sev_cert_usage */
	uint32_t algo;
	/* ECDSA: r 72, s 72; RSA: as long as the signer's modulus; little-endian */
	uint8_t data[512];
} __attribute__((packed));

struct sev_cert {
	uint32_t version;
	uint8_t api_major;
	uint8_t api_minor;
	uint16_t reserved;
	uint32_t usage;
	uint32_t algo;
	struct sev_cert_ec_key key;
	struct sev_cert_signature signatures[2];
} __attribute__((packed));

_Static_assert(sizeof(struct sev_cert) == SEV_CERT_BYTES, "certificate layout");

#define SEV_VENDOR_CERT_HEADER_BYTES 64
#define SEV_VENDOR_KEY_BYTES_MAX     512
#define SEV_VENDOR_CERT_BYTES_MAX    (SEV_VENDOR_CERT_HEADER_BYTES + 3 * SEV_VENDOR_KEY_BYTES_MAX)

/* A vendor's certificate, taken apart. Numbers little-endian as in the file. */
struct sev_vendor_cert {
	uint8_t raw[SEV_VENDOR_CERT_BYTES_MAX];
	size_t bytes;
	uint8_t key_id[16];
	uint8_t certifying_id[16];
	uint32_t usage; /* SEV_CERT_ARK or SEV_CERT_ASK */
	size_t key_bytes; /* 256 or 512 */
	const uint8_t *exponent; /* into raw, exponent_bytes */
	size_t exponent_bytes;
	const uint8_t *modulus; /* into raw, key_bytes */
	const uint8_t *signature; /* into raw, key_bytes */
};

/* "PDH", "ARK", ...; "unknown" for any other number. */
const char *sev_cert_usage_name(uint32_t usage);

/* SHA-256 of a certificate's bytes, what people compare. 0 or a negative errno. */
int sev_cert_fingerprint(const void *cert, size_t bytes, uint8_t digest[SEV_DIGEST_BYTES]);

/*
 * Well-formed, for this usage, with a public key on P-384? Signatures are not looked at. 0 or
 * -EBADMSG with the reason.
 */
int sev_cert_check(const struct sev_cert *cert, uint32_t usage, struct sev_error *error);

/*
 * Is cert signed by the key of signer (one of cert's two signatures names the signer's usage and
 * verifies)? 0, -EBADMSG with the reason, or another negative errno. Both must have passed their
 * check.
 */
int sev_cert_verify(const struct sev_cert *cert, const struct sev_cert *signer,
		    struct sev_error *error);
int sev_cert_verify_by_vendor(const struct sev_cert *cert, const struct sev_vendor_cert *signer,
			      struct sev_error *error);

/*
 * Take the vendor certificate at the beginning of buf apart; it has cert->bytes bytes, more may
 * follow. cert points into itself: do not copy it. 0 or -EBADMSG with the reason.
 */
int sev_vendor_cert_parse(struct sev_vendor_cert *cert, const void *buf, size_t len,
			  struct sev_error *error);

/* Is cert signed by signer (itself, for the ARK)? As sev_cert_verify(). */
int sev_vendor_cert_verify(const struct sev_vendor_cert *cert, const struct sev_vendor_cert *signer,
			   struct sev_error *error);

#endif
