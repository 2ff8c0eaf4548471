/* SPDX-License-Identifier: Apache-2.0 */
/* What is burnt into a chip: here, derived from its seed. */
#include "state.h"

#include <string.h>

#include "cert.h"
#include "kdf.h"

static void derive(const uint8_t seed[PSP_CHIP_SEED_BYTES], const char *label, uint8_t counter,
		   void *out, size_t len)
{
	psp_kdf(seed, PSP_CHIP_SEED_BYTES, label, &counter, sizeof(counter), out, len);
}

bool psp_chip_init(struct chip *chip, const uint8_t seed[PSP_CHIP_SEED_BYTES],
		   const struct rng *rng)
{
	uint8_t salt[48];
	uint8_t counter = 0;

	derive(seed, "sevmirror-chip-id", 0, chip->id, sizeof(chip->id));
	derive(seed, "sevmirror-chip-nv", 0, chip->nv_key, sizeof(chip->nv_key));
	derive(seed, "sevmirror-chip-nv-mac", 0, chip->nv_mac_key, sizeof(chip->nv_mac_key));
	do {
		derive(seed, "sevmirror-chip-cek", counter++, chip->cek.d, sizeof(chip->cek.d));
	} while (!psp_ec_key_complete(&chip->cek));

	psp_cert_make(&chip->cek_cert, USAGE_CEK, &chip->cek.pub);
	derive(seed, "sevmirror-chip-cek-salt", 0, salt, sizeof(salt));
	return psp_cert_sign_by_ask(&chip->cek_cert, 0, salt, rng);
}
