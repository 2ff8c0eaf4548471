/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ASK's private key, which signs each chip's CEK. EMULATION ONLY. Little-endian numbers, named
 * as in RFC 8017, appendix A.1.2.
 */
#ifndef EMULATOR_PSP_VENDOR_KEY_H
#define EMULATOR_PSP_VENDOR_KEY_H

#include <stdint.h>

#define VENDOR_PRIME_BYTES 256

extern const uint8_t psp_vendor_ask_prime1[VENDOR_PRIME_BYTES];
extern const uint8_t psp_vendor_ask_prime2[VENDOR_PRIME_BYTES];
extern const uint8_t psp_vendor_ask_exponent1[VENDOR_PRIME_BYTES];
extern const uint8_t psp_vendor_ask_exponent2[VENDOR_PRIME_BYTES];
extern const uint8_t psp_vendor_ask_coefficient[VENDOR_PRIME_BYTES];

#endif
