/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A workload in a mirror of its own, with one vCPU, made from an offer (attach.h). The guest's
 * memory is read-only to it unless it asked for writing; its region is not; what it writes is
 * logged.
 */
#ifndef LIB_MIRROR_WORKLOAD_H
#define LIB_MIRROR_WORKLOAD_H

#include "lib/mirror/attach.h"

struct workload;

enum workload_end {
	WORKLOAD_RUNS,
	WORKLOAD_DONE, /* it said that it has finished: struct payload_shared has how */
	WORKLOAD_STOPPED, /* by workload_stop() */
	WORKLOAD_CRASHED, /* a fault of its own: triple fault, a port that is not its */
	WORKLOAD_FAILED, /* KVM would not run it */
};

/*
 * Make the mirror; the offer, its descriptors too, may go afterwards. kvm_fd: /dev/kvm, borrowed
 * until the end. thread_begins: called first of all on the vCPU's thread. 0, -EINVAL (the offer has
 * no workload, or none that fits), or what mirror_create() says; why, which may be NULL, names the
 * step (static text).
 */
int workload_create(struct workload **workload, const struct mirror_offer *offer, int kvm_fd,
		    void (*thread_begins)(void *opaque), struct why *why);
/* Stops it. NULL is allowed. */
void workload_destroy(struct workload *workload);

/*
 * The shared area, WORKLOAD_WINDOW_BYTES; it may change at any time. To be filled before the start.
 */
struct payload_shared *workload_shared(const struct workload *workload);

/* Let it run, once. 0 or a negative errno. */
int workload_start(struct workload *workload);

/*
 * Becomes readable when the workload rang or ended; workload_attend() clears it and says which. Any
 * number of times.
 */
int workload_fd(const struct workload *workload);
enum workload_end workload_attend(struct workload *workload);

/* KVM's exit reason of a WORKLOAD_FAILED, or errno from 256 on (mirror.h). */
uint32_t workload_detail(const struct workload *workload);

/*
 * Tell it to finish, wait for that grace_ms at most, then take the vCPU out of the guest whatever
 * it does.
 */
void workload_stop(struct workload *workload, int grace_ms);

/* OR what it wrote into the offer's bitmap. 0 or a negative errno. */
int workload_log(struct workload *workload);

#endif
