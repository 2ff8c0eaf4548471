/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Between a VMM and the process that runs a workload in a mirror of its VM, as long as there is the
 * mirror: a socket, and a bitmap in shared memory. KVM logs what a mirror writes with the mirror's
 * VM, where only its own process gets at it; so the VMM asks, the other process ORs its log into
 * the bitmap and answers. Either side sees the other's end as the end of the socket.
 *
 * Nothing that the other process does, or does not do, makes the VMM wait longer than it said.
 */
#ifndef LIB_MIRROR_LINK_H
#define LIB_MIRROR_LINK_H

#include "lib/mirror/attach.h"

enum mirror_link_word {
	MIRROR_LINK_FETCH = 1, /* VMM: say what you wrote */
	MIRROR_LINK_STOP = 2, /* VMM: stop, then say it */
	MIRROR_LINK_FETCHED = 3,
	MIRROR_LINK_STOPPED = 4, /* also unasked, when the workload has come to its end */
};

/* The VMM's end. */
struct mirror_link;

/*
 * Make a link and send the offer, with a bitmap, through it; offer->dirty_fd is not looked at, the
 * offer has a workload. *peer is for the other process, and the caller's to close. 0 or a negative
 * errno.
 */
int mirror_link_open(struct mirror_link **link, const struct mirror_offer *offer, int *peer);
/* NULL is allowed. The other process sees it. */
void mirror_link_close(struct mirror_link *link);

/* Whether the mirror has come to its end. */
bool mirror_link_ended(const struct mirror_link *link);

/*
 * OR into bitmap, of npages bits counted through offer->ram in order, what the mirror wrote since
 * the last call. A mirror that ended without a word may have written all that it could write.
 * -ETIMEDOUT: one that may write to the guest's memory has not answered in timeout_ms. (One that
 * may not is given up: it has written to the workload's region at most, all of which counts then.)
 * -EINVAL: the VM has another number of pages.
 */
int mirror_link_fetch(struct mirror_link *link, uint64_t *bitmap, uint64_t npages, int timeout_ms);

/* End the mirror, if it has not; what it wrote is still to be fetched. -ETIMEDOUT as above. */
int mirror_link_stop(struct mirror_link *link, int timeout_ms);

/*
 * The other process' end, the socket: the VMM's next word, or -ECONNRESET when it is gone; an
 * answer.
 */
int mirror_link_read(int socket);
int mirror_link_answer(int socket, enum mirror_link_word word);

#endif
