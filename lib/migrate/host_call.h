/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * One of the embedder's callbacks on a thread of its own, as it may wait for a page of the guest
 * that is missing: the control thread has to continue meanwhile, or nobody notices that the
 * connection breaks, and nobody takes the next one.
 */
#ifndef LIB_MIGRATE_HOST_CALL_H
#define LIB_MIGRATE_HOST_CALL_H

#include <pthread.h>
#include <stdbool.h>

/* All zeros: none is under way. */
struct host_call {
	pthread_t thread;
	int fd; /* eventfd: it has returned */
	int err;
	int (*run)(void *arg);
	void *arg;
	bool made;
};

/* 0 or a negative errno; then it was not called. arg must live until host_call_end(). */
int host_call_start(struct host_call *call, int (*run)(void *arg), void *arg);

/* From its start to host_call_end(). */
bool host_call_pending(const struct host_call *call);

/* Readable once it has returned; -1 if none is pending. */
int host_call_fd(const struct host_call *call);

/* Wait for its return, so long at most. True if it has returned, or none is pending. */
bool host_call_wait(const struct host_call *call, int timeout_ms);

/* Wait until it has returned, however long: what it returned. 0 if none is pending. */
int host_call_end(struct host_call *call);

#endif
