/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attestation report of a launched guest (publication 55766, section 6.8), which needs no
 * session with the owner.
 */
#include "state.h"

#include <string.h>

enum psp_status psp_cmd_attestation_report(struct call *call)
{
	struct cmd_attestation_report *cmd = &call->cmd.attestation_report;
	struct psp *psp = call->psp;
	struct rng rng = psp_rng(psp);
	bool fits = psp_spa(psp, cmd->addr) && cmd->len >= sizeof(struct attestation_report);
	struct attestation_report report = {
		.policy = call->guest->policy,
		.sig_usage = USAGE_PEK,
		.sig_algo = ALGO_ECDSA_SHA256,
	};
	enum psp_status status;

	cmd->len = sizeof(report);
	if (!fits) {
		status = psp_reply(call);
		return status ? status : PSP_INVALID_LEN;
	}
	memcpy(report.mnonce, cmd->mnonce, sizeof(report.mnonce));
	memcpy(report.launch_digest, call->guest->launch_digest, sizeof(report.launch_digest));
	psp_ec_sign(&psp->identity.pek, &rng, report.sig_algo, &report,
		    offsetof(struct attestation_report, sig_usage), &report.sig);
	status = psp_write(psp, cmd->addr, &report, sizeof(report));
	return status ? status : psp_reply(call);
}
