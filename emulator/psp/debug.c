/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's view into a guest whose policy allows it (publication 55766, sections 6.19 and 6.20).
 */
#include "state.h"

#include <string.h>

static enum psp_status check(struct call *call)
{
	const struct cmd_dbg *cmd = &call->cmd.dbg;
	enum psp_status status;

	if (call->guest->policy & POLICY_NODBG)
		return PSP_POLICY_FAILURE;
	if (!call->guest->asid)
		return PSP_INACTIVE;
	if (!cmd->len || cmd->len % 16)
		return PSP_INVALID_LEN;
	if (cmd->src_addr % 16 || cmd->dst_addr % 16)
		return PSP_INVALID_ADDRESS;
	status = psp_probe(call->psp, cmd->src_addr, cmd->len);
	return status ? status : psp_probe(call->psp, cmd->dst_addr, cmd->len);
}

static enum psp_status copy(struct call *call, bool decrypt)
{
	const struct cmd_dbg *cmd = &call->cmd.dbg;
	struct psp *psp = call->psp;
	uint64_t src = cmd->src_addr, dst = cmd->dst_addr;
	size_t left = cmd->len;
	uint8_t buf[PAGE_BYTES];
	enum psp_status status = check(call);

	for (size_t n; left && !status; src += n, dst += n, left -= n) {
		n = left < sizeof(buf) ? left : sizeof(buf);
		if (decrypt) {
			status = psp_guest_read(psp, call->guest, src, buf, n);
			if (!status)
				status = psp_write(psp, dst, buf, n);
		} else {
			status = psp_read(psp, src, buf, n);
			if (!status)
				status = psp_guest_write(psp, call->guest, dst, buf, n);
		}
	}
	explicit_bzero(buf, sizeof(buf));
	return status;
}

enum psp_status psp_cmd_dbg_decrypt(struct call *call)
{
	return copy(call, true);
}

enum psp_status psp_cmd_dbg_encrypt(struct call *call)
{
	return copy(call, false);
}
