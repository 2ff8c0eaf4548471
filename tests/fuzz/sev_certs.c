/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates from anywhere: the first byte chooses how much of a sound chain of the emulation is
 * added first, the rest is a file with certificates; it is taken as a root as well.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "emulator/psp/vendor.h"
#include "lib/sev/chain.h"
#include "lib/sev/owner_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_roots(const uint8_t *data, size_t len, const struct sev_chain *chain)
{
	struct sev_root root;
	struct sev_error error;

	if (sev_root_from_file_bytes(&root, data, len, &error) == 0)
		sev_chain_verify(chain, &root, &error);
	if (sev_root_from_file_bytes(&root, psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES, &error))
		abort();
	error.message[0] = '\0';
	if (sev_chain_verify(chain, &root, &error) ? !error.message[0] :
						     chain->present != (1U << SEV_CHAIN_LINKS) - 1)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sev_chain chain;
	struct sev_error error;

	if (len < 1)
		return 0;
	sev_chain_init(&chain);
	if (data[0] & 1)
		sev_chain_add(&chain, psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES, "root", &error);
	error.message[0] = '\0';
	if (sev_chain_add(&chain, data + 1, len - 1, "input", &error) && !error.message[0])
		abort();
	check_roots(data + 1, len - 1, &chain);
	if (chain.present & 1U << SEV_CHAIN_PDH) {
		struct sev_owner_session session;

		sev_owner_session_create(&session, &chain.certs[SEV_CHAIN_PDH], 0, &error);
		sev_owner_session_wipe(&session);
	}
	return 0;
}
