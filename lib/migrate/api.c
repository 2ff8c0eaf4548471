/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The public functions of <sevmirror/migrate.h>. */
#include <sevmirror/migrate.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sevmirror/seal.h>

#include "lib/util/clock.h"
#include "lib/migrate/postcopy_in.h"
#include "lib/migrate/sealing.h"
#include "lib/migrate/session.h"
#include "lib/migrate/source.h"
#include "lib/migrate/target.h"
#include "lib/util/stack.h"

#define DEFAULT_STREAMS	     2
#define DEFAULT_MAX_DOWNTIME (300 * NS_PER_MS)
#define DEFAULT_MAX_ROUNDS   30
#define DEFAULT_TIMEOUT	     (10 * NS_PER_S)

static int create(struct sevmirror_migration **out, const struct sevmirror_host_ops *ops,
		  void *opaque, const struct sevmirror_security *security, uint64_t timeout,
		  char *why, size_t max)
{
	struct sevmirror_migration *m = calloc(1, sizeof(*m));
	struct why failure;
	int err;

	*out = NULL;
	if (!m) {
		snprintf(why, max, "out of memory for the migration");
		return -ENOMEM;
	}
	m->ops = ops;
	m->opaque = opaque;
	m->uffd = -1;
	m->timeout_ms = (int)((timeout ? timeout : DEFAULT_TIMEOUT) / NS_PER_MS);
	m->security = (struct channel_security){ .certificate = security->certificate,
						 .key = security->key,
						 .ca = security->ca,
						 .peer_name = security->peer_name,
						 .psk_file = security->psk_file,
						 .insecure = security->insecure };
	pthread_mutex_init(&m->cancel_lock, NULL);
	m->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = m->cancel_fd < 0 ? why_errno(&failure, "eventfd") :
				 channel_security_check(&m->security, &failure);
	if (err) {
		snprintf(why, max, "%s", failure.text);
		sevmirror_migration_destroy(m);
		return err;
	}
	*out = m;
	return 0;
}

/*
 * A stream that sleeps off the limit between two frames must not look to the target as if the
 * source had gone.
 */
static int check_bandwidth(const struct sevmirror_source_options *o, char *why, size_t max)
{
	uint64_t frame = WIRE_MAX_PAYLOAD_BYTES + WIRE_MAX_DIRECTORY_BYTES;
	uint64_t least = (uint64_t)((double)(2 * o->streams * frame) * NS_PER_S / o->timeout);

	if (!o->bandwidth || o->bandwidth >= least)
		return 0;
	snprintf(
		why, max,
		"with %u streams and a timeout of %llu s the bandwidth must be at least %llu bytes "
		"a second",
		o->streams, (unsigned long long)(o->timeout / NS_PER_S), (unsigned long long)least);
	return -EINVAL;
}

int sevmirror_source_create(struct sevmirror_migration **out, const struct sevmirror_host_ops *ops,
			    void *opaque, const struct sevmirror_source_options *options, char *why,
			    size_t max)
{
	struct sevmirror_source_options o = *options;
	int err;

	*out = NULL;
	if (!o.address || o.streams > WIRE_MAX_STREAMS) {
		snprintf(why, max,
			 o.address ? "at most %u data streams" : "no address to migrate to",
			 WIRE_MAX_STREAMS);
		return -EINVAL;
	}
	o.streams = o.streams ? o.streams : DEFAULT_STREAMS;
	o.max_downtime = o.max_downtime ? o.max_downtime : DEFAULT_MAX_DOWNTIME;
	o.max_rounds = o.max_rounds ? o.max_rounds : DEFAULT_MAX_ROUNDS;
	o.timeout = o.timeout ? o.timeout : DEFAULT_TIMEOUT;
	if (o.overtime == SEVMIRROR_OVERTIME_POSTCOPY && o.postcopy == SEVMIRROR_POSTCOPY_NEVER) {
		snprintf(why, max, "post-copy after the time limit needs post-copy to be allowed");
		return -EINVAL;
	}
	err = check_bandwidth(&o, why, max);
	if (!err)
		err = create(out, ops, opaque, &o.security, o.timeout, why, max);
	if (!err) {
		(*out)->is_source = true;
		(*out)->life = &source_life;
		(*out)->source = o;
		atomic_init(&(*out)->bandwidth, o.bandwidth);
		atomic_init(&(*out)->max_downtime, o.max_downtime);
	}
	return err;
}

