/* SPDX-License-Identifier: Apache-2.0 */
/* Guest contexts, their ASIDs and keys (publication 55766, sections 6.15 to 6.18). */
#include "state.h"

#include <string.h>

uint32_t psp_guest_handle(const struct psp *psp, const struct guest *guest)
{
	return guest - psp->guests + 1;
}

struct guest *psp_guest_find(struct psp *psp, uint32_t handle)
{
	struct guest *guest;

	if (handle < 1 || handle > GUESTS_MAX)
		return NULL;
	guest = &psp->guests[handle - 1];
	return guest->state == GUEST_UNINIT ? NULL : guest;
}

unsigned int psp_guest_count(const struct psp *psp)
{
	unsigned int n = 0;

	for (size_t i = 0; i < GUESTS_MAX; i++)
		n += psp->guests[i].state != GUEST_UNINIT;
	return n;
}

static struct guest *free_slot(struct psp *psp)
{
	for (size_t i = 0; i < GUESTS_MAX; i++)
		if (psp->guests[i].state == GUEST_UNINIT)
			return &psp->guests[i];
	return NULL;
}

/* Whether a guest with this policy may be on this platform. */
static enum psp_status check_policy(uint32_t policy)
{
	uint8_t major = POLICY_API_MAJOR(policy), minor = POLICY_API_MINOR(policy);

	if (policy & POLICY_ES)
		return PSP_UNSUPPORTED;
	if (major > PSP_API_MAJOR || (major == PSP_API_MAJOR && minor > PSP_API_MINOR))
		return PSP_POLICY_FAILURE;
	return PSP_OK;
}

enum psp_status psp_guest_prepare(struct psp *psp, uint32_t share, uint32_t policy,
				  struct guest *guest)
{
	enum psp_status status = check_policy(policy);
	const struct guest *other = NULL;

	memset(guest, 0, sizeof(*guest));
	if (status)
		return status;
	if (share) {
		other = psp_guest_find(psp, share);
		if (!other)
			return PSP_INVALID_GUEST;
		if (policy & POLICY_NOKS || other->policy != policy)
			return PSP_POLICY_FAILURE;
	}
	if (!free_slot(psp))
		return PSP_RESOURCE_LIMIT;

	guest->policy = policy;
	if (other) {
		guest->key_id = other->key_id;
		memcpy(guest->vek, other->vek, sizeof(guest->vek));
	} else {
		guest->key_id = psp->last_key_id + 1;
		psp_random(psp, guest->vek, sizeof(guest->vek));
	}
	sha256_init(&guest->launch);
	guest->mem = memenc_key_create(guest->vek);
	if (!guest->mem) {
		psp_guest_wipe(guest);
		return PSP_HWERROR_PLATFORM;
	}
	return PSP_OK;
}

enum psp_status psp_guest_enter(struct call *call, struct guest *guest)
{
	struct psp *psp = call->psp;
	struct guest *slot = free_slot(psp);
	enum psp_status status;

	call->cmd.start.handle = psp_guest_handle(psp, slot);
	status = psp_reply(call);
	if (status) {
		psp_guest_wipe(guest);
		return status;
	}
	if (guest->key_id > psp->last_key_id)
		psp->last_key_id = guest->key_id;
	*slot = *guest;
	explicit_bzero(guest, sizeof(*guest));
	psp->state = PLATFORM_WORKING;
	return PSP_OK;
}

void psp_guest_wipe(struct guest *guest)
{
	memenc_key_destroy(guest->mem);
	explicit_bzero(guest, sizeof(*guest));
}

void psp_guests_clear(struct psp *psp, bool remove_keys)
{
	for (uint32_t asid = 0; asid <= psp->machine.max_asid; asid++) {
		struct asid_slot *slot = &psp->asids[asid];

		if (slot->users && remove_keys)
			psp->machine.remove_key(psp->opaque, asid);
		slot->users = 0;
		slot->stale = true;
	}
	for (size_t i = 0; i < GUESTS_MAX; i++)
		psp_guest_wipe(&psp->guests[i]);
}

enum psp_status psp_cmd_activate(struct call *call)
{
	struct psp *psp = call->psp;
	struct guest *guest = call->guest;
	uint32_t asid = call->cmd.activate.asid;
	struct asid_slot *slot;

	if (guest->asid)
		return PSP_ACTIVE;
	if (asid < psp->machine.min_asid || asid > psp->machine.max_asid)
		return PSP_INVALID_ASID;
	slot = &psp->asids[asid];
	if (slot->users && slot->key_id != guest->key_id)
		return PSP_ASID_OWNED;
	if (slot->stale)
		return PSP_DFFLUSH_REQUIRED;
	if (!slot->users) {
		slot->key_id = guest->key_id;
		psp->machine.install_key(psp->opaque, asid, guest->vek);
	}
	slot->users++;
	guest->asid = asid;
	return PSP_OK;
}

enum psp_status psp_cmd_deactivate(struct call *call)
{
	struct psp *psp = call->psp;
	struct guest *guest = call->guest;
	struct asid_slot *slot;

	if (!guest->asid)
		return PSP_INACTIVE;
	slot = &psp->asids[guest->asid];
	if (--slot->users == 0) {
		psp->machine.remove_key(psp->opaque, guest->asid);
		slot->stale = true;
		if (psp->machine.wbinvd_arm)
			psp->machine.wbinvd_arm(psp->opaque);
	}
	guest->asid = 0;
	return PSP_OK;
}

enum psp_status psp_cmd_decommission(struct call *call)
{
	struct psp *psp = call->psp;

	if (call->guest->asid)
		return PSP_ACTIVE;
	psp_guest_wipe(call->guest);
	if (!psp_guest_count(psp))
		psp->state = PLATFORM_INIT;
	return PSP_OK;
}

enum psp_status psp_cmd_guest_status(struct call *call)
{
	struct cmd_guest_status *cmd = &call->cmd.guest_status;

	cmd->policy = call->guest->policy;
	cmd->asid = call->guest->asid;
	cmd->state = call->guest->state;
	return psp_reply(call);
}
