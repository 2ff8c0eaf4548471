/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The platform's keys and certificates and the commands on them (publication 55766, sections 5.6 to
 * 5.10).
 */
#include "state.h"

#include <string.h>

#include "cert.h"

void psp_identity_new_pdh(const struct psp *psp, struct identity *id)
{
	struct rng rng = psp_rng(psp);

	psp_ec_key_generate(&id->pdh, &rng);
	psp_cert_make(&id->pdh_cert, USAGE_PDH, &id->pdh.pub);
	psp_cert_sign(&id->pdh_cert, 0, USAGE_PEK, &id->pek, &rng);
}

/* A self-owned platform: everything new. */
void psp_identity_generate(const struct psp *psp, struct identity *id)
{
	struct rng rng = psp_rng(psp);

	memset(id, 0, sizeof(*id));
	psp_ec_key_generate(&id->oca, &rng);
	psp_cert_make(&id->oca_cert, USAGE_OCA, &id->oca.pub);
	psp_cert_sign(&id->oca_cert, 0, USAGE_OCA, &id->oca, &rng);

	psp_ec_key_generate(&id->pek, &rng);
	psp_cert_make(&id->pek_cert, USAGE_PEK, &id->pek.pub);
	psp_cert_sign(&id->pek_cert, 0, USAGE_OCA, &id->oca, &rng);
	psp_cert_sign(&id->pek_cert, 1, USAGE_CEK, &psp->chip.cek, &rng);

	psp_identity_new_pdh(psp, id);
}

static bool same_key(const struct ec_pubkey *a, const struct ec_pubkey *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/*
 * What came from storage: complete the keys and check that the certificates are theirs and a chain.
 */
bool psp_identity_consistent(const struct psp *psp, struct identity *id)
{
	if (!id->external && !psp_ec_key_complete(&id->oca))
		return false;
	if (id->external)
		id->oca.pub = id->oca_cert.pubkey;
	if (!psp_ec_key_complete(&id->pek) || !psp_ec_key_complete(&id->pdh))
		return false;
	return same_key(&id->oca.pub, &id->oca_cert.pubkey) &&
	       same_key(&id->pek.pub, &id->pek_cert.pubkey) &&
	       same_key(&id->pdh.pub, &id->pdh_cert.pubkey) &&
	       psp_cert_signed_by(&id->pdh_cert, &id->pek_cert, NULL) &&
	       psp_cert_signed_by(&id->pek_cert, &id->oca_cert, NULL) &&
	       psp_cert_signed_by(&id->pek_cert, &psp->chip.cek_cert, NULL) &&
	       psp_cert_signed_by(&id->oca_cert, &id->oca_cert, NULL);
}

/* Make it the platform's, in storage first. Wipes *id. */
static enum psp_status adopt(struct psp *psp, struct identity *id)
{
	enum psp_status status = PSP_HWERROR_PLATFORM;

	if (psp_nv_store(psp, id)) {
		psp->identity = *id;
		status = PSP_OK;
	}
	explicit_bzero(id, sizeof(*id));
	return status;
}

enum psp_status psp_cmd_pek_gen(struct call *call)
{
	struct identity id;

	psp_identity_generate(call->psp, &id);
	return adopt(call->psp, &id);
}

enum psp_status psp_cmd_pdh_gen(struct call *call)
{
	struct identity id = call->psp->identity;

	psp_identity_new_pdh(call->psp, &id);
	return adopt(call->psp, &id);
}

/*
 * The PEK's certificate without signatures, which the owner signs and hands back to
 * PEK_CERT_IMPORT.
 */
static struct sev_cert pek_request(const struct psp *psp)
{
	struct sev_cert csr;

	psp_cert_make(&csr, USAGE_PEK, &psp->identity.pek.pub);
	return csr;
}

enum psp_status psp_cmd_pek_csr(struct call *call)
{
	struct cmd_buffer *cmd = &call->cmd.buffer;
	bool fits = psp_spa(call->psp, cmd->addr) && cmd->len >= sizeof(struct sev_cert);
	struct sev_cert csr = pek_request(call->psp);
	enum psp_status status;

	if (fits) {
		status = psp_write(call->psp, cmd->addr, &csr, sizeof(csr));
		if (status)
			return status;
	}
	cmd->len = sizeof(csr);
	status = psp_reply(call);
	return status ? status : fits ? PSP_OK : PSP_INVALID_LEN;
}

static enum psp_status check_import(const struct psp *psp, const struct sev_cert *pek,
				    const struct sev_cert *oca, int *oca_slot)
{
	struct sev_cert csr = pek_request(psp);

	if (!psp_cert_well_formed(oca, USAGE_OCA) ||
	    memcmp(pek, &csr, offsetof(struct sev_cert, sig)) != 0)
		return PSP_INVALID_CERTIFICATE;
	if (!psp_cert_signed_by(oca, oca, NULL) || !psp_cert_signed_by(pek, oca, oca_slot))
		return PSP_BAD_SIGNATURE;
	return PSP_OK;
}

enum psp_status psp_cmd_pek_cert_import(struct call *call)
{
	const struct cmd_pek_cert_import *cmd = &call->cmd.pek_cert_import;
	struct psp *psp = call->psp;
	struct rng rng = psp_rng(psp);
	struct identity id = psp->identity;
	enum psp_status status;
	int oca_slot = 0;

	status = PSP_ALREADY_OWNED;
	if (id.external)
		goto out;
	status = PSP_INVALID_LEN;
	if (cmd->pek_len != sizeof(struct sev_cert) || cmd->oca_len != sizeof(struct sev_cert))
		goto out;
	status = psp_read(psp, cmd->pek_addr, &id.pek_cert, sizeof(id.pek_cert));
	if (status)
		goto out;
	status = psp_read(psp, cmd->oca_addr, &id.oca_cert, sizeof(id.oca_cert));
	if (status)
		goto out;
	status = check_import(psp, &id.pek_cert, &id.oca_cert, &oca_slot);
	if (status)
		goto out;

	id.external = true;
	explicit_bzero(id.oca.d, sizeof(id.oca.d));
	id.oca.pub = id.oca_cert.pubkey;
	psp_cert_sign(&id.pek_cert, !oca_slot, USAGE_CEK, &psp->chip.cek, &rng);
	psp_identity_new_pdh(psp, &id);
	status = adopt(psp, &id);
out:
	explicit_bzero(&id, sizeof(id));
	return status;
}

enum psp_status psp_cmd_pdh_cert_export(struct call *call)
{
	struct cmd_pdh_cert_export *cmd = &call->cmd.pdh_cert_export;
	struct psp *psp = call->psp;
	struct cert_chain chain = {
		.pek = psp->identity.pek_cert,
		.oca = psp->identity.oca_cert,
		.cek = psp->chip.cek_cert,
	};
	bool fits = psp_spa(psp, cmd->pdh_addr) && psp_spa(psp, cmd->chain_addr) &&
		    cmd->pdh_len >= sizeof(struct sev_cert) && cmd->chain_len >= sizeof(chain);
	enum psp_status status;

	if (fits) {
		status = psp_write(psp, cmd->pdh_addr, &psp->identity.pdh_cert,
				   sizeof(psp->identity.pdh_cert));
		if (!status)
			status = psp_write(psp, cmd->chain_addr, &chain, sizeof(chain));
		if (status)
			return status;
	}
	cmd->pdh_len = sizeof(struct sev_cert);
	cmd->chain_len = sizeof(chain);
	status = psp_reply(call);
	return status ? status : fits ? PSP_OK : PSP_INVALID_LEN;
}
