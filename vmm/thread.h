/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the VM's threads introduce themselves. The process that holds the VM may confine each thread
 * to its role: it registers a function for that, which is process-wide because confinement is.
 */
#ifndef VMM_THREAD_H
#define VMM_THREAD_H

enum vmm_thread_role {
	VMM_THREAD_VCPU, /* KVM's ioctls */
	VMM_THREAD_DEVICE, /* a device's worker: its open files, interrupts */
	VMM_THREAD_PLAIN, /* computes and waits */
};

typedef void (*vmm_thread_fn)(enum vmm_thread_role role, const char *name);

/* Register it, before there is a VM. Without one a thread only takes its name. */
void vmm_thread_register(vmm_thread_fn enter);

/* First of all in a thread of the VM. name: at most 15 bytes. */
void vmm_thread_enter(enum vmm_thread_role role, const char *name);

#endif
