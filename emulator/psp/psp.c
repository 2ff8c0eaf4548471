/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power-up, and which command is allowed when (publication 55766, chapters 5 and 6: the platform's
 * and the guests' state machines).
 */
#include "psp.h"

#include <stdlib.h>
#include <string.h>

#include "state.h"

struct rng psp_rng(const struct psp *psp)
{
	return (struct rng){ psp->machine.random, psp->opaque };
}

void psp_random(const struct psp *psp, void *buf, size_t len)
{
	psp->machine.random(psp->opaque, buf, len);
}

static const char *machine_fault(const struct psp_machine *m)
{
	if (!m->read || !m->write || !m->install_key || !m->remove_key || !m->random)
		return "a callback of struct psp_machine is missing";
	if (!m->nv_load != !m->nv_store)
		return "nv_load and nv_store only go together";
	if (m->min_asid < 1 || m->min_asid > m->max_asid || m->max_asid > UINT16_MAX)
		return "the range of ASIDs is not within 1..65535";
	return NULL;
}

struct psp *psp_create(const struct psp_machine *machine, void *opaque,
		       const uint8_t chip_seed[PSP_CHIP_SEED_BYTES], const char **why)
{
	const char *fault = machine_fault(machine);
	struct psp *psp = NULL;
	struct rng rng;

	if (fault)
		goto fail;
	fault = "out of memory";
	psp = calloc(1, sizeof(*psp));
	if (!psp)
		goto fail;
	psp->machine = *machine;
	psp->opaque = opaque;
	if (!psp->machine.addr_mask)
		psp->machine.addr_mask = (1ull << 47) - 1;
	psp->asids = calloc(machine->max_asid + 1, sizeof(*psp->asids));
	if (!psp->asids)
		goto fail;
	rng = psp_rng(psp);
	if (!psp_chip_init(&psp->chip, chip_seed, &rng)) {
		fault = "the chip's endorsement key could not be certified";
		goto fail;
	}
	psp_guests_clear(psp, false);
	return psp;

fail:
	psp_destroy(psp);
	if (why)
		*why = fault;
	return NULL;
}

static void forget_platform(struct psp *psp)
{
	explicit_bzero(&psp->identity, sizeof(psp->identity));
	psp->state = PLATFORM_UNINIT;
	psp->es = false;
}

void psp_destroy(struct psp *psp)
{
	if (!psp)
		return;
	for (size_t i = 0; i < GUESTS_MAX; i++)
		psp_guest_wipe(&psp->guests[i]);
	free(psp->asids);
	explicit_bzero(psp, sizeof(*psp));
	free(psp);
}

void psp_reset(struct psp *psp)
{
	psp_guests_clear(psp, true);
	forget_platform(psp);
	psp->nv_in_ram = false;
	psp->nv_rejected = false;
}

enum psp_status psp_cmd_shutdown(struct call *call)
{
	psp_guests_clear(call->psp, true);
	forget_platform(call->psp);
	return PSP_OK;
}

/* In which platform states a command may come. */
#define UNINIT	(1u << PLATFORM_UNINIT)
#define INIT	(1u << PLATFORM_INIT)
#define WORKING (1u << PLATFORM_WORKING)
#define ANY	(UNINIT | INIT | WORKING)

/*
 * In which states its guest may be; 0: it is not about an existing guest. Such a command's buffer
 * begins with the handle.
 */
#define G(state) (1u << GUEST_##state)
#define G_ANY	 (G(LUPDATE) | G(LSECRET) | G(RUNNING) | G(SUPDATE) | G(RUPDATE) | G(SENT))

struct command {
	command_fn *run; /* NULL: no command of this API */
	uint8_t platform;
	uint8_t guest;
	uint16_t len;
};

#define CMD(fn, platform, guest, type)            \
	{                                         \
		fn, platform, guest, sizeof(type) \
	}
#define CMD_BARE(fn, platform)     \
	{                          \
		fn, platform, 0, 0 \
	}

/* A command of the API that this firmware does not have, whatever the state. */
static enum psp_status unsupported(struct call *call)
{
	(void)call;
	return PSP_UNSUPPORTED;
}

/* clang-format off */
static const struct command commands[] = {
	[PSP_CMD_INIT] = CMD(psp_cmd_init, UNINIT, 0, struct cmd_init),
	[PSP_CMD_INIT_EX] = CMD(psp_cmd_init_ex, UNINIT, 0, struct cmd_init_ex),
	[PSP_CMD_SHUTDOWN] = CMD_BARE(psp_cmd_shutdown, INIT | WORKING),
	[PSP_CMD_FACTORY_RESET] = CMD_BARE(psp_cmd_factory_reset, UNINIT),
	[PSP_CMD_PLATFORM_STATUS] = CMD(psp_cmd_platform_status, ANY, 0,
					struct cmd_platform_status),
	[PSP_CMD_PEK_GEN] = CMD_BARE(psp_cmd_pek_gen, INIT),
	[PSP_CMD_PEK_CSR] = CMD(psp_cmd_pek_csr, INIT, 0, struct cmd_buffer),
	[PSP_CMD_PEK_CERT_IMPORT] = CMD(psp_cmd_pek_cert_import, INIT, 0,
					struct cmd_pek_cert_import),
	[PSP_CMD_PDH_CERT_EXPORT] = CMD(psp_cmd_pdh_cert_export, INIT | WORKING, 0,
					struct cmd_pdh_cert_export),
	[PSP_CMD_PDH_GEN] = CMD_BARE(psp_cmd_pdh_gen, INIT | WORKING),
	[PSP_CMD_DF_FLUSH] = CMD_BARE(psp_cmd_df_flush, INIT | WORKING),
	[PSP_CMD_DOWNLOAD_FIRMWARE] = CMD(psp_cmd_download_firmware, UNINIT, 0, struct cmd_buffer),
	[PSP_CMD_GET_ID] = CMD(psp_cmd_get_id, ANY, 0, struct cmd_buffer),

	[PSP_CMD_DECOMMISSION] = CMD(psp_cmd_decommission, WORKING, G_ANY, struct cmd_handle),
	[PSP_CMD_ACTIVATE] = CMD(psp_cmd_activate, WORKING, G_ANY, struct cmd_activate),
	[PSP_CMD_DEACTIVATE] = CMD(psp_cmd_deactivate, WORKING, G_ANY, struct cmd_handle),
	[PSP_CMD_GUEST_STATUS] = CMD(psp_cmd_guest_status, WORKING, G_ANY, struct cmd_guest_status),
	[PSP_CMD_COPY] = CMD_BARE(unsupported, ANY),
	[PSP_CMD_ACTIVATE_EX] = CMD_BARE(unsupported, ANY),

	[PSP_CMD_LAUNCH_START] = CMD(psp_cmd_launch_start, INIT | WORKING, 0, struct cmd_start),
	[PSP_CMD_LAUNCH_UPDATE_DATA] = CMD(psp_cmd_launch_update_data, WORKING, G(LUPDATE),
					   struct cmd_guest_buffer),
	[PSP_CMD_LAUNCH_UPDATE_VMSA] = CMD_BARE(unsupported, ANY),
	[PSP_CMD_LAUNCH_MEASURE] = CMD(psp_cmd_launch_measure, WORKING, G(LUPDATE),
				       struct cmd_guest_buffer),
	[PSP_CMD_LAUNCH_UPDATE_SECRET] = CMD(psp_cmd_launch_update_secret, WORKING, G(LSECRET),
					     struct cmd_packet),
	[PSP_CMD_LAUNCH_FINISH] = CMD(psp_cmd_launch_finish, WORKING, G(LSECRET),
				      struct cmd_handle),
	[PSP_CMD_ATTESTATION_REPORT] = CMD(psp_cmd_attestation_report, WORKING,
					   G(LSECRET) | G(RUNNING) | G(SUPDATE) | G(SENT),
					   struct cmd_attestation_report),

	[PSP_CMD_SEND_START] = CMD(psp_cmd_send_start, WORKING, G(RUNNING), struct cmd_send_start),
	[PSP_CMD_SEND_UPDATE_DATA] = CMD(psp_cmd_send_update_data, WORKING, G(SUPDATE),
					 struct cmd_packet),
	[PSP_CMD_SEND_UPDATE_VMSA] = CMD_BARE(unsupported, ANY),
	[PSP_CMD_SEND_FINISH] = CMD(psp_cmd_send_finish, WORKING, G(SUPDATE), struct cmd_handle),
	[PSP_CMD_SEND_CANCEL] = CMD(psp_cmd_send_cancel, WORKING, G(SUPDATE), struct cmd_handle),

	[PSP_CMD_RECEIVE_START] = CMD(psp_cmd_receive_start, INIT | WORKING, 0, struct cmd_start),
	[PSP_CMD_RECEIVE_UPDATE_DATA] = CMD(psp_cmd_receive_update_data, WORKING, G(RUPDATE),
					    struct cmd_packet),
	[PSP_CMD_RECEIVE_UPDATE_VMSA] = CMD_BARE(unsupported, ANY),
	[PSP_CMD_RECEIVE_FINISH] = CMD(psp_cmd_receive_finish, WORKING, G(RUPDATE),
				       struct cmd_handle),

	[PSP_CMD_DBG_DECRYPT] = CMD(psp_cmd_dbg_decrypt, WORKING, G_ANY, struct cmd_dbg),
	[PSP_CMD_DBG_ENCRYPT] = CMD(psp_cmd_dbg_encrypt, WORKING, G_ANY, struct cmd_dbg),
};
/* clang-format on */

static enum psp_status execute(struct call *call, const struct command *command)
{
	struct psp *psp = call->psp;
	enum psp_status status;

	if (!(command->platform & (1u << psp->state)))
		return PSP_INVALID_PLATFORM_STATE;
	if (command->len) {
		status = psp_read(psp, call->addr, &call->cmd, command->len);
		if (status)
			return status;
		call->len = command->len;
	}
	if (command->guest) {
		call->guest = psp_guest_find(psp, call->cmd.handle.handle);
		if (!call->guest)
			return PSP_INVALID_GUEST;
		if (!(command->guest & (1u << call->guest->state)))
			return PSP_INVALID_GUEST_STATE;
	}
	return command->run(call);
}

uint32_t psp_command(struct psp *psp, uint32_t cmd, uint64_t cmdbuf)
{
	struct call call = { .psp = psp, .addr = cmdbuf };

	if (cmd >= sizeof(commands) / sizeof(commands[0]) || !commands[cmd].run)
		return PSP_INVALID_COMMAND;
	return execute(&call, &commands[cmd]);
}
