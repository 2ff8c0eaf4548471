/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The platform's identity in non-volatile storage: one blob, encrypted and authenticated with keys
 * of the chip, because with INIT_EX it is in the host's memory and files. There is no protection
 * against an old blob put back, as there is none on hardware.
 */
#include "state.h"

#include <errno.h>
#include <string.h>

#include "kdf.h"

#define NV_MAGIC   "SEVEMUNV"
#define NV_VERSION 1u

struct nv_payload {
	uint32_t external;
	uint8_t oca_d[EC_BYTES], pek_d[EC_BYTES], pdh_d[EC_BYTES];
	struct sev_cert oca_cert, pek_cert, pdh_cert;
} PSP_PACKED;

struct nv_blob {
	char magic[8];
	uint32_t version;
	uint32_t len; /* of the whole */
	uint8_t iv[16];
	struct nv_payload payload; /* AES-128-CTR */
	uint8_t mac[32]; /* HMAC-SHA-256 over all before it */
} PSP_PACKED;

_Static_assert(sizeof(struct nv_blob) <= PSP_NV_MAX_BYTES, "psp.h promises a limit");

static void nv_seal(const struct psp *psp, const struct identity *id, struct nv_blob *blob)
{
	memset(blob, 0, sizeof(*blob));
	memcpy(blob->magic, NV_MAGIC, sizeof(blob->magic));
	blob->version = NV_VERSION;
	blob->len = sizeof(*blob);
	psp_random(psp, blob->iv, sizeof(blob->iv));
	blob->payload.external = id->external;
	memcpy(blob->payload.oca_d, id->oca.d, EC_BYTES);
	memcpy(blob->payload.pek_d, id->pek.d, EC_BYTES);
	memcpy(blob->payload.pdh_d, id->pdh.d, EC_BYTES);
	blob->payload.oca_cert = id->oca_cert;
	blob->payload.pek_cert = id->pek_cert;
	blob->payload.pdh_cert = id->pdh_cert;
	psp_aes_ctr(psp->chip.nv_key, blob->iv, &blob->payload, sizeof(blob->payload));
	psp_hmac_sha256(psp->chip.nv_mac_key, sizeof(psp->chip.nv_mac_key), blob,
			offsetof(struct nv_blob, mac), blob->mac);
}

static bool nv_open(const struct psp *psp, struct nv_blob *blob, struct identity *id)
{
	uint8_t mac[32];

	if (memcmp(blob->magic, NV_MAGIC, sizeof(blob->magic)) != 0 ||
	    blob->version != NV_VERSION || blob->len != sizeof(*blob))
		return false;
	psp_hmac_sha256(psp->chip.nv_mac_key, sizeof(psp->chip.nv_mac_key), blob,
			offsetof(struct nv_blob, mac), mac);
	if (!psp_mac_equal(mac, blob->mac))
		return false;
	psp_aes_ctr(psp->chip.nv_key, blob->iv, &blob->payload, sizeof(blob->payload));
	memset(id, 0, sizeof(*id));
	id->external = blob->payload.external;
	memcpy(id->oca.d, blob->payload.oca_d, EC_BYTES);
	memcpy(id->pek.d, blob->payload.pek_d, EC_BYTES);
	memcpy(id->pdh.d, blob->payload.pdh_d, EC_BYTES);
	id->oca_cert = blob->payload.oca_cert;
	id->pek_cert = blob->payload.pek_cert;
	id->pdh_cert = blob->payload.pdh_cert;
	return psp_identity_consistent(psp, id);
}

/* Linux gives INIT_EX a region of 0xff when its file does not exist yet. */
static bool is_blank(const struct nv_blob *blob)
{
	for (size_t i = 0; i < sizeof(blob->magic); i++)
		if ((uint8_t)blob->magic[i] != 0xff)
			return false;
	return true;
}

int psp_nv_load(struct psp *psp, struct identity *id)
{
	struct nv_blob blob;
	int ret;

	if (psp->nv_in_ram) {
		if (psp_read(psp, psp->nv_addr, &blob, sizeof(blob)))
			return -2;
		if (is_blank(&blob))
			return 0;
	} else {
		int len = psp->machine.nv_load ?
				  psp->machine.nv_load(psp->opaque, &blob, sizeof(blob)) :
				  0;

		if (len == 0)
			return 0;
		if (len < 0 && len != -EFBIG)
			return -2;
		if (len != (int)sizeof(blob))
			return -1;
	}
	ret = nv_open(psp, &blob, id) ? 1 : -1;
	explicit_bzero(&blob, sizeof(blob));
	return ret;
}

static bool nv_put(struct psp *psp, const void *buf, size_t len)
{
	if (!psp->machine.nv_store)
		return true;
	return psp->machine.nv_store(psp->opaque, buf, len) == 0;
}

bool psp_nv_store(struct psp *psp, const struct identity *id)
{
	struct nv_blob blob;
	bool ok;

	nv_seal(psp, id, &blob);
	if (psp->nv_in_ram)
		ok = psp_write(psp, psp->nv_addr, &blob, sizeof(blob)) == PSP_OK;
	else
		ok = nv_put(psp, &blob, sizeof(blob));
	return ok;
}

bool psp_nv_erase(struct psp *psp)
{
	if (psp->nv_in_ram) {
		struct nv_blob blob;

		memset(&blob, 0xff, sizeof(blob));
		return psp_write(psp, psp->nv_addr, &blob, sizeof(blob)) == PSP_OK;
	}
	return nv_put(psp, NULL, 0);
}
