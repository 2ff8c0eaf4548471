/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/emulated/races.h"

#include <string.h>
#include <unistd.h>

bool races_reads_secret(struct vm *vm)
{
	struct outcome out;

	vm_call(vm, 0, &(struct call){ .function = guest_hello, .rsi = GPA_SECRET }, &out);
	return out.reason == KVM_EXIT_HLT && out.nbytes == strlen(SECRET) &&
	       !memcmp(out.bytes, SECRET, out.nbytes);
}

static unsigned int guests_now(struct host *host)
{
	struct sev_user_data_status status = { .guest_count = ~0u };

	sev_platform_cmd(host->sev_fd, SEV_PLATFORM_STATUS, &status);
	return status.guest_count;
}

bool races_guests(struct host *host, unsigned int guests)
{
	for (int i = 0; i < 2000 && guests_now(host) != guests; i++)
		usleep(10000);
	return guests_now(host) == guests;
}

bool races_no_guests(struct tap *tap, struct host *host, const char *test)
{
	bool none = races_guests(host, 0);

	return tap_ok(tap, none, "%s: the firmware keeps no guest: %u", test, guests_now(host));
}
