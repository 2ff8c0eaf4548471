/* SPDX-License-Identifier: Apache-2.0 */
#include "control/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/runtime.h"
#include "lib/util/clock.h"

#define LINE_MAX_BYTES	(8U << 20) /* more than a server sends */
#define READ_BYTES	65536
#define GREETING_MS	10000
#define EVENTS_KEPT_MAX 1024

struct control_client {
	int fd;
	json_t *greeting;
	json_t *events; /* that came while a reply was waited for */
	json_int_t next_id;
	char *in;
	size_t in_used;
	size_t in_size;
	struct control_fds fds; /* received with what is in 'in' */
};

static void close_fds(struct control_fds *fds)
{
	for (unsigned int i = 0; i < fds->count; i++)
		close(fds->fd[i]);
	fds->count = 0;
}

void control_client_close(struct control_client *client)
{
	if (!client)
		return;
	close(client->fd);
	close_fds(&client->fds);
	json_decref(client->greeting);
	json_decref(client->events);
	free(client->in);
	free(client);
}

const json_t *control_client_greeting(const struct control_client *client)
{
	return client->greeting;
}

static void keep_fds(struct control_fds *fds, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (fds->count < CONTROL_FDS_MAX)
				fds->fd[fds->count++] = fd;
			else
				close(fd);
		}
	}
}

static int wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int64_t left = deadline < 0 ? -1 : deadline - (int64_t)clock_ms();
		int ret;

		if (deadline >= 0 && left < 0)
			left = 0;
		ret = poll(&p, 1, (int)left);
		if (ret > 0)
			return 0;
		if (ret == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int receive_more(struct control_client *client, int64_t deadline)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS_MAX)];
	} control;
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t n;
	int ret;

	if (client->in_size - client->in_used < READ_BYTES) {
		char *bigger = client->in_size < LINE_MAX_BYTES ?
				       realloc(client->in, client->in_size + 2 * READ_BYTES) :
				       NULL;

		if (!bigger)
			return -EPROTO;
		client->in = bigger;
		client->in_size += 2 * READ_BYTES;
	}
	ret = wait_for(client->fd, POLLIN, deadline);
	if (ret)
		return ret;
	iov = (struct iovec){ client->in + client->in_used, READ_BYTES };
	n = recvmsg(client->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	keep_fds(&client->fds, &msg);
	client->in_used += (size_t)n;
	return 0;
}

/*
 * The next message. Descriptors that came with it, or before it and unclaimed, are in client->fds.
 */
static int next_message(struct control_client *client, int64_t deadline, json_t **message)
{
	for (;;) {
		char *end = client->in_used ? memchr(client->in, '\n', client->in_used) : NULL;
		size_t len;
		int ret;

		if (!end) {
			ret = receive_more(client, deadline);
			if (ret)
				return ret;
			continue;
		}
		len = (size_t)(end - client->in);
		*message = json_loadb(client->in, len, JSON_REJECT_DUPLICATES, NULL);
		client->in_used -= len + 1;
		memmove(client->in, end + 1, client->in_used);
		if (json_is_object(*message))
			return 0;
		json_decref(*message);
		return -EPROTO;
	}
}

static int connect_to(const char *path, int timeout_ms)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval patience = { .tv_sec = timeout_ms / 1000,
					  .tv_usec = timeout_ms % 1000 * 1000 };
	int ret;

	if (fd < 0)
		return -errno;
	/* A VM whose control thread hangs accepts nobody, and then connect() waits. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	/* runtime_find() has checked that it fits. */
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		ret = errno == EAGAIN ? -ETIMEDOUT : -errno;
		close(fd);
		return ret;
	}
	return fd;
}

static int open_failed(struct control_error *err, int ret, const char *name)
{
	struct why why = { "" };

	switch (ret) {
	case -EINVAL:
		return control_fail(err, ret, CONTROL_BAD_ARGUMENTS, "invalid VM name '%.80s'",
				    name);
	case -ENOENT:
		return control_fail(
			err, ret, CONTROL_FAILED,
			"no VM named '%s' is running; 'sevmirror status' lists those that are",
			name);
	case -ECONNREFUSED:
		return control_fail(err, ret, CONTROL_FAILED,
				    "the VM '%s' no longer runs: its process died", name);
	case -EACCES:
	case -ENXIO:
	case -ENOTDIR:
		runtime_dir_problem(ret, &why);
		return control_fail(err, ret, CONTROL_FAILED, "%s", why.text);
	case -ETIMEDOUT:
		return control_fail(err, ret, CONTROL_FAILED, "the VM '%s' does not answer", name);
	case -EPROTO:
		return control_fail(err, ret, CONTROL_FAILED,
				    "the VM '%s' speaks another version of the control protocol "
				    "than this command (%d)",
				    name, CONTROL_PROTOCOL);
	default:
		return control_fail(err, ret, CONTROL_FAILED, "cannot talk to the VM '%s': %s",
				    name, strerror(-ret));
	}
}

int control_client_open(struct control_client **out, const char *name, struct control_error *err)
{
	return control_client_open_within(out, name, GREETING_MS, err);
}

int control_client_open_within(struct control_client **out, const char *name, int timeout_ms,
			       struct control_error *err)
{
	const int64_t deadline = (int64_t)clock_ms() + timeout_ms;
	struct control_client *client;
	char path[PATH_MAX];
	const json_t *hello;
	int ret = runtime_find(name, path);

