/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What the parts of one migration share. Private to lib/migrate. */
#ifndef LIB_MIGRATE_SESSION_H
#define LIB_MIGRATE_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sevmirror/migrate.h>

#include "lib/net/channel.h"
#include "lib/migrate/host_call.h"
#include "lib/migrate/message.h"
#include "lib/migrate/pages.h"
#include "lib/migrate/state_machine.h"
#include "lib/migrate/wire.h"
#include "lib/util/why.h"

/* Room for a callback's words about its failure. */
#define HOST_WORDS_BYTES 448

struct postcopy_in;
struct sevmirror_seal;
struct source;

struct sevmirror_migration {
	bool is_source;
	const struct sevmirror_host_ops *ops;
	void *opaque;
	struct sevmirror_source_options source;
	/* the source's limits, which sevmirror_migration_tune() changes while it runs */
	_Atomic(uint64_t) bandwidth, max_downtime;
	struct sevmirror_target_options target;
	struct channel_security security;
	int timeout_ms;

	struct sevmirror_vm vm;
	struct page_numbering numbering;
	struct wire_hello hello; /* as agreed: streams, flags, session */
	struct channel *control;
	/*
	 * how the data streams of the present connection name the session; what a recovery is
	 * authenticated with
	 */
	uint8_t stream_session[16];
	uint8_t recovery_key[32];
	unsigned int workings; /* source: WORKING messages of the target */
	/* the sealing session, which has the helper; NULL before and after it */
	struct sevmirror_seal *seal;
	/*
	 * target: what post-copy is armed with, -1 without; and post-copy from then on, NULL before
	 */
	int uffd;
	_Atomic(struct postcopy_in *) postcopy;
	/* target, post-copy: ops->resume(), which may wait for a page */
	struct host_call resume;
	/* source: in post-copy what a later connection can continue with, NULL before and after */
	struct source *kept;

	/*
	 * Guards control, seal, state and what follows against sevmirror_migration_cancel(), which
	 * another thread may call at any time, and session_interrupt().
	 */
	pthread_mutex_t cancel_lock;
	/* readable once cancelled */
	int cancel_fd;
	atomic_bool cancelled;
	/* a message is being received, and has not been interrupted in its middle yet */
	bool receiving, interrupted;
	/* enum source_state or enum target_state, by life; only session_step() changes it */
	const struct state_machine *life;
	_Atomic unsigned int state;

	struct sevmirror_summary *summary;
	enum sevmirror_outcome ended; /* what the last run came to */
	struct why why; /* the first failure */
};

/*
 * Record why the migration fails, as why_set() and why_because(). Only the first failure counts:
 * later ones are its consequences. Returns err.
 */
