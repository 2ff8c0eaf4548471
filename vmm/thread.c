/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/thread.h"

#include <stddef.h>
#include <sys/prctl.h>

/* Written before the process has threads. */
static vmm_thread_fn registered;

void vmm_thread_register(vmm_thread_fn enter)
{
	registered = enter;
}

void vmm_thread_enter(enum vmm_thread_role role, const char *name)
{
	if (registered)
		registered(role, name);
	else
		(void)prctl(PR_SET_NAME, name, 0, 0, 0);
}
