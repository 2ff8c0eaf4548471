/* SPDX-License-Identifier: Apache-2.0 */
/* A callback on a thread of its own: when it is pending, and what it returned. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/host_call.h"

#define PATIENCE_MS 10000

struct gate {
	int fds[2];
};

/* Returns -EIO once somebody has written to the pipe. */
static int wait_at_gate(void *arg)
{
	const struct gate *gate = arg;
	char byte;

	return read(gate->fds[0], &byte, 1) == 1 ? -EIO : 0;
}

static void none_is_pending_before_the_start(void **state)
{
	struct host_call call = { 0 };

	assert_false(host_call_pending(&call));
	assert_int_equal(host_call_fd(&call), -1);
	assert_true(host_call_wait(&call, 0));
	assert_int_equal(host_call_end(&call), 0);
}

static void a_call_is_pending_until_its_end_is_heard(void **state)
{
	struct host_call call = { 0 };
	struct gate gate;
	struct pollfd p = { .events = POLLIN };

	assert_int_equal(pipe(gate.fds), 0);
	assert_int_equal(host_call_start(&call, wait_at_gate, &gate), 0);
	p.fd = host_call_fd(&call);
	assert_true(host_call_pending(&call));
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_false(host_call_wait(&call, 10));
	assert_int_equal(write(gate.fds[1], "x", 1), 1);
	assert_true(host_call_wait(&call, PATIENCE_MS));
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_true(host_call_pending(&call)); /* it has returned, and nobody has asked what */
	assert_int_equal(host_call_end(&call), -EIO);
	assert_false(host_call_pending(&call));
	assert_int_equal(host_call_end(&call), 0);
	close(gate.fds[0]);
	close(gate.fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_is_pending_before_the_start),
		cmocka_unit_test(a_call_is_pending_until_its_end_is_heard),
	};

	return cmocka_run_group_tests_name("migrate_host_call", tests, NULL, NULL);
}