int session_fail(struct sevmirror_migration *m, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int session_fail_because(struct sevmirror_migration *m, enum sevmirror_reason reason, int err,
			 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The same with what a part of the migration has recorded. Returns its errno. */
int session_fail_why(struct sevmirror_migration *m, const struct why *why);

/*
 * A callback of the VMM failed: WHAT and the callback's words, or those of errno where it has none.
 * Returns err.
 */
int session_host_failed(struct sevmirror_migration *m, enum sevmirror_reason reason, int err,
			const char *what, const char *words);

/*
 * Messages on the control connection, as message.h, with m's timeout. A failure is recorded here,
 * with the host and what was to be sent or received. session_recv(): a body of exactly len bytes.
 */
int session_send(struct sevmirror_migration *m, enum wire_type type, const void *body, size_t len);
int session_send_parts(struct sevmirror_migration *m, enum wire_type type,
		       const struct message_part *parts, unsigned int nparts);
int session_send_failed(struct sevmirror_migration *m, enum wire_type type, int err);
int session_recv(struct sevmirror_migration *m, enum wire_type type, void *body, size_t len);
int session_recv_alloc(struct sevmirror_migration *m, enum wire_type type, void **body,
		       size_t *len);
/* The same after WORKING, as often as the target may say that (WIRE_MAX_WORKING). */
int session_recv_after_work(struct sevmirror_migration *m, enum wire_type type, void **body,
			    size_t *len);
int session_recv_any(struct sevmirror_migration *m, uint16_t *type, void **body, size_t *len);

/* No message is due, but one can be read: it is the peer's end, or a breach of the protocol. */
int session_recv_unexpected(struct sevmirror_migration *m);

/*
 * Something failed with err, maybe because the peer has given up: it closes its streams first, then
 * says why on the control connection, behind what else it had to say. If it says so within
 * PEER_WORDS_MS, its words are the reason, and MESSAGE_PEER_ABORTED is returned; else err. Does
 * nothing once m is cancelled. Nobody else may use the control connection.
 */
#define PEER_WORDS_MS 2000
int session_why_peer_left(struct sevmirror_migration *m, int err);

/* Whether sevmirror_migration_cancel() does anything in the present state. */
static inline bool session_can_cancel(const struct sevmirror_migration *m)
{
	return m->life->state[atomic_load(&m->state)].can_cancel;
}

/* True once cancelled in a state that can be; sets the reason. */
bool session_cancelled(struct sevmirror_migration *m);

/* From here on the control channel is m's, and cancelling reaches it. */
void session_set_control(struct sevmirror_migration *m, struct channel *channel);

struct accept_queue;
struct newcomer;

/*
 * Wait for a peer that authenticates, however long, until cancelled, or until the queue's wake
 * descriptor has an event: -EINTR then. 0, or a negative errno with m->why set.
 */
int session_accept(struct sevmirror_migration *m, struct accept_queue *queue,
		   struct newcomer *newcomer);

/* A failure that does not end the migration: forget its reason. */
void session_notice(struct sevmirror_migration *m);

/* A peer that did not authenticate: report it. opaque is m. As accept_queue.h's rejected. */
void session_unauthenticated_peer(void *opaque, const char *address, const char *why);

/*
 * Wake the control thread out of its wait at the control connection: something else has failed. A
 * message that has begun to arrive is received first, as it may say why. Any thread.
 */
void session_interrupt(struct sevmirror_migration *m);

/* First of all on a thread that m's user makes. */
void session_thread_begins(struct sevmirror_migration *m, enum sevmirror_thread kind);

/*
 * Take a step of m's life: an event of its side (state_machine.h). That the table has it is
 * asserted. Returns the state that m was in.
 */
unsigned int session_step(struct sevmirror_migration *m, unsigned int event);

/* The same, unless somebody has cancelled: then no step is taken, and it is -ECANCELED, else 0. */
int session_step_or_cancelled(struct sevmirror_migration *m, unsigned int event);

/* What is reported in the present state. */
enum sevmirror_phase session_phase(const struct sevmirror_migration *m);

/* Close the control connection, however it is. */
void session_drop_control(struct sevmirror_migration *m);

#define SESSION_STREAM_NAME_BYTES 24

/* "stream 3", "priority stream": in what is said to people. */
void session_stream_name(unsigned int number, char name[SESSION_STREAM_NAME_BYTES]);

/*
 * A data stream's failure, unless it has had one: "stream 3: WHAT: EXPLANATION". reason: NONE for
 * what follows from err. A stream that broke the protocol (-EPROTO) has no explanation, unless
 * there is a reason. Returns err.
 */
int session_stream_failed(struct why *why, enum sevmirror_reason reason, int err,
			  unsigned int number, const char *what, const char *explanation);

/*
 * Say hello, agree on version, streams and session, compare what the guest depends on, send or
 * receive configuration (handshake.c). On return 0 the target has built the VM and *m->vm describes
 * it on both sides, and m->seal is its sealing session. offer (source): the target's, allocated,
 * the caller's to free in any case.
 */
struct sevmirror_blob;
int handshake_source(struct sevmirror_migration *m, struct sevmirror_blob *offer);
int handshake_target(struct sevmirror_migration *m);

#endif
