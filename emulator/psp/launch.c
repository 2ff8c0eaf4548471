/* SPDX-License-Identifier: Apache-2.0 */
/* Launching a guest (publication 55766, sections 6.2 to 6.7). */
#include "state.h"

#include <string.h>

#include "kdf.h"

enum psp_status psp_cmd_launch_start(struct call *call)
{
	const struct cmd_start *cmd = &call->cmd.start;
	struct psp *psp = call->psp;
	struct guest guest;
	enum psp_status status;

	status = psp_guest_prepare(psp, cmd->handle, cmd->policy, &guest);
	if (status)
		return status;
	if (psp_spa(psp, cmd->dh_cert_addr)) {
		status = psp_session_accept(call, &guest);
	} else {
		psp_random(psp, guest.tek, sizeof(guest.tek));
		psp_random(psp, guest.tik, sizeof(guest.tik));
	}
	if (status) {
		psp_guest_wipe(&guest);
		return status;
	}
	guest.state = GUEST_LUPDATE;
	return psp_guest_enter(call, &guest);
}

/* Encrypt in place what the host put there, and measure it. */
enum psp_status psp_cmd_launch_update_data(struct call *call)
{
	const struct cmd_guest_buffer *cmd = &call->cmd.guest_buffer;
	struct psp *psp = call->psp;
	struct guest *guest = call->guest;
	uint64_t addr = cmd->addr;
	size_t left = cmd->len;
	struct sha256_ctx launch = guest->launch;
	uint8_t page[PAGE_BYTES];
	enum psp_status status;

	if (!guest->asid)
		return PSP_INACTIVE;
	if (!cmd->len || cmd->len % 16)
		return PSP_INVALID_LEN;
	if (addr % 16)
		return PSP_INVALID_ADDRESS;
	status = psp_probe(psp, addr, left);
	for (size_t n; left && !status; addr += n, left -= n) {
		n = psp_page_chunk(addr, left);
		status = psp_guest_encrypt_page(psp, guest, addr, page, n);
		if (!status)
			sha256_update(&launch, n, page);
	}
	if (!status)
		guest->launch = launch;
	explicit_bzero(page, sizeof(page));
	return status;
}

/* What the measurement's MAC covers. */
struct measured {
	uint8_t tag;
	uint8_t api_major;
	uint8_t api_minor;
	uint8_t build;
	uint32_t policy;
	uint8_t launch_digest[32];
	uint8_t mnonce[16];
} PSP_PACKED;

enum psp_status psp_cmd_launch_measure(struct call *call)
{
	struct cmd_guest_buffer *cmd = &call->cmd.guest_buffer;
	struct psp *psp = call->psp;
	struct guest *guest = call->guest;
	struct measured measured = {
		.tag = MAC_LAUNCH_MEASURE,
		.api_major = PSP_API_MAJOR,
		.api_minor = PSP_API_MINOR,
		.build = PSP_BUILD,
		.policy = guest->policy,
	};
	bool fits = psp_spa(psp, cmd->addr) && cmd->len >= sizeof(struct launch_measure);
	struct sha256_ctx launch = guest->launch;
	struct launch_measure result;
	enum psp_status status;

	cmd->len = sizeof(result);
	if (!fits) {
		status = psp_reply(call);
		return status ? status : PSP_INVALID_LEN;
	}
	sha256_digest(&launch, sizeof(measured.launch_digest), measured.launch_digest);
	psp_random(psp, result.mnonce, sizeof(result.mnonce));
	memcpy(measured.mnonce, result.mnonce, sizeof(measured.mnonce));
	psp_hmac_sha256(guest->tik, sizeof(guest->tik), &measured, sizeof(measured), result.mac);
	status = psp_write(psp, cmd->addr, &result, sizeof(result));
	if (!status)
		status = psp_reply(call);
	if (status)
		return status;
	memcpy(guest->launch_digest, measured.launch_digest, sizeof(guest->launch_digest));
	memcpy(guest->measurement, result.mac, sizeof(guest->measurement));
	guest->state = GUEST_LSECRET;
	return PSP_OK;
}

enum psp_status psp_cmd_launch_update_secret(struct call *call)
{
	return psp_packet_to_guest(call, MAC_LAUNCH_SECRET, call->guest->measurement,
				   sizeof(call->guest->measurement));
}

enum psp_status psp_cmd_launch_finish(struct call *call)
{
	struct guest *guest = call->guest;

	explicit_bzero(guest->tek, sizeof(guest->tek));
	explicit_bzero(guest->tik, sizeof(guest->tik));
	guest->state = GUEST_RUNNING;
	return PSP_OK;
}
