/* SPDX-License-Identifier: Apache-2.0 */
#include "service/sandbox/sandbox.h"
#include "service/sandbox/sandbox_private.h"
#include "vmm/thread.h"

static void enter(enum vmm_thread_role role, const char *name)
{
	static const enum sandbox_role roles[] = {
		[VMM_THREAD_VCPU] = SANDBOX_VCPU,
		[VMM_THREAD_DEVICE] = SANDBOX_DEVICE,
		[VMM_THREAD_PLAIN] = SANDBOX_PLAIN,
	};

	sandbox_thread(roles[role], name);
}

void vmm_threads_confine(void)
{
	vmm_thread_register(enter);
}
