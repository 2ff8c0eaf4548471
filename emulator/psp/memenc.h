/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory controller's cipher: AES-128 in 16-byte blocks, tweaked by the system physical address
 * of the block, one key for each ASID. AMD does not publish its tweak function; this one has the
 * documented properties (the same plaintext at two addresses differs, a page moved reads as
 * garbage, no integrity). It is XTS (IEEE 1619) with the 4 KiB page frame number as the data unit:
 * key 1 is the VEK, key 2 is AES(VEK, sixteen bytes of 0x5c), so that one AES call covers a page's
 * tweaks.
 */
#ifndef EMULATOR_PSP_MEMENC_H
#define EMULATOR_PSP_MEMENC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memenc_key; /* an expanded key, opaque */

/* Expand a VEK. NULL when out of memory. memenc_key_destroy() wipes it; NULL is allowed. */
struct memenc_key *memenc_key_create(const uint8_t vek[16]);
void memenc_key_destroy(struct memenc_key *key);

/*
 * En- or decrypt in place len bytes (a multiple of 16) that belong at system physical address spa
 * (16-byte aligned). The range may begin and end anywhere and cross pages; any two calls that cover
 * a block agree on it. A key may be used by several threads.
 */
void memenc_encrypt(const struct memenc_key *key, uint64_t spa, void *buf, size_t len);
void memenc_decrypt(const struct memenc_key *key, uint64_t spa, void *buf, size_t len);

#endif
