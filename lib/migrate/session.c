/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/session.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/net/accept_queue.h"

static bool has_failed(const struct sevmirror_migration *m)
{
	return m->why.text[0] != '\0';
}

int session_fail(struct sevmirror_migration *m, int err, const char *format, ...)
{
	char text[sizeof(m->why.text)];
	va_list ap;

	if (has_failed(m))
		return err;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return why_set(&m->why, err, "%s", text);
}

int session_fail_because(struct sevmirror_migration *m, enum sevmirror_reason reason, int err,
			 const char *format, ...)
{
	char text[sizeof(m->why.text)];
	va_list ap;

	if (has_failed(m))
		return err;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return why_because(&m->why, reason, err, "%s", text);
}

int session_fail_why(struct sevmirror_migration *m, const struct why *why)
{
	/* A cancellation makes other calls fail, too: report the cancellation only. */
	if (why->err == -ECANCELED && atomic_load(&m->cancelled))
		return session_fail(m, -ECANCELED, "cancelled");
	if (!has_failed(m))
		m->why = *why;
	return why->err;
}

int session_host_failed(struct sevmirror_migration *m, enum sevmirror_reason reason, int err,
			const char *what, const char *words)
{
	return session_fail_because(m, reason, err, "%s: %s", what,
				    words && words[0] ? words : strerror(-err));
}

bool session_cancelled(struct sevmirror_migration *m)
{
	if (!atomic_load(&m->cancelled) || !session_can_cancel(m))
		return false;
	session_fail(m, -ECANCELED, "cancelled");
	return true;
}

void session_set_control(struct sevmirror_migration *m, struct channel *channel)
{
	pthread_mutex_lock(&m->cancel_lock);
	m->control = channel;
	if (atomic_load(&m->cancelled))
		channel_cancel(channel);
	pthread_mutex_unlock(&m->cancel_lock);
}

int session_accept(struct sevmirror_migration *m, struct accept_queue *queue,
		   struct newcomer *newcomer)
{
	int err = accept_queue_next(queue, UINT64_MAX, newcomer);

	if (session_cancelled(m)) {
		if (!err)
			channel_close(newcomer->channel);
		return -ECANCELED;
	}
	if (err && err != -EINTR)
		session_fail(m, err, "the target cannot wait for the source: %s", strerror(-err));
	return err;
}

void session_notice(struct sevmirror_migration *m)
{
	why_clear(&m->why);
}

void session_unauthenticated_peer(void *opaque, const char *address, const char *why)
{
	struct sevmirror_migration *m = opaque;

	if (m->ops->unauthenticated_peer)
		m->ops->unauthenticated_peer(m->opaque, address, why);
}

void session_interrupt(struct sevmirror_migration *m)
{
	pthread_mutex_lock(&m->cancel_lock);
	if (m->receiving)
		m->interrupted = true;
	else if (m->control && session_can_cancel(m))
		channel_cancel(m->control);
	pthread_mutex_unlock(&m->cancel_lock);
}

void session_thread_begins(struct sevmirror_migration *m, enum sevmirror_thread kind)
{
	if (m->ops->thread_begins)
		m->ops->thread_begins(m->opaque, kind);
}

/* With the lock. */
static unsigned int step(struct sevmirror_migration *m, unsigned int event)
{
	unsigned int from = atomic_load(&m->state);
	int to = state_machine_next(m->life, from, event);
	uint64_t count;

	assert(to >= 0);
	atomic_store(&m->state, (unsigned int)to);
	if (state_machine_trace)
		state_machine_trace(m->life, from, event, (unsigned int)to);
	if (m->life->state[to].at_rest) {
		atomic_store(&m->cancelled, false);
		(void)!read(m->cancel_fd, &count, sizeof(count));
	}
	return from;
}

unsigned int session_step(struct sevmirror_migration *m, unsigned int event)
{
	unsigned int from;

	pthread_mutex_lock(&m->cancel_lock);
	from = step(m, event);
	pthread_mutex_unlock(&m->cancel_lock);
	return from;
}

int session_step_or_cancelled(struct sevmirror_migration *m, unsigned int event)
{
	bool cancelled;

	pthread_mutex_lock(&m->cancel_lock);
	cancelled = atomic_load(&m->cancelled);
	if (!cancelled)
		(void)step(m, event);
	pthread_mutex_unlock(&m->cancel_lock);
	return cancelled ? session_fail(m, -ECANCELED, "cancelled") : 0;
}

enum sevmirror_phase session_phase(const struct sevmirror_migration *m)
{
	return m->life->state[atomic_load(&m->state)].phase;
}

void session_drop_control(struct sevmirror_migration *m)
{
	struct channel *control;

	pthread_mutex_lock(&m->cancel_lock);
	control = m->control;
	m->control = NULL;
	pthread_mutex_unlock(&m->cancel_lock);
	channel_close(control);
}

void session_stream_name(unsigned int number, char name[SESSION_STREAM_NAME_BYTES])
{
	if (number == WIRE_PRIORITY_STREAM)
		snprintf(name, SESSION_STREAM_NAME_BYTES, "priority stream");
	else
		snprintf(name, SESSION_STREAM_NAME_BYTES, "stream %u", number);
}

int session_stream_failed(struct why *why, enum sevmirror_reason reason, int err,
			  unsigned int number, const char *what, const char *explanation)
{
	char name[SESSION_STREAM_NAME_BYTES];

	if (why->text[0] != '\0')
		return err;
	session_stream_name(number, name);
	/* Without an explanation: "Protocol error" would add nothing. */
	if (err == -EPROTO && !reason)
		why_set(why, err, "%s: %s", name, what);
	else
		why_set(why, err, "%s: %s: %s", name, what, explanation);
	if (reason)
		why->reason = reason;
	return err;
}
