/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/host_call.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *host_call_main(void *arg)
{
	struct host_call *call = arg;

	call->err = call->run(call->arg);
	(void)eventfd_write(call->fd, 1);
	return NULL;
}

int host_call_start(struct host_call *call, int (*run)(void *arg), void *arg)
{
	int err;

	*call = (struct host_call){ .run = run, .arg = arg };
	call->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (call->fd < 0)
		return -errno;
	err = -pthread_create(&call->thread, NULL, host_call_main, call);
	call->made = !err;
	if (err)
		close(call->fd);
	return err;
}

bool host_call_pending(const struct host_call *call)
{
	return call->made;
}

int host_call_fd(const struct host_call *call)
{
	return call->made ? call->fd : -1;
}

bool host_call_wait(const struct host_call *call, int timeout_ms)
{
	struct pollfd p = { .fd = host_call_fd(call), .events = POLLIN };

	return !call->made || poll(&p, 1, timeout_ms) == 1;
}

int host_call_end(struct host_call *call)
{
	if (!call->made)
		return 0;
	pthread_join(call->thread, NULL);
	close(call->fd);
	call->made = false;
	return call->err;
}