int sevmirror_target_create(struct sevmirror_migration **out, const struct sevmirror_host_ops *ops,
			    void *opaque, const struct sevmirror_target_options *options, char *why,
			    size_t max)
{
	struct sevmirror_target_options o = *options;
	int err;

	*out = NULL;
	if (o.max_streams > WIRE_MAX_STREAMS) {
		snprintf(why, max, "at most %u data streams", WIRE_MAX_STREAMS);
		return -EINVAL;
	}
	o.max_streams = o.max_streams ? o.max_streams : WIRE_MAX_STREAMS;
	err = create(out, ops, opaque, &o.security, o.timeout, why, max);
	if (!err) {
		(*out)->life = &target_life;
		(*out)->target = o;
	}
	return err;
}

static enum sevmirror_reason reason_of(const struct sevmirror_migration *m,
				       enum sevmirror_outcome outcome)
{
	if (outcome == SEVMIRROR_CANCELLED)
		return SEVMIRROR_REASON_CANCELLED;
	return m->why.reason ? m->why.reason : SEVMIRROR_REASON_INTERNAL;
}

static enum sevmirror_outcome run(struct sevmirror_migration *m, struct sevmirror_summary *summary,
				  enum sevmirror_outcome (*side)(struct sevmirror_migration *m))
{
	enum sevmirror_outcome outcome;

	memset(summary, 0, sizeof(*summary));
	m->summary = summary;
	why_clear(&m->why);
	/* If that fails, so does the connection, and it says why. */
	(void)channel_security_prepare(&m->security, !m->is_source, NULL);
	outcome = side(m);
	if (outcome != SEVMIRROR_MIGRATED) {
		summary->reason = reason_of(m, outcome);
		snprintf(summary->error, sizeof(summary->error), "%.*s",
			 (int)sizeof(summary->error) - 1, m->why.text);
	}
	session_drop_control(m);
	channel_security_release(&m->security);
	util_stack_wipe();
	m->summary = NULL;
	m->ended = outcome;
	return outcome;
}

enum sevmirror_outcome sevmirror_migration_run(struct sevmirror_migration *m,
					       struct sevmirror_summary *summary)
{
	return run(m, summary, m->is_source ? source_run : target_run);
}

enum sevmirror_outcome sevmirror_migration_recover(struct sevmirror_migration *m,
						   const char *address,
						   struct sevmirror_summary *summary)
{
	if (address)
		m->source.address = address;
	return run(m, summary, source_recover);
}

uint64_t sevmirror_migration_ram_bytes(const struct sevmirror_migration *m)
{
	return m->hello.ram_bytes;
}

int sevmirror_migration_tune(struct sevmirror_migration *m, const uint64_t *max_downtime,
			     const uint64_t *bandwidth, char *why, size_t max)
{
	struct sevmirror_source_options o;
	int err;

	if (!m->is_source) {
		snprintf(why, max, "only the source has limits to change");
		return -EINVAL;
	}
	pthread_mutex_lock(&m->cancel_lock);
	o = m->source;
	o.bandwidth = bandwidth ? *bandwidth : atomic_load(&m->bandwidth);
	err = check_bandwidth(&o, why, max);
	if (!err && bandwidth)
		atomic_store(&m->bandwidth, *bandwidth);
	if (!err && max_downtime)
		atomic_store(&m->max_downtime,
			     *max_downtime ? *max_downtime : DEFAULT_MAX_DOWNTIME);
	pthread_mutex_unlock(&m->cancel_lock);
	return err;
}

void sevmirror_migration_cancel(struct sevmirror_migration *m)
{
	uint64_t one = 1;

	pthread_mutex_lock(&m->cancel_lock);
	if (session_can_cancel(m)) {
		atomic_store(&m->cancelled, true);
		(void)!write(m->cancel_fd, &one, sizeof(one));
		if (m->control)
			channel_cancel(m->control);
		if (m->seal)
			sevmirror_seal_cancel(m->seal);
	}
	pthread_mutex_unlock(&m->cancel_lock);
}

void sevmirror_migration_destroy(struct sevmirror_migration *m)
{
	if (!m)
		return;
	source_forget(m);
	postcopy_in_destroy(atomic_load(&m->postcopy));
	/* What it waited for, if for anything, it has let go just now. */
	(void)host_call_end(&m->resume);
	sealing_end(m, false);
	if (m->uffd >= 0)
		close(m->uffd);
	explicit_bzero(m->recovery_key, sizeof(m->recovery_key));
	if (m->cancel_fd >= 0)
		close(m->cancel_fd);
	pthread_mutex_destroy(&m->cancel_lock);
	free(m);
}
