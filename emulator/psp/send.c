/* SPDX-License-Identifier: Apache-2.0 */
/* Sending a guest to another platform (publication 55766, sections 6.9 to 6.11 and SEND_CANCEL). */
#include "state.h"

#include <string.h>

#include "cert.h"

/* What SEND_START is told about the target. Only the PDH is read whatever the policy. */
struct target {
	struct sev_cert pdh;
	struct cert_chain chain;
	struct vendor_chain vendor;
};

static enum psp_status read_target(struct psp *psp, const struct cmd_send_start *cmd,
				   uint32_t policy, struct target *target)
{
	bool chain = policy & (POLICY_SEV | POLICY_DOMAIN), vendor = policy & POLICY_SEV;
	enum psp_status status;

	if (cmd->pdh_cert_len != sizeof(target->pdh) ||
	    (chain && cmd->plat_certs_len != sizeof(target->chain)) ||
	    (vendor && cmd->vendor_certs_len != sizeof(target->vendor)))
		return PSP_INVALID_LEN;
	status = psp_read(psp, cmd->pdh_cert_addr, &target->pdh, sizeof(target->pdh));
	if (!status && chain)
		status = psp_read(psp, cmd->plat_certs_addr, &target->chain, sizeof(target->chain));
	if (!status && vendor)
		status = psp_read(psp, cmd->vendor_certs_addr, &target->vendor,
				  sizeof(target->vendor));
	return status;
}

static bool is_new_enough(uint32_t policy, const struct sev_cert *pek)
{
	return pek->api_major > POLICY_API_MAJOR(policy) ||
	       (pek->api_major == POLICY_API_MAJOR(policy) &&
		pek->api_minor >= POLICY_API_MINOR(policy));
}

/*
 * POLICY.SEV: the PDH is the PEK's, the PEK the CEK's, the CEK the ASK's, that the ARK's, and the
 * firmware is new enough. The OCA is not looked at.
 */
static enum psp_status check_genuine(uint32_t policy, const struct target *target)
{
	const struct sev_cert *pek = &target->chain.pek, *cek = &target->chain.cek;
	enum psp_status status;

	if (!psp_cert_well_formed(pek, USAGE_PEK) || !psp_cert_well_formed(cek, USAGE_CEK))
		return PSP_INVALID_CERTIFICATE;
	status = psp_cert_verify_vendor(cek, &target->vendor);
	if (status)
		return status;
	if (!psp_cert_signed_by(pek, cek, NULL) || !psp_cert_signed_by(&target->pdh, pek, NULL))
		return PSP_BAD_SIGNATURE;
	return is_new_enough(policy, pek) ? PSP_OK : PSP_POLICY_FAILURE;
}

/*
 * POLICY.DOMAIN: the PDH is the PEK's, the PEK the OCA's, and the OCA's certificate is this
 * platform's, byte for byte: another signature by the same key is another certificate.
 */
static enum psp_status check_domain(const struct psp *psp, const struct target *target)
{
	const struct sev_cert *pek = &target->chain.pek, *oca = &target->chain.oca;

	if (!psp_cert_well_formed(pek, USAGE_PEK) || !psp_cert_well_formed(oca, USAGE_OCA))
		return PSP_INVALID_CERTIFICATE;
	if (!psp_cert_signed_by(oca, oca, NULL) || !psp_cert_signed_by(pek, oca, NULL) ||
	    !psp_cert_signed_by(&target->pdh, pek, NULL))
		return PSP_BAD_SIGNATURE;
	/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): the bytes are what counts */
	return memcmp(&psp->identity.oca_cert, oca, sizeof(*oca)) ? PSP_POLICY_FAILURE : PSP_OK;
}

/*
 * Whether the guest may go there. With neither SEV nor DOMAIN in its policy the PDH's certificate
 * is taken as it is, as AMD's firmware does: whoever has such a guest's host may send it anywhere.
 */
static enum psp_status check_target(const struct psp *psp, uint32_t policy,
				    const struct target *target)
{
	enum psp_status status = PSP_OK;

	if (!psp_cert_well_formed(&target->pdh, USAGE_PDH))
		return PSP_INVALID_CERTIFICATE;
	if (policy & POLICY_SEV)
		status = check_genuine(policy, target);
	if (!status && policy & POLICY_DOMAIN)
		status = check_domain(psp, target);
	return status;
}

