/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated chips' vendor root: the certificates of the ASK and the ARK, in this order, in AMD's
 * certificate format (publication 55766, appendix B; what AMD publishes as ask_ark_*.cert).
 * EMULATION ONLY: the private keys are in this source tree. Links without the rest of the firmware
 * and without its cryptography (vendor_certs.c alone). The same bytes are
 * vendor/ask_ark_emulation.cert.
 */
#ifndef EMULATOR_PSP_VENDOR_H
#define EMULATOR_PSP_VENDOR_H

#include <stdint.h>

#define PSP_VENDOR_CERT_BYTES  1600
#define PSP_VENDOR_CERTS_BYTES (2 * PSP_VENDOR_CERT_BYTES)

/*
 * ASK at 0, ARK at PSP_VENDOR_CERT_BYTES. The trust anchor is the ARK's modulus, or its key id
 * (bytes 4 to 19).
 */
extern const uint8_t psp_vendor_ask_ark[PSP_VENDOR_CERTS_BYTES];

#endif
