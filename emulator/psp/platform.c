/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands on the platform as a whole (publication 55766, chapter 5), but for its keys
 * (identity.c).
 */
#include "state.h"

#include <string.h>

/* Size and alignment of the trusted memory region for SEV-ES. */
#define TMR_BYTES	   (1u << 20)
#define NV_REGION_BYTES	   (32u << 10)
#define FIRMWARE_MAX_BYTES (1u << 20)

/*
 * The identity from storage, or a new one where there is none or the damaged one was refused once.
 */
static enum psp_status load_identity(struct psp *psp)
{
	struct identity id;
	enum psp_status status = PSP_OK;
	int found = psp_nv_load(psp, &id);

	if (found == -1 && !psp->nv_rejected) {
		psp->nv_rejected = true;
		return PSP_SECURE_DATA_INVALID;
	}
	if (found == -2)
		return PSP_HWERROR_PLATFORM;
	if (found != 1) {
		psp_identity_generate(psp, &id);
		if (!psp_nv_store(psp, &id))
			status = PSP_HWERROR_PLATFORM;
	}
	if (status == PSP_OK) {
		psp->identity = id;
		psp->nv_rejected = false;
	}
	explicit_bzero(&id, sizeof(id));
	return status;
}

static enum psp_status init(struct psp *psp, uint32_t flags, uint64_t tmr_addr, uint32_t tmr_len)
{
	enum psp_status status;

	if (flags & ~INIT_FLAG_ES)
		return PSP_INVALID_PARAM;
	if (flags & INIT_FLAG_ES) {
		if (tmr_len < TMR_BYTES)
			return PSP_INVALID_LEN;
		if (!psp_spa(psp, tmr_addr) || psp_spa(psp, tmr_addr) % TMR_BYTES)
			return PSP_INVALID_ADDRESS;
	}
	status = load_identity(psp);
	if (status)
		return status;
	psp->es = flags & INIT_FLAG_ES;
	psp->state = PLATFORM_INIT;
	/* No ASID may be used before WBINVD and DF_FLUSH: Linux does both right after INIT. */
	if (psp->machine.wbinvd_arm)
		psp->machine.wbinvd_arm(psp->opaque);
	return PSP_OK;
}

enum psp_status psp_cmd_init(struct call *call)
{
	const struct cmd_init *cmd = &call->cmd.init;
	struct psp *psp = call->psp;
	bool nv_in_ram = psp->nv_in_ram;
	enum psp_status status;

	psp->nv_in_ram = false;
	status = init(psp, cmd->flags, cmd->tmr_addr, cmd->tmr_len);
	if (status)
		psp->nv_in_ram = nv_in_ram;
	return status;
}

enum psp_status psp_cmd_init_ex(struct call *call)
{
	const struct cmd_init_ex *cmd = &call->cmd.init_ex;
	struct psp *psp = call->psp;
	bool nv_in_ram = psp->nv_in_ram;
	uint64_t nv_addr = psp->nv_addr;
	enum psp_status status;

	if (cmd->length < sizeof(*cmd))
		return PSP_INVALID_LEN;
	psp->nv_in_ram = psp_spa(psp, cmd->nv_addr) != 0;
	psp->nv_addr = cmd->nv_addr;
	if (psp->nv_in_ram && cmd->nv_len < NV_REGION_BYTES)
		status = PSP_INVALID_LEN;
	else
		status = init(psp, cmd->flags, cmd->tmr_addr, cmd->tmr_len);
	if (status) {
		psp->nv_in_ram = nv_in_ram;
		psp->nv_addr = nv_addr;
	}
	return status;
}

/*
 * After INIT_EX and SHUTDOWN this is its region of memory: Linux keeps it, and saves it to its file
 * after this command.
 */
enum psp_status psp_cmd_factory_reset(struct call *call)
{
	return psp_nv_erase(call->psp) ? PSP_OK : PSP_HWERROR_PLATFORM;
}

enum psp_status psp_cmd_platform_status(struct call *call)
{
	struct cmd_platform_status *cmd = &call->cmd.platform_status;
	struct psp *psp = call->psp;

	*cmd = (struct cmd_platform_status){
		.api_major = PSP_API_MAJOR,
		.api_minor = PSP_API_MINOR,
		.state = psp->state,
		.build = PSP_BUILD,
		.guest_count = psp_guest_count(psp),
	};
	if (psp->identity.external)
		cmd->flags |= STATUS_FLAG_OWNED;
	if (psp->es)
		cmd->flags |= STATUS_FLAG_ES;
	return psp_reply(call);
}

enum psp_status psp_cmd_df_flush(struct call *call)
{
	struct psp *psp = call->psp;

	if (psp->machine.wbinvd_done && !psp->machine.wbinvd_done(psp->opaque))
		return PSP_WBINVD_REQUIRED;
	for (uint32_t asid = 0; asid <= psp->machine.max_asid; asid++)
		psp->asids[asid].stale = false;
	return PSP_OK;
}

/* No vendor signs firmware for the emulated chip, so the signature of whatever comes is bad. */
enum psp_status psp_cmd_download_firmware(struct call *call)
{
	const struct cmd_buffer *cmd = &call->cmd.buffer;
	uint8_t byte;

	if (!cmd->len || cmd->len > FIRMWARE_MAX_BYTES)
		return PSP_INVALID_LEN;
	if (psp_read(call->psp, cmd->addr, &byte, 1) ||
	    psp_read(call->psp, psp_spa(call->psp, cmd->addr) + cmd->len - 1, &byte, 1))
		return PSP_INVALID_ADDRESS;
	return PSP_BAD_SIGNATURE;
}

enum psp_status psp_cmd_get_id(struct call *call)
{
	struct cmd_buffer *cmd = &call->cmd.buffer;
	uint8_t id[GET_ID_BYTES] = { 0 };
	bool fits = psp_spa(call->psp, cmd->addr) && cmd->len >= sizeof(id);
	enum psp_status status;

	if (fits) {
		memcpy(id, call->psp->chip.id, CHIP_ID_BYTES);
		status = psp_write(call->psp, cmd->addr, id, sizeof(id));
		if (status)
			return status;
	}
	cmd->len = sizeof(id);
	status = psp_reply(call);
	return status ? status : fits ? PSP_OK : PSP_INVALID_LEN;
}
