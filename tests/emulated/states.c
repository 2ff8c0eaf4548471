/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/emulated/states.h"

#define IN(state) (1u << (state))

static const char *const state_names[] = { "UNINIT",  "LUPDATE", "LSECRET", "RUNNING",
					   "SUPDATE", "RUPDATE", "SENT" };

void tap_wrong_state(struct tap *tap, struct vm *vm, enum guest_state state)
{
	static uint8_t page[PAGE_BYTES], blob[SEV_CHAIN_BYTES];
	uintptr_t p = (uintptr_t)page, b = (uintptr_t)blob, g = (uintptr_t)vm->mem + GPA_FREE;
	struct kvm_sev_launch_update_data update = { g, 4096 };
	struct kvm_sev_launch_measure measure = { b, SEV_MEASURE_BYTES };
	struct kvm_sev_launch_secret secret = { b, SEV_HEADER_BYTES, g, 16, b, 16 };
	struct kvm_sev_send_start start = { 0,	  b, SEV_CERT_BYTES,   b, SEV_CHAIN_BYTES, b,
					    4096, p, SEV_SESSION_BYTES };
	struct kvm_sev_send_update_data send = { p, SEV_HEADER_BYTES, g, 16, p + 64, 16 };
	struct kvm_sev_receive_update_data receive = { b, SEV_HEADER_BYTES, g, 16, b, 16 };
	struct kvm_sev_attestation_report report = { .uaddr = p, .len = SEV_REPORT_BYTES };
	const struct {
		uint32_t id;
		uint32_t allowed; /* SEV API, chapter 6: "the guest must be in the state" */
		const char *name;
		void *data;
	} commands[] = {
		{ KVM_SEV_LAUNCH_UPDATE_DATA, IN(GSTATE_LUPDATE), "LAUNCH_UPDATE_DATA", &update },
		{ KVM_SEV_LAUNCH_MEASURE, IN(GSTATE_LUPDATE), "LAUNCH_MEASURE", &measure },
		{ KVM_SEV_LAUNCH_SECRET, IN(GSTATE_LSECRET), "LAUNCH_UPDATE_SECRET", &secret },
		{ KVM_SEV_LAUNCH_FINISH, IN(GSTATE_LSECRET), "LAUNCH_FINISH", NULL },
		{ KVM_SEV_GET_ATTESTATION_REPORT,
		  IN(GSTATE_LSECRET) | IN(GSTATE_RUNNING) | IN(GSTATE_SUPDATE) | IN(GSTATE_SENT),
		  "ATTESTATION_REPORT", &report },
		{ KVM_SEV_SEND_START, IN(GSTATE_RUNNING), "SEND_START", &start },
		{ KVM_SEV_SEND_UPDATE_DATA, IN(GSTATE_SUPDATE), "SEND_UPDATE_DATA", &send },
		{ KVM_SEV_SEND_FINISH, IN(GSTATE_SUPDATE), "SEND_FINISH", NULL },
		{ KVM_SEV_SEND_CANCEL, IN(GSTATE_SUPDATE), "SEND_CANCEL", NULL },
		{ KVM_SEV_RECEIVE_UPDATE_DATA, IN(GSTATE_RUPDATE), "RECEIVE_UPDATE_DATA",
		  &receive },
		{ KVM_SEV_RECEIVE_FINISH, IN(GSTATE_RUPDATE), "RECEIVE_FINISH", NULL },
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		char what[64];

		if (commands[i].allowed & IN(state))
			continue;
		snprintf(what, sizeof(what), "%s in %s", commands[i].name, state_names[state]);
		tap_sev_status(tap, vm_sev(vm, commands[i].id, commands[i].data),
			       SEV_RET_INVALID_GUEST_STATE, what);
	}
	tap_ok(tap, vm_state(vm) == state, "still in %s", state_names[state]);
}