	if (ret)
		return open_failed(err, ret, name);
	client = calloc(1, sizeof(*client));
	if (!client)
		return open_failed(err, -ENOMEM, name);
	client->events = json_array();
	client->fd = connect_to(path, timeout_ms);
	ret = client->fd < 0 ? client->fd : next_message(client, deadline, &client->greeting);
	if (!ret) {
		const json_t *refusal = json_object_get(client->greeting, "error");

		hello = json_object_get(client->greeting, "sevmirror");
		if (refusal)
			ret = control_fail(err, -EBUSY, CONTROL_FAILED, "%.400s",
					   json_string_value(json_object_get(refusal, "desc")));
		else if (json_integer_value(json_object_get(hello, "protocol")) != CONTROL_PROTOCOL)
			ret = -EPROTO;
	}
	if (ret) {
		control_client_close(client);
		return ret == -EBUSY ? ret : open_failed(err, ret, name);
	}
	*out = client;
	return 0;
}

static int send_all(struct control_client *client, char *text, size_t len,
		    const struct control_fds *fds, int64_t deadline)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS_MAX)];
	} control = { 0 };
	size_t sent = 0;

	while (sent < len) {
		struct iovec iov = { text + sent, len - sent };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t n;
		int ret = wait_for(client->fd, POLLOUT, deadline);

		if (ret)
			return ret;
		if (fds && fds->count && !sent) {
			struct cmsghdr *c;

			msg.msg_control = control.bytes;
			msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds->count);
			c = CMSG_FIRSTHDR(&msg);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(sizeof(int) * fds->count);
			memcpy(CMSG_DATA(c), fds->fd, sizeof(int) * fds->count);
		}
		n = sendmsg(client->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		sent += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static void keep_event(struct control_client *client, json_t *event)
{
	if (json_array_size(client->events) >= EVENTS_KEPT_MAX)
		json_array_remove(client->events, 0);
	json_array_append_new(client->events, event);
}

/* The reply with this id. What else comes is an event, or an error about a line that had no id. */
static int wait_reply(struct control_client *client, json_int_t id, int64_t deadline,
		      json_t **reply)
{
	for (;;) {
		json_t *message;
		int ret = next_message(client, deadline, &message);

		if (ret)
			return ret;
		if (json_object_get(message, "event")) {
			keep_event(client, message);
			continue;
		}
		if (json_object_get(message, "error") && !json_object_get(message, "id")) {
			*reply = message;
			return 0;
		}
		if (json_integer_value(json_object_get(message, "id")) == id) {
			*reply = message;
			return 0;
		}
		json_decref(message);
	}
}

static int refused(struct control_error *err, const json_t *error)
{
	static const char *const classes[] = { CONTROL_NOT_FOUND, CONTROL_BAD_ARGUMENTS,
					       CONTROL_BAD_JSON,  CONTROL_WRONG_STATE,
					       CONTROL_STARTING,  CONTROL_UNSUPPORTED,
					       CONTROL_FAILED };
	const char *class = json_string_value(json_object_get(error, "class"));
	const char *desc = json_string_value(json_object_get(error, "desc"));

	control_fail(err, 0, CONTROL_FAILED, "%.500s",
		     desc ? desc : "the VM refused without saying why");
	for (size_t i = 0; class && i < sizeof(classes) / sizeof(classes[0]); i++) {
		if (!strcmp(class, classes[i]))
			err->class = classes[i];
	}
	return -EREMOTEIO;
}

static char *request_text(const char *command, json_t *args, json_int_t id, size_t *len)
{
	json_t *request = json_pack("{s:s, s:o, s:I}", "execute", command, "arguments",
				    args ? args : json_object(), "id", id);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;

	json_decref(request);
	if (!text)
		return NULL;
	*len = strlen(text);
	text[(*len)++] = '\n';
	return text;
}

int control_client_call(struct control_client *client, const char *command, json_t *args,
			const struct control_fds *send, int timeout_ms, json_t **ret_value,
			struct control_fds *received, struct control_error *err)
{
	int64_t deadline = timeout_ms < 0 ? -1 : (int64_t)clock_ms() + timeout_ms;
	json_int_t id = ++client->next_id;
	json_t *reply = NULL, *value;
	size_t len = 0;
	char *text = request_text(command, args, id, &len);
	int ret = text ? send_all(client, text, len, send, deadline) : -ENOMEM;

	free(text);
	if (!ret)
		ret = wait_reply(client, id, deadline, &reply);
	if (ret) {
		const char *why = ret == -ETIMEDOUT  ? "it did not answer in time" :
				  ret == -ECONNRESET ? "the connection was closed" :
						       strerror(-ret);

		return control_fail(err, ret, CONTROL_FAILED, "%s: %s", command, why);
	}
	value = json_object_get(reply, "return");
	if (value) {
		*ret_value = json_incref(value);
		if (received) {
			*received = client->fds;
			client->fds.count = 0;
		}
	} else {
		ret = refused(err, json_object_get(reply, "error"));
	}
	close_fds(&client->fds);
	json_decref(reply);
	return ret;
}

int control_client_event(struct control_client *client, int timeout_ms, json_t **event)
{
	int64_t deadline = timeout_ms < 0 ? -1 : (int64_t)clock_ms() + timeout_ms;

	if (json_array_size(client->events)) {
		*event = json_incref(json_array_get(client->events, 0));
		json_array_remove(client->events, 0);
		return 0;
	}
	for (;;) {
		int ret = next_message(client, deadline, event);

		if (ret || json_object_get(*event, "event"))
			return ret;
		json_decref(*event);
	}
}
