/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A mirror from another process: the VMM offers its VM and its memory over a unix socket, the other
 * process makes a mirror of them. What goes over are file descriptors and the RAM layout; KVM takes
 * the VM's descriptor from any process as the source of KVM_CAP_VM_COPY_ENC_CONTEXT_FROM (ioctls on
 * it from there are refused: kvm->mm). Who may connect is the socket's business.
 */
#ifndef LIB_MIRROR_ATTACH_H
#define LIB_MIRROR_ATTACH_H

#include "lib/mirror/mirror.h"
#include "lib/mirror/workload_plan.h"

struct mirror_offer {
	int primary_fd; /* -1: without SEV */
	uint64_t cbit_mask;
	/*
	 * The helper region's file, for a process that is to run the helper, and where it begins
	 * there; -1: it is not offered
	 */
	int region_fd;
	uint64_t region_offset;
	unsigned int nram;
	struct sevmirror_ram_range ram[REGION_RAM_MAX];
	struct workload_plan workload; /* bytes 0: none */
	/*
	 * With a workload: a file with a bit for each page of RAM, where the mirror says which it
	 * wrote (link.h)
	 */
	int dirty_fd;
};

/* VMM: send. The descriptors stay the caller's. 0 or a negative errno. */
int mirror_offer_send(int socket, const struct mirror_offer *offer);
/*
 * The other process: receive, within timeout_ms. On success the descriptors are the caller's,
 * mirror_offer_close() closes them; otherwise none is left open. -EPROTO: what came is no offer, or
 * not a sane one. -ECONNRESET: the peer closed without one. -ETIMEDOUT: nothing came.
 */
int mirror_offer_receive(int socket, int timeout_ms, struct mirror_offer *offer);
void mirror_offer_close(struct mirror_offer *offer);

#endif
