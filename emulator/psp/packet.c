/* SPDX-License-Identifier: Apache-2.0 */
/* Packets: guest memory in transit under the guest's transport keys. */
#include "state.h"

#include <string.h>

#include <nettle/hmac.h>

#include "kdf.h"

/* What goes before the payload under a packet's MAC. */
struct mac_prefix {
	uint8_t tag;
	uint32_t flags;
	uint8_t iv[16];
	uint32_t guest_len;
	uint32_t trans_len;
} PSP_PACKED;

static void packet_mac(const struct guest *guest, const struct mac_prefix *prefix,
		       const void *payload, const uint8_t *extra, size_t extra_len, uint8_t mac[32])
{
	struct hmac_sha256_ctx ctx;

	hmac_sha256_set_key(&ctx, sizeof(guest->tik), guest->tik);
	hmac_sha256_update(&ctx, sizeof(*prefix), (const uint8_t *)prefix);
	hmac_sha256_update(&ctx, prefix->trans_len, payload);
	if (extra_len)
		hmac_sha256_update(&ctx, extra_len, extra);
	hmac_sha256_digest(&ctx, SHA256_DIGEST_SIZE, mac);
	explicit_bzero(&ctx, sizeof(ctx));
}

void psp_packet_seal(const struct guest *guest, const struct rng *rng, enum mac_tag tag,
		     struct packet_header *hdr, void *buf, uint32_t len)
{
	struct mac_prefix prefix = { .tag = tag, .guest_len = len, .trans_len = len };

	memset(hdr, 0, sizeof(*hdr));
	rng->random(rng->opaque, hdr->iv, sizeof(hdr->iv));
	memcpy(prefix.iv, hdr->iv, sizeof(prefix.iv));
	psp_aes_ctr(guest->tek, hdr->iv, buf, len);
	packet_mac(guest, &prefix, buf, NULL, 0, hdr->mac);
}

enum psp_status psp_packet_open(const struct guest *guest, enum mac_tag tag,
				const struct packet_header *hdr, void *buf, uint32_t guest_len,
				uint32_t trans_len, const uint8_t *extra, size_t extra_len)
{
	struct mac_prefix prefix = {
		.tag = tag,
		.flags = hdr->flags,
		.guest_len = guest_len,
		.trans_len = trans_len,
	};
	uint8_t mac[32];

	/* AMD's firmware asks this of a page before, of a secret after the MAC was compared. */
	if (tag == MAC_UPDATE_DATA && hdr->flags & PACKET_COMPRESSED)
		return PSP_UNSUPPORTED;
	memcpy(prefix.iv, hdr->iv, sizeof(prefix.iv));
	packet_mac(guest, &prefix, buf, extra, extra_len, mac);
	if (!psp_mac_equal(mac, hdr->mac))
		return PSP_BAD_MEASUREMENT;
	if (hdr->flags)
		return PSP_UNSUPPORTED;
	psp_aes_ctr(guest->tek, hdr->iv, buf, trans_len);
	return PSP_OK;
}

enum psp_status psp_packet_to_guest(struct call *call, enum mac_tag tag, const uint8_t *extra,
				    size_t extra_len)
{
	const struct cmd_packet *cmd = &call->cmd.packet;
	struct psp *psp = call->psp;
	struct packet_header hdr;
	uint8_t buf[PACKET_MAX_BYTES];
	enum psp_status status;

	if (!call->guest->asid)
		return PSP_INACTIVE;
	if (cmd->hdr_len < sizeof(hdr) || !cmd->guest_len || cmd->guest_len % 16 ||
	    cmd->guest_len > sizeof(buf) || cmd->trans_len != cmd->guest_len)
		return PSP_INVALID_LEN;
	if (cmd->guest_addr % 16)
		return PSP_INVALID_ADDRESS;
	status = psp_read(psp, cmd->hdr_addr, &hdr, sizeof(hdr));
	if (!status)
		status = psp_read(psp, cmd->trans_addr, buf, cmd->trans_len);
	if (!status)
		status = psp_packet_open(call->guest, tag, &hdr, buf, cmd->guest_len,
					 cmd->trans_len, extra, extra_len);
	if (!status)
		status = psp_guest_write(psp, call->guest, cmd->guest_addr, buf, cmd->guest_len);
	explicit_bzero(buf, sizeof(buf));
	return status;
}