/* Fresh transport keys, wrapped for the target's PDH and handed to the host. */
static enum psp_status start_session(struct call *call, const struct ec_pubkey *target)
{
	struct cmd_send_start *cmd = &call->cmd.send_start;
	struct psp *psp = call->psp;
	struct guest *guest = call->guest;
	struct rng rng = psp_rng(psp);
	struct session session;
	uint8_t tek[16], tik[16], z[EC_BYTES];
	enum psp_status status = PSP_INVALID_CERTIFICATE;

	if (!psp_ec_shared_secret(&psp->identity.pdh, target, z))
		return status;
	psp_random(psp, tek, sizeof(tek));
	psp_random(psp, tik, sizeof(tik));
	psp_session_wrap(z, &rng, guest->policy, tek, tik, &session);
	cmd->policy = guest->policy;
	cmd->session_len = sizeof(session);
	status = psp_write(psp, cmd->session_addr, &session, sizeof(session));
	if (!status)
		status = psp_reply(call);
	if (!status) {
		memcpy(guest->tek, tek, sizeof(guest->tek));
		memcpy(guest->tik, tik, sizeof(guest->tik));
		guest->state = GUEST_SUPDATE;
	}
	explicit_bzero(tek, sizeof(tek));
	explicit_bzero(tik, sizeof(tik));
	explicit_bzero(z, sizeof(z));
	return status;
}

enum psp_status psp_cmd_send_start(struct call *call)
{
	struct cmd_send_start *cmd = &call->cmd.send_start;
	uint32_t policy = call->guest->policy;
	struct psp *psp = call->psp;
	struct target target;
	enum psp_status status;

	if (!psp_spa(psp, cmd->session_addr) || cmd->session_len != sizeof(struct session)) {
		cmd->policy = policy;
		cmd->session_len = sizeof(struct session);
		status = psp_reply(call);
		return status ? status : PSP_INVALID_LEN;
	}
	if (policy & POLICY_NOSEND)
		return PSP_POLICY_FAILURE;
	status = read_target(psp, cmd, policy, &target);
	if (!status)
		status = check_target(psp, policy, &target);
	if (!status)
		status = start_session(call, &target.pdh.pubkey);
	return status;
}

/*
 * The lengths that a packet of this much guest memory needs; KVM asks with everything zero and
 * sends a page at most.
 */
static enum psp_status reply_lengths(struct call *call)
{
	struct cmd_packet *cmd = &call->cmd.packet;

	cmd->hdr_len = sizeof(struct packet_header);
	cmd->trans_len = cmd->guest_len ? cmd->guest_len : PAGE_BYTES;
	return psp_reply(call);
}

enum psp_status psp_cmd_send_update_data(struct call *call)
{
	struct cmd_packet *cmd = &call->cmd.packet;
	struct psp *psp = call->psp;
	struct rng rng = psp_rng(psp);
	struct packet_header hdr;
	uint8_t buf[PACKET_MAX_BYTES];
	uint32_t len = cmd->guest_len;
	enum psp_status status;

	if (!psp_spa(psp, cmd->hdr_addr) || cmd->hdr_len < sizeof(hdr) ||
	    !psp_spa(psp, cmd->trans_addr) || cmd->trans_len < len || !len || len % 16 ||
	    len > sizeof(buf)) {
		status = reply_lengths(call);
		return status ? status : PSP_INVALID_LEN;
	}
	if (!call->guest->asid)
		return PSP_INACTIVE;
	if (cmd->guest_addr % 16)
		return PSP_INVALID_ADDRESS;
	status = psp_guest_read(psp, call->guest, cmd->guest_addr, buf, len);
	if (status)
		return status;
	psp_packet_seal(call->guest, &rng, MAC_UPDATE_DATA, &hdr, buf, len);
	status = psp_write(psp, cmd->hdr_addr, &hdr, sizeof(hdr));
	if (!status)
		status = psp_write(psp, cmd->trans_addr, buf, len);
	return status ? status : reply_lengths(call);
}

static enum psp_status end_sending(struct guest *guest, enum guest_state state)
{
	explicit_bzero(guest->tek, sizeof(guest->tek));
	explicit_bzero(guest->tik, sizeof(guest->tik));
	guest->state = state;
	return PSP_OK;
}

enum psp_status psp_cmd_send_finish(struct call *call)
{
	return end_sending(call->guest, GUEST_SENT);
}

enum psp_status psp_cmd_send_cancel(struct call *call)
{
	return end_sending(call->guest, GUEST_RUNNING);
}
