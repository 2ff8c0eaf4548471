/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control/server.h"
#include "lib/util/clock.h"

#define FAREWELL_MS 500
#define NO_ROOM_MS  100

static void control_wake(struct control *control)
{
	uint64_t one = 1;

	/* Only fails when the counter is full, and then the thread wakes up anyway. */
	if (write(control->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* The directory lets nobody else in; this holds where somebody opened it by hand. */
static bool peer_allowed(const struct control *control, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return false;
	return peer.uid == 0 || peer.uid == control->owner;
}

/* Tells the client why, and closes the connection. */
static void refuse(struct conn *conn, const struct control_error *err)
{
	conn_queue(conn, control_error_text(err, NULL), NULL, 0);
	conn_flush(conn);
	conn_destroy(conn);
}

static int accept_one(const struct control *control)
{
	return accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/*
 * The process has no descriptor left. A client that is not accepted stays in the queue and makes
 * the listening socket readable, so this thread would do nothing else.
 */
static void refuse_client(struct control *control)
{
	struct control_error err;
	struct conn *conn;
	int fd;

	if (control->spare_fd >= 0)
		close(control->spare_fd);
	fd = accept_one(control);
	conn = fd >= 0 && peer_allowed(control, fd) ? conn_create(fd) : NULL;
	if (conn) {
		control_fail(&err, 0, CONTROL_FAILED,
			     "the VM's process has no file descriptor left; try later");
		refuse(conn, &err);
	} else if (fd >= 0) {
		close(fd);
	}
	control->spare_fd = eventfd(0, EFD_CLOEXEC);
	if (fd < 0 || control->spare_fd < 0)
		poll(NULL, 0, NO_ROOM_MS); /* another thread was faster */
}

static void accept_client(struct control *control)
{
	int fd = accept_one(control);
	struct control_error err;
	struct conn *conn;

	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		refuse_client(control);
	if (fd < 0)
		return;
	conn = peer_allowed(control, fd) ? conn_create(fd) : NULL;
	if (!conn) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&control->lock);
	if (control->client_count < CLIENTS_MAX) {
		conn_queue(conn, control_greeting_text(control), NULL, 0);
		control->clients[control->client_count++] = conn;
		conn = NULL;
	}
	pthread_mutex_unlock(&control->lock);
	if (conn) {
		control_fail(&err, 0, CONTROL_FAILED, "%d clients are connected already; try later",
			     CLIENTS_MAX);
		refuse(conn, &err);
	}
}

/*
 * One line. The lock is not held while the command runs: it may send events, and others may
 * meanwhile.
 */
static void serve_line(struct control *control, struct conn *conn, const char *line, size_t len)
{
	struct control_call call = { .fd_count = conn->in_fd_count };
	char *text;

	memcpy(call.fds, conn->in_fds, sizeof(call.fds));
	conn->in_fd_count = 0;
	text = control_execute(control, line, len, &call);
	for (unsigned int i = 0; i < call.fd_count; i++) {
		if (call.fds[i] >= 0)
			close(call.fds[i]);
	}
	pthread_mutex_lock(&control->lock);
	conn_queue(conn, text, call.reply_fds, call.reply_fd_count);
	conn_flush(conn);
	pthread_mutex_unlock(&control->lock);
}

/* Lines as long as there are some and the client reads its answers. */
static void serve_client(struct control *control, struct conn *conn)
{
	bool too_long = false, go_on;
	size_t len;
	char *line;

	pthread_mutex_lock(&control->lock);
	go_on = conn_wants_input(conn);
	pthread_mutex_unlock(&control->lock);
	while (go_on && (line = conn_line(conn, &len, &too_long))) {
		if (len)
			serve_line(control, conn, line, len);
		conn_line_done(conn, len);
		pthread_mutex_lock(&control->lock);
		go_on = conn_wants_input(conn) && !control->stop;
		pthread_mutex_unlock(&control->lock);
	}
	if (go_on && too_long) {
		struct control_error err;

		control_fail(&err, 0, CONTROL_BAD_JSON, "a line is longer than %u bytes",
			     CONTROL_LINE_MAX);
		pthread_mutex_lock(&control->lock);
		conn_queue(conn, control_error_text(&err, NULL), NULL, 0);
		conn->ending = true;
		pthread_mutex_unlock(&control->lock);
	}
}

/*
 * With the lock held: forget the clients that are gone. Only the thread takes clients away, so its
 * own pointers stay good until it comes here.
 */
static void reap_clients(struct control *control)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < control->client_count; i++) {
		struct conn *conn = control->clients[i];

		if (conn->broken || (conn->ending && !conn->out_first))
			conn_destroy(conn);
		else
			control->clients[kept++] = conn;
	}
	control->client_count = kept;
}

/*
 * With the lock held. Lines that are here already come first: they are looked at without new input,
 * and before its end.
 */
static short wanted_events(const struct conn *conn, bool *waiting)
{
	short events = conn->out_first ? POLLOUT : 0;

	if (conn_wants_input(conn)) {
		if (conn_has_line(conn))
			*waiting = true;
		else
			events |= POLLIN;
	}
	return events;
}

static void client_ready(struct control *control, struct conn *conn, short revents)
{
	pthread_mutex_lock(&control->lock);
	if (revents & POLLIN)
		conn_receive(conn);
	else if (revents & (POLLHUP | POLLERR))
		conn->broken = true;
	pthread_mutex_unlock(&control->lock);
	serve_client(control, conn);
}

/* Returns false when told to stop. */
static bool control_step(struct control *control)
{
	struct pollfd fds[CLIENTS_MAX + 2];
	struct conn *clients[CLIENTS_MAX];
	unsigned int count;
	bool waiting = false, stop;
	uint64_t ignored;

	pthread_mutex_lock(&control->lock);
	for (unsigned int i = 0; i < control->client_count; i++)
		conn_flush(control->clients[i]);
	reap_clients(control);
	stop = control->stop;
	count = control->client_count;
	fds[0] = (struct pollfd){ .fd = control->wake_fd, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = control->listen_fd, .events = POLLIN };
	for (unsigned int i = 0; i < count; i++) {
		struct conn *conn = control->clients[i];

		clients[i] = conn;
		fds[i + 2] = (struct pollfd){ .fd = conn->fd };
		fds[i + 2].events = wanted_events(conn, &waiting);
	}
	pthread_mutex_unlock(&control->lock);
	if (stop)
		return false;

	if (poll(fds, count + 2, waiting ? 0 : -1) < 0)
		return true;
	if ((fds[0].revents & POLLIN) && read(control->wake_fd, &ignored, sizeof(ignored)) < 0)
		return true;
	for (unsigned int i = 0; i < count; i++) {
		if (fds[i + 2].revents || waiting)
			client_ready(control, clients[i], fds[i + 2].revents);
	}
	if (fds[1].revents & POLLIN)
		accept_client(control);
	return true;
}

static void *control_thread(void *arg)
{
	struct control *control = arg;

	while (control_step(control))
		;
	return NULL;
}

void control_set_events(struct control *control, const char *const *names_and_help)
{
	control->events = names_and_help;
}

static json_t *timestamp(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return json_pack("{s:I, s:I}", "seconds", (json_int_t)now.tv_sec, "microseconds",
			 (json_int_t)(now.tv_nsec / 1000));
}

void control_event(struct control *control, const char *event, json_t *data)
{
	json_t *message = json_pack("{s:s, s:o, s:o}", "event", event, "data",
				    data ? data : json_object(), "timestamp", timestamp());
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;

	json_decref(message);
	if (!text)
		return;
	pthread_mutex_lock(&control->lock);
	for (unsigned int i = 0; i < control->client_count; i++)
		conn_queue(control->clients[i], strdup(text), NULL, 0);
	pthread_mutex_unlock(&control->lock);
	free(text);
	control_wake(control);
}

static int listen_on(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret;

	if (fd < 0)
		return -errno;
	/* runtime_claim() has checked that it fits. */
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || chmod(path, 0600) ||
	    listen(fd, CLIENTS_MAX)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

static int claim_failed(struct control_error *err, int ret, const char *name)
{
	struct why why = { "" };

	switch (ret) {
	case -EINVAL:
		return control_fail(
			err, ret, CONTROL_BAD_ARGUMENTS,
			"invalid VM name '%.80s' (expected 1 to %d letters, digits, '.', '_' and "
			"'-')",
			name, RUNTIME_NAME_MAX);
	case -EADDRINUSE:
		return control_fail(err, ret, CONTROL_FAILED, "a VM named '%s' already runs", name);
	case -ENAMETOOLONG:
		return control_fail(err, ret, CONTROL_FAILED,
				    "the runtime directory's path is too long for a socket in it");
	default:
		runtime_dir_problem(ret, &why);
		return control_fail(err, ret, CONTROL_FAILED, "%s", why.text);
	}
}

int control_create(struct control **out, const char *name, struct control_error *err)
{
	struct control *control = calloc(1, sizeof(*control));
	int ret;

	if (!control)
		return control_fail(err, -ENOMEM, CONTROL_FAILED,
				    "out of memory for the control socket");
	ret = runtime_claim(&control->claim, name);
	if (ret) {
		free(control);
		return claim_failed(err, ret, name);
	}
	snprintf(control->name, sizeof(control->name), "%s", name);
	control->owner = geteuid();
	pthread_mutex_init(&control->lock, NULL);
	control->listen_fd = -1;
	control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	control->spare_fd = eventfd(0, EFD_CLOEXEC);
	if (control->wake_fd < 0 || control->spare_fd < 0) {
		ret = -errno;
		goto fail;
	}
	ret = listen_on(control->claim.socket_path);
	if (ret < 0)
		goto fail;
	control->listen_fd = ret;
	ret = control_add_commands(control, control_own_commands, control);
	if (ret)
		goto fail;
	*out = control;
	return 0;
fail:
	control_destroy(control);
	return claim_failed(err, ret, name);
}

int control_start(struct control *control)
{
	sigset_t all, old;
	int ret;

	/* Signals are the business of the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&control->thread, NULL, control_thread, control);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	control->has_thread = !ret;
	return ret;
}

/* The reply to 'stop' and the last events are worth a short wait. */
static void say_farewell(struct control *control)
{
	int64_t end = (int64_t)clock_ms() + FAREWELL_MS;

	for (;;) {
		struct pollfd fds[CLIENTS_MAX];
		unsigned int count = 0;
		int64_t left = end - (int64_t)clock_ms();

		for (unsigned int i = 0; i < control->client_count; i++) {
			struct conn *conn = control->clients[i];

			conn_flush(conn);
			if (conn->out_first && !conn->broken)
				fds[count++] = (struct pollfd){ .fd = conn->fd, .events = POLLOUT };
		}
		if (!count || left <= 0)
			return;
		poll(fds, count, (int)left);
	}
}

void control_destroy(struct control *control)
{
	if (!control)
		return;
	if (control->has_thread) {
		pthread_mutex_lock(&control->lock);
		control->stop = true;
		pthread_mutex_unlock(&control->lock);
		control_wake(control);
		pthread_join(control->thread, NULL);
	}
	if (control->listen_fd >= 0)
		close(control->listen_fd);
	say_farewell(control);
	for (unsigned int i = 0; i < control->client_count; i++)
		conn_destroy(control->clients[i]);
	if (control->wake_fd >= 0)
		close(control->wake_fd);
	if (control->spare_fd >= 0)
		close(control->spare_fd);
	runtime_release(&control->claim);
	pthread_mutex_destroy(&control->lock);
	free(control);
}
