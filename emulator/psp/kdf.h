/* SPDX-License-Identifier: Apache-2.0 */
/* The SEV API's symmetric primitives: its key derivation (chapter 2), AES-128-CTR, HMAC-SHA-256. */
#ifndef EMULATOR_PSP_KDF_H
#define EMULATOR_PSP_KDF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * NIST SP 800-108 in counter mode with HMAC-SHA-256: each block's input is the 32-bit counter from
 * 1, the label without its NUL, a zero byte, the context and the 32-bit number of output bits,
 * integers little-endian.
 */
void psp_kdf(const void *key, size_t key_len, const char *label, const void *context,
	     size_t context_len, void *out, size_t out_len);

void psp_aes_ctr(const uint8_t key[16], const uint8_t iv[16], void *buf, size_t len);

void psp_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
		     uint8_t mac[32]);

/* Constant time. */
bool psp_mac_equal(const uint8_t a[32], const uint8_t b[32]);

#endif
