/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vendor root of the emulated chips: the certificates of the ASK and the ARK, in this order, in
 * AMD's format (publication 55766, appendix B). EMULATION ONLY: the private keys are in this source
 * tree. The build makes the array from the certificate file.
 */
#ifndef CLI_EMULATION_ROOT_H
#define CLI_EMULATION_ROOT_H

#include <stdint.h>

#define EMULATION_CERTS_BYTES 3200

extern const uint8_t emulation_ask_ark[EMULATION_CERTS_BYTES];

#endif
