/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console: lines both ways, what a line costs, a reader that does not read, and input that
 * moves with the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/virtio_driver.h"
#include "vmm/devices/virtio_console.h"

#define Q_RX   0
#define Q_TX   1
#define TX_GPA 0x100000ULL
#define RX_GPA 0x200000ULL

struct console {
	struct driver d;
	struct virtio_model *model;
	int wire, dev; /* the test's end of a socket, and the device's */
};

static int console_setup(void **state)
{
	struct console *c = calloc(1, sizeof(*c));
	int fds[2];

	assert_non_null(c);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	c->wire = fds[0];
	c->dev = fds[1];
	assert_int_equal(virtio_console_create(&c->model, c->dev, c->dev), 0);
	driver_init(&c->d, c->model);
	driver_start(&c->d, 0);
	*state = c;
	return 0;
}

static int console_teardown(void **state)
{
	struct console *c = *state;

	driver_free(&c->d);
	close(c->wire);
	close(c->dev);
	free(c);
	return 0;
}

static void print(struct driver *d, const void *text, uint32_t len)
{
	const struct driver_segment segment = { TX_GPA, len, false };

	memcpy(driver_hva(d, TX_GPA, len), text, len);
	driver_add(d, Q_TX, &segment, 1, false);
	driver_kick(d, Q_TX);
	assert_int_equal(driver_wait(d, Q_TX).len, 0);
}

static void offer(struct driver *d, uint32_t len)
{
	const struct driver_segment segment = { RX_GPA, len, true };

	driver_add(d, Q_RX, &segment, 1, false);
	driver_kick(d, Q_RX);
}

static void expect(int fd, const char *text)
{
	size_t len = strlen(text);
	char got[256];

	for (size_t n = 0; n < len;) {
		ssize_t one = read(fd, got + n, len - n);

		assert_true(one > 0);
		n += (size_t)one;
	}
	assert_memory_equal(got, text, len);
}

static void lines_arrive_in_order(void **state)
{
	struct console *c = *state;

	print(&c->d, "first\n", 6);
	print(&c->d, "sec", 3);
	print(&c->d, "ond\n", 4);
	expect(c->wire, "first\nsecond\n");
}

static void a_kib_of_lines_is_few_writes(void **state)
{
	struct console *c = *state;
	struct virtio_console_stats stats;
	char line[64];

	memset(line, 'x', sizeof(line));
	line[63] = '\n';
	for (unsigned int i = 0; i < 16; i++)
		print(&c->d, line, sizeof(line));
	for (size_t n = 0; n < 1024;) {
		char buf[1024];
		ssize_t one = read(c->wire, buf, sizeof(buf));

		assert_true(one > 0);
		n += (size_t)one;
	}
	virtio_console_get_stats(c->model, &stats);
	assert_int_equal(stats.bytes, 1024);
	assert_int_equal(stats.dropped, 0);
	assert_true(stats.writes <= 16);
}

static void input_waits_for_a_buffer(void **state)
{
	struct console *c = *state;
	char got[200];
	size_t n = 0;

	memset(got, 'a', sizeof(got));
	assert_int_equal(write(c->wire, got, sizeof(got)), sizeof(got));
	while (n < sizeof(got)) {
		struct vring_used_elem used;

		offer(&c->d, 48);
		used = driver_wait(&c->d, Q_RX);
		assert_in_range(used.len, 1, 48);
		for (uint32_t i = 0; i < used.len; i++)
			assert_int_equal(((char *)driver_hva(&c->d, RX_GPA, 48))[i], 'a');
		n += used.len;
	}
	assert_int_equal(n, sizeof(got));
}

/* Linux's driver waits for each buffer with interrupts off. */
static void a_reader_that_does_not_read_does_not_stop_the_guest(void **state)
{
	struct console *c = *state;
	struct virtio_console_stats stats;
	char text[4096];

	memset(text, 'y', sizeof(text));
	do {
		print(&c->d, text, sizeof(text));
		virtio_console_get_stats(c->model, &stats);
		assert_true(stats.bytes < 64 << 20);
	} while (!stats.dropped);
	assert_int_equal(stats.dropped % sizeof(text), 0);
	/*
	 * The reader comes back. What is printed once there is room arrives; until then it may be
	 * dropped, too, as the console's thread needs its turn to make room.
	 */
	for (;;) {
		ssize_t n;

		print(&c->d, "again\n", 6);
		while ((n = recv(c->wire, text, sizeof(text), MSG_DONTWAIT)) > 0)
			if (memchr(text, '\n', (size_t)n))
				return;
		assert_int_equal(errno, EAGAIN);
		poll(NULL, 0, 1);
	}
}

static void input_that_nobody_took_moves_with_the_guest(void **state)
{
	struct console *c = *state;
	struct device *from = c->d.dev, *to;
	struct virtio_model *model;
	uint8_t buf[512];
	int len, fds[2];

	assert_int_equal(write(c->wire, "typed", 5), 5);
	do { /* until it is in the device */
		poll(NULL, 0, 1);
		assert_int_equal(from->ops->quiesce(from), 0);
		len = from->ops->save(from, buf, sizeof(buf));
		from->ops->resume(from);
	} while (memcmp(buf + len - 5, "typed", 5) != 0);
	assert_int_equal(from->ops->quiesce(from), 0);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(virtio_console_create(&model, fds[0], fds[0]), 0);
	assert_int_equal(virtio_create(&to, model, c->d.memory, driver_irq(&c->d)), 0);
	assert_int_equal(to->ops->quiesce(to), 0);
	for (int cut = 0; cut < len; cut++)
		assert_int_equal(to->ops->load(to, buf, (size_t)cut), -EINVAL);
	buf[len - 6] = VIRTIO_CONSOLE_INPUT_BYTES + 1;
	assert_int_equal(to->ops->load(to, buf, (size_t)len), -EINVAL);
	buf[len - 6] = 5;
	assert_int_equal(to->ops->load(to, buf, (size_t)len), 0);
	from->ops->destroy(from);
	c->d.dev = to;
	c->model = model;
	to->ops->resume(to);
	offer(&c->d, 64);
	assert_int_equal(driver_wait(&c->d, Q_RX).len, 5);
	assert_memory_equal(driver_hva(&c->d, RX_GPA, 5), "typed", 5);
	print(&c->d, "here\n", 5);
	expect(fds[1], "here\n");
	close(c->dev);
	close(c->wire);
	c->dev = fds[0];
	c->wire = fds[1];
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lines_arrive_in_order, console_setup,
						console_teardown),
		cmocka_unit_test_setup_teardown(a_kib_of_lines_is_few_writes, console_setup,
						console_teardown),
		cmocka_unit_test_setup_teardown(input_waits_for_a_buffer, console_setup,
						console_teardown),
		cmocka_unit_test_setup_teardown(a_reader_that_does_not_read_does_not_stop_the_guest,
						console_setup, console_teardown),
		cmocka_unit_test_setup_teardown(input_that_nobody_took_moves_with_the_guest,
						console_setup, console_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
