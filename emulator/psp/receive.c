/* SPDX-License-Identifier: Apache-2.0 */
/* Receiving a guest from another platform (publication 55766, sections 6.12 to 6.14). */
#include "state.h"

#include <string.h>

/*
 * The sender's certificate is not verified: only the holder of its key could wrap the session, and
 * the owner trusts the sender already. Nothing is remembered of a session: as long as the PDH
 * lives, the same bytes start another guest with the same transport keys.
 */
enum psp_status psp_cmd_receive_start(struct call *call)
{
	const struct cmd_start *cmd = &call->cmd.start;
	struct guest guest;
	enum psp_status status;

	status = psp_guest_prepare(call->psp, cmd->handle, cmd->policy, &guest);
	if (status)
		return status;
	status = psp_session_accept(call, &guest);
	if (status) {
		psp_guest_wipe(&guest);
		return status;
	}
	guest.state = GUEST_RUPDATE;
	return psp_guest_enter(call, &guest);
}

enum psp_status psp_cmd_receive_update_data(struct call *call)
{
	return psp_packet_to_guest(call, MAC_UPDATE_DATA, NULL, 0);
}

enum psp_status psp_cmd_receive_finish(struct call *call)
{
	struct guest *guest = call->guest;

	explicit_bzero(guest->tek, sizeof(guest->tek));
	explicit_bzero(guest->tik, sizeof(guest->tik));
	guest->state = GUEST_RUNNING;
	return PSP_OK;
}
