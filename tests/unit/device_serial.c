/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 16550A: what Linux's driver looks for, interrupts, input, output that meets a slow reader,
 * state.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/util/clock.h"
#include "tests/unit/cmocka_all.h"
#include "vmm/devices/console_io.h"
#include "vmm/devices/serial.h"

struct line {
	atomic_uint edges;
	atomic_bool level;
};

static void line_set(void *opaque, unsigned int gsi, bool level)
{
	struct line *line = opaque;

	assert_int_equal(gsi, 4);
	if (level && !atomic_load(&line->level))
		line->edges++;
	line->level = level;
}

struct port {
	struct device *dev;
	struct line line;
	int in; /* the test types here */
	int out; /* the test reads here */
	int dev_in, dev_out;
};

static void port_open(struct port *p)
{
	struct irq_line irq = { line_set, &p->line, 4 };
	int in[2], out[2];

	memset(p, 0, sizeof(*p));
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	p->dev_in = in[0];
	p->in = in[1];
	p->out = out[0];
	p->dev_out = out[1];
	assert_int_equal(serial_create(&p->dev, irq, p->dev_in, p->dev_out), 0);
}

static void port_close(struct port *p)
{
	p->dev->ops->destroy(p->dev);
	close(p->in);
	close(p->out);
	close(p->dev_in);
	close(p->dev_out);
}

static uint8_t in8(struct port *p, unsigned int reg)
{
	uint8_t v;

	p->dev->ops->read(p->dev, reg, &v, 1);
	return v;
}

static void out8(struct port *p, unsigned int reg, uint8_t v)
{
	p->dev->ops->write(p->dev, reg, &v, 1);
}

static struct serial_stats stats_of(struct port *p)
{
	struct serial_stats stats;

	serial_get_stats(p->dev, &stats);
	return stats;
}

static uint64_t dropped(struct port *p)
{
	return stats_of(p).dropped;
}

static void wait_for_data(struct port *p)
{
	while (!(in8(p, 5) & 0x01))
		poll(NULL, 0, 1);
}

static void linux_finds_a_16550a(void **state)
{
	struct port p;

	port_open(&p);
	/* Linux, the steps of drivers/tty/serial/8250/8250_port.c, autoconfig() */
	out8(&p, 1, 0);
	assert_int_equal(in8(&p, 1), 0);
	out8(&p, 1, 0x0f);
	assert_int_equal(in8(&p, 1) & 0x0f, 0x0f);
	out8(&p, 1, 0);
	out8(&p, 4, 0x1a); /* loopback, OUT2, RTS */
	assert_int_equal(in8(&p, 6) & 0xf0, 0x90);
	out8(&p, 4, 0);
	out8(&p, 3, 0xbf);
	out8(&p, 2, 0);
	out8(&p, 3, 0);
	out8(&p, 2, 0x01);
	assert_int_equal(in8(&p, 2) & 0xc0, 0xc0);
	out8(&p, 7, 0x5a);
	assert_int_equal(in8(&p, 7), 0x5a);
	/* no 64-byte FIFO (16750), no interrupt enable beyond the four (XScale) */
	out8(&p, 2, 0x21);
	assert_int_equal(in8(&p, 2) & 0x20, 0);
	out8(&p, 1, 0x4f);
	assert_int_equal(in8(&p, 1), 0x0f);
	/* the divisor latch hides data and interrupt enable */
	out8(&p, 3, 0x83);
	out8(&p, 0, 0x12);
	out8(&p, 1, 0x34);
	assert_int_equal(in8(&p, 0), 0x12);
	assert_int_equal(in8(&p, 1), 0x34);
	out8(&p, 3, 0x03);
	assert_int_equal(in8(&p, 1), 0x0f);
	assert_int_equal(in8(&p, 5) & 0x60, 0x60);
	assert_int_equal(in8(&p, 6) & 0xf0, 0xb0); /* carrier, ready, clear to send */
	port_close(&p);
}

static void output_arrives_in_order(void **state)
{
	static const char text[] = "Linux version 6.12\r\n";
	char got[sizeof(text)] = "";
	struct port p;

	port_open(&p);
	for (unsigned int i = 0; i < sizeof(text) - 1; i++)
		out8(&p, 0, (uint8_t)text[i]);
	for (size_t n = 0; n < sizeof(text) - 1;)
		n += (size_t)read(p.out, got + n, sizeof(text) - 1 - n);
	assert_string_equal(got, text);
	assert_int_equal(dropped(&p), 0);
	port_close(&p);
}

static void input_interrupts_and_is_read(void **state)
{
	struct port p;

	port_open(&p);
	out8(&p, 2, 0x01);
	out8(&p, 1, 0x01);
	assert_false(p.line.level);
	assert_int_equal(write(p.in, "ls\n", 3), 3);
	wait_for_data(&p);
	while (!atomic_load(&p.line.level))
		poll(NULL, 0, 1);
	assert_in_range(in8(&p, 2) & 0x0f, 0x04, 0x0c);
	assert_int_equal(in8(&p, 0), 'l');
	wait_for_data(&p);
	assert_int_equal(in8(&p, 0), 's');
	wait_for_data(&p);
	assert_int_equal(in8(&p, 0), '\n');
	assert_int_equal(in8(&p, 5) & 0x01, 0);
	assert_false(p.line.level);
	assert_int_equal(in8(&p, 2) & 0x0f, 0x01);
	port_close(&p);
}

static void no_input_is_lost_when_the_guest_is_slow(void **state)
{
	struct port p;
	uint8_t text[1000];

	port_open(&p);
	for (unsigned int i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7);
	/* First: it empties the FIFO. */
	out8(&p, 2, 0x01);
	assert_int_equal(write(p.in, text, sizeof(text)), sizeof(text));
	for (unsigned int i = 0; i < sizeof(text); i++) {
		wait_for_data(&p);
		assert_int_equal(in8(&p, 5) & 0x02, 0);
		assert_int_equal(in8(&p, 0), text[i]);
	}
	port_close(&p);
}

static void wait_for_line(struct port *p)
{
	while (!atomic_load(&p->line.level))
		poll(NULL, 0, 1);
}

static void fill_fifo(struct port *p, unsigned int bytes, const char *text)
{
	for (unsigned int i = 0; i < bytes; i++)
		out8(p, 0, (uint8_t)text[i]);
}

/* What an interrupt handler has done that writes a FIFO whenever it may. */
struct burst {
	unsigned int fifos;
	uint64_t asked_ns; /* before IIR told it that nothing is pending */
	bool slow; /* it took so long that the transmitter became empty in between */
};

static struct burst write_a_burst(struct port *p)
{
	struct burst burst = { .asked_ns = clock_ns() };
	uint64_t start = burst.asked_ns;

	while (!(in8(p, 2) & 0x01)) {
		if (!burst.fifos)
			assert_false(p->line.level); /* reading IIR is the acknowledgement */
		assert_int_equal(in8(p, 5) & 0x60, 0x60);
		fill_fifo(p, 16, "xxxxxxxxxxxxxxxx");
		burst.fifos++;
		burst.asked_ns = clock_ns();
	}
	burst.slow = clock_ns() - start >= 1000000;
	return burst;
}

static void four_fifos_give_one_transmit_interrupt(void **state)
{
	unsigned int bursts = 0, slow_fifos = 0;
	struct port p;

	port_open(&p);
	out8(&p, 2, 0x01);
	out8(&p, 1, 0x02);
	assert_true(p.line.level);
	for (unsigned int i = 0; i < 10; i++) {
		struct burst burst = write_a_burst(&p);

		if (burst.slow)
			slow_fifos += burst.fifos;
		else
			assert_int_equal(burst.fifos, 4);
		bursts++;
		wait_for_line(&p);
		assert_true(clock_ns() - burst.asked_ns >= 1000000);
	}
	print_message("# 10 bursts: %u interrupts, %u FIFOs in slow bursts\n", p.line.edges,
		      slow_fifos);
	assert_in_range(p.line.edges, bursts + 1, bursts + 1 + slow_fifos);
	/* a driver that has nothing to say is not called again */
	in8(&p, 2);
	out8(&p, 1, 0x00);
	assert_false(p.line.level);
	port_close(&p);
}

/* A driver that waits by reading IIR, without an interrupt, gets its answer, too. */
static void a_driver_may_poll_iir(void **state)
{
	struct port p;

	port_open(&p);
	out8(&p, 2, 0x01);
	out8(&p, 1, 0x02);
	for (unsigned int fifo = 0; fifo < 20; fifo++) {
		while ((in8(&p, 2) & 0x0f) != 0x02)
			;
		fill_fifo(&p, 16, "xxxxxxxxxxxxxxxx");
	}
	/* nothing written: it is told once */
	while ((in8(&p, 2) & 0x0f) != 0x02)
		;
	assert_int_equal(in8(&p, 2) & 0x0f, 0x01);
	port_close(&p);
}

/* Linux's driver as it prints (drivers/tty/serial/8250/8250_port.c), and what that costs it. */
struct driver {
	unsigned int registers; /* accesses but those to the data register */
	unsigned int calls; /* of its handler */
	unsigned int slow; /* FIFOs written in calls in which the transmitter became empty */
	size_t left;
};

static void driver_fill_fifo(struct port *p, struct driver *driver)
{
	unsigned int n = 0;
	char text[16];

	while (n < sizeof(text) && driver->left)
		text[n++] = --driver->left % 80 ? 'x' : '\n';
	fill_fifo(p, n, text);
}

static void driver_interrupt(struct port *p, struct driver *driver)
{
	uint64_t start = clock_ns();
	unsigned int fifos = 0;

	driver->calls++;
	while (driver->registers++, !(in8(p, 2) & 0x01)) {
		uint8_t lsr = in8(p, 5);

		in8(p, 6);
		driver->registers += 2;
		if (lsr & 0x20)
			driver_fill_fifo(p, driver);
		fifos++;
		if (!driver->left) {
			out8(p, 1, 0x05);
			driver->registers++;
		}
	}
	if (clock_ns() - start >= 1000000)
		driver->slow += fifos;
}

static void linux_prints_a_kib(void **state)
{
	struct driver driver = { .left = 1024 };
	struct serial_stats stats;
	struct port p;
	uint8_t got[1024];

	port_open(&p);
	out8(&p, 2, 0x01);
	out8(&p, 1, 0x07);
	while (driver.left) {
		wait_for_line(&p);
		driver_interrupt(&p, &driver);
	}
	for (size_t n = 0; n < sizeof(got);)
		n += (size_t)read(p.out, got + n, sizeof(got) - n);
	stats = stats_of(&p);
	print_message("# 1024 bytes: %u accesses to other registers, %u interrupts, %u writes\n",
		      driver.registers, (unsigned int)stats.interrupts, (unsigned int)stats.writes);
	assert_int_equal(stats.bytes, 1024);
	assert_int_equal(stats.dropped, 0);
	/*
	 * Three registers for each FIFO, one more for each call: at least 192 with a FIFO of 16
	 * bytes. With one call for each FIFO there were 257 accesses and 64 interrupts.
	 */
	assert_true(driver.calls <= 1024 / 64 + 1);
	assert_true(driver.registers <= 1024 / 16 * 3 + driver.calls + 2);
	assert_true(stats.interrupts <= 1024 / 64 + 1 + driver.slow);
	assert_true(stats.writes <= 1024 / 8);
	port_close(&p);
}

static void output_is_gathered_to_lines(void **state)
{
	static const char text[] = "one line\nand what is not one";
	struct port p;
	char got[64];

	port_open(&p);
	for (unsigned int i = 0; i < 9; i++)
		out8(&p, 0, (uint8_t)text[i]);
	/* Each read gives what one write has put there, if nothing was put in between. */
	assert_int_equal(read(p.out, got, sizeof(got)), 9);
	assert_memory_equal(got, text, 9);
	for (unsigned int i = 9; i < sizeof(text) - 1; i++)
		out8(&p, 0, (uint8_t)text[i]);
	for (size_t n = 9; n < sizeof(text) - 1;)
		n += (size_t)read(p.out, got + n, sizeof(got) - n);
	assert_memory_equal(got, text, sizeof(text) - 1);
	port_close(&p);
}

/* In place of KVM: bytes that are there and of which no exit has told. */
struct collector {
	struct port *port;
	atomic_uint waiting;
};

static void collector_fetch(void *opaque)
{
	struct collector *c = opaque;

	for (unsigned int n = atomic_exchange(&c->waiting, 0); n; n--)
		out8(c->port, 0, 'c');
}

static void collected_output_is_fetched_without_an_exit(void **state)
{
	struct port p;
	struct collector c = { .port = &p };
	char byte = 0;

	port_open(&p);
	serial_set_collected(p.dev, (struct serial_collected){ collector_fetch, &c });
	assert_int_equal(in8(&p, 5) & 0x20, 0x20);
	c.waiting = 1;
	assert_int_equal(read(p.out, &byte, 1), 1);
	assert_int_equal(byte, 'c');
	/* also when the driver takes its time */
	assert_int_equal(in8(&p, 5) & 0x20, 0x20);
	poll(NULL, 0, 50);
	c.waiting = 1;
	assert_int_equal(read(p.out, &byte, 1), 1);
	port_close(&p);
}

static void loopback_returns_what_is_sent(void **state)
{
	struct port p;

	port_open(&p);
	out8(&p, 2, 0xc1);
	out8(&p, 4, 0x10);
	out8(&p, 1, 0x05);
	for (unsigned int i = 0; i < 13; i++)
		out8(&p, 0, (uint8_t)i);
	assert_int_equal(in8(&p, 2) & 0x0f, 0x0c); /* below the trigger level of 14 */
	for (unsigned int i = 13; i < 16; i++)
		out8(&p, 0, (uint8_t)i);
	assert_int_equal(in8(&p, 2) & 0x0f, 0x04);
	out8(&p, 0, 16);
	assert_int_equal(in8(&p, 2) & 0x0f, 0x06);
	assert_int_equal(in8(&p, 5) & 0x02, 0x02); /* one too many: overrun, told once */
	assert_int_equal(in8(&p, 5) & 0x02, 0);
	for (unsigned int i = 0; i < 16; i++)
		assert_int_equal(in8(&p, 0), i);
	/* modem lines come back crossed over, and their changes are told once */
	in8(&p, 6);
	out8(&p, 4, 0x1f);
	assert_int_equal(in8(&p, 6), 0xfb);
	assert_int_equal(in8(&p, 6), 0xf0);
	port_close(&p);
}

/*
 * Nobody reads: the pipe is full, and of the bytes that the device took all that are not in the
 * pipe fill the device's buffer.
 */
static bool is_stuffed(struct port *p, size_t written)
{
	struct pollfd pipe = { .fd = p->dev_out, .events = POLLOUT };
	int unread = 0;

	if (poll(&pipe, 1, 0) != 0)
		return false;
	assert_int_equal(ioctl(p->out, FIONREAD, &unread), 0);
	return written - dropped(p) - (size_t)unread == CONSOLE_IO_OUT_BYTES;
}

static void a_reader_that_does_not_read_makes_the_line_busy_not_the_vcpu(void **state)
{
	struct port p;
	size_t sent = 0, lost, got = 0;
	uint8_t buf[4096];

	port_open(&p);
	out8(&p, 1, 0x02);
	/*
	 * a polite driver stops when the transmitter is busy; this ends only if the device says so
	 */
	while (in8(&p, 5) & 0x20) {
		for (unsigned int i = 0; i < 16; i++, sent++)
			out8(&p, 0, (uint8_t)sent);
	}
	assert_int_equal(dropped(&p), 0);
	/* an impolite one loses bytes, but never waits */
	for (lost = 0; lost < 200000 || !is_stuffed(&p, sent + lost); lost++)
		out8(&p, 0, 0xee);
	assert_true(dropped(&p) > 0);
	while (in8(&p, 2) == 0x02)
		;
	/* a pause in between does not lose that */
	assert_int_equal(p.dev->ops->quiesce(p.dev), 0);
	p.dev->ops->resume(p.dev);
	assert_false(p.line.level);
	/*
	 * the reader comes back: all that was accepted arrives in order, and the driver is told by
	 * interrupt
	 */
	while (got < sent) {
		ssize_t n = read(p.out, buf, sizeof(buf));

		assert_true(n > 0);
		for (ssize_t i = 0; i < n && got < sent; i++, got++)
			assert_int_equal(buf[i], (uint8_t)got);
	}
	while (!atomic_load(&p.line.level)) {
		struct pollfd more = { .fd = p.out, .events = POLLIN };

		if (poll(&more, 1, 1) == 1)
			assert_true(read(p.out, buf, sizeof(buf)) > 0);
	}
	assert_int_equal(in8(&p, 5) & 0x20, 0x20);
	assert_int_equal(fcntl(p.dev_out, F_GETFL) & O_NONBLOCK, 0);
	port_close(&p);
}

static void a_reader_that_left_is_forgotten(void **state)
{
	struct port p;

	port_open(&p);
	close(p.out);
	for (unsigned int i = 0; i < 300000; i++) {
		while (!(in8(&p, 5) & 0x20))
			poll(NULL, 0, 1);
		out8(&p, 0, 'x');
	}
	assert_int_equal(dropped(&p), 0);
	p.out = dup(p.dev_out);
	port_close(&p);
}

static void a_socket_is_a_terminal_too(void **state)
{
	struct irq_line irq = { line_set, NULL, 4 };
	struct port p = { 0 };
	int fds[2];
	char c = 'q';

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	irq.opaque = &p.line;
	assert_int_equal(serial_create(&p.dev, irq, fds[0], fds[0]), 0);
	assert_int_equal(write(fds[1], &c, 1), 1);
	wait_for_data(&p);
	assert_int_equal(in8(&p, 0), 'q');
	out8(&p, 0, 'r');
	assert_int_equal(read(fds[1], &c, 1), 1);
	assert_int_equal(c, 'r');
	p.dev->ops->destroy(p.dev);
	close(fds[0]);
	close(fds[1]);
}

static void state_moves_to_another_port(void **state)
{
	struct port a, b;
	uint8_t buf[256];
	int len;

	port_open(&a);
	port_open(&b);
	out8(&a, 3, 0x83);
	out8(&a, 0, 0x55);
	out8(&a, 1, 0x66);
	out8(&a, 3, 0x1b);
	out8(&a, 2, 0xc1);
	out8(&a, 7, 0x77);
	out8(&a, 1, 0x05);
	out8(&a, 4, 0x10);
	for (unsigned int i = 0; i < 5; i++)
		out8(&a, 0, (uint8_t)(0x30 + i));
	out8(&a, 4, 0x0b);
	assert_int_equal(write(a.in, "late", 4), 4);
	while (in8(&a, 5) == 0x60)
		poll(NULL, 0, 1);

	assert_int_equal(a.dev->ops->quiesce(a.dev), 0);
	assert_int_equal(b.dev->ops->quiesce(b.dev), 0);
	len = a.dev->ops->save(a.dev, buf, sizeof(buf));
	assert_true(len > 0);
	for (int max = 0; max < len; max++)
		assert_int_equal(a.dev->ops->save(a.dev, buf + 100, (size_t)max), -ENOSPC);
	assert_int_equal(b.dev->ops->load(b.dev, buf, (size_t)len), 0);
	for (int cut = 0; cut < len; cut++)
		assert_int_equal(b.dev->ops->load(b.dev, buf, (size_t)cut), -EINVAL);
	b.dev->ops->resume(b.dev);
	assert_true(b.line.level);
	assert_int_equal(in8(&b, 3), 0x1b);
	assert_int_equal(in8(&b, 4), 0x0b);
	assert_int_equal(in8(&b, 7), 0x77);
	assert_int_equal(in8(&b, 1), 0x05);
	assert_int_equal(in8(&b, 2) & 0xc0, 0xc0);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(in8(&b, 0), 0x30 + i);
	out8(&b, 3, 0x9b);
	assert_int_equal(in8(&b, 0), 0x55);
	assert_int_equal(in8(&b, 1), 0x66);
	/* a source that continues after an aborted migration has lost nothing either */
	a.dev->ops->resume(a.dev);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(in8(&a, 0), 0x30 + i);
	port_close(&a);
	port_close(&b);
}

static void state_that_no_port_can_have_is_refused(void **state)
{
	static const struct {
		unsigned int at;
		uint8_t value;
	} bad[] = {
		{ 0, 0x10 }, /* IER */
		{ 1, 0x02 }, /* FCR: not kept */
		{ 1, 0x40 }, /* FCR: trigger without FIFO */
		{ 3, 0x20 }, /* MCR */
		{ 7, 0x10 }, /* modem deltas */
		{ 8, 2 }, /* not a boolean */
		{ 9, 0xff }, { 10, 17 }, /* more than the FIFO holds */
	};
	struct port p;
	uint8_t buf[64], copy[64];
	int len;

	port_open(&p);
	assert_int_equal(p.dev->ops->quiesce(p.dev), 0);
	len = p.dev->ops->save(p.dev, buf, sizeof(buf));
	assert_int_equal(len, 11);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(copy, buf, sizeof(buf));
		copy[bad[i].at] = bad[i].value;
		assert_int_equal(p.dev->ops->load(p.dev, copy, (size_t)len), -EINVAL);
	}
	assert_int_equal(p.dev->ops->load(p.dev, buf, (size_t)len), 0);
	port_close(&p);
}

static void *drain(void *arg)
{
	struct port *p = arg;
	size_t n = 0;
	uint8_t buf[512];

	while (n < 100000) {
		ssize_t got = read(p->out, buf, sizeof(buf));

		if (got <= 0)
			break;
		n += (size_t)got;
	}
	return (void *)n;
}

static void vcpus_terminal_and_migration_at_once(void **state)
{
	struct port p;
	pthread_t reader;
	void *n;

	port_open(&p);
	out8(&p, 1, 0x0f);
	assert_int_equal(pthread_create(&reader, NULL, drain, &p), 0);
	for (unsigned int i = 0; i < 100000; i++) {
		while (!(in8(&p, 5) & 0x20))
			;
		out8(&p, 0, 'a');
		if (i % 1000 == 0) {
			assert_int_equal(write(p.in, "k", 1), 1);
			assert_int_equal(p.dev->ops->quiesce(p.dev), 0);
			p.dev->ops->resume(p.dev);
		}
		if (in8(&p, 5) & 0x01)
			assert_int_equal(in8(&p, 0), 'k');
	}
	pthread_join(reader, &n);
	assert_int_equal((size_t)n, 100000);
	port_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linux_finds_a_16550a),
		cmocka_unit_test(output_arrives_in_order),
		cmocka_unit_test(input_interrupts_and_is_read),
		cmocka_unit_test(no_input_is_lost_when_the_guest_is_slow),
		cmocka_unit_test(four_fifos_give_one_transmit_interrupt),
		cmocka_unit_test(a_driver_may_poll_iir),
		cmocka_unit_test(linux_prints_a_kib),
		cmocka_unit_test(output_is_gathered_to_lines),
		cmocka_unit_test(collected_output_is_fetched_without_an_exit),
		cmocka_unit_test(loopback_returns_what_is_sent),
		cmocka_unit_test(a_reader_that_does_not_read_makes_the_line_busy_not_the_vcpu),
		cmocka_unit_test(a_reader_that_left_is_forgotten),
		cmocka_unit_test(a_socket_is_a_terminal_too),
		cmocka_unit_test(state_moves_to_another_port),
		cmocka_unit_test(state_that_no_port_can_have_is_refused),
		cmocka_unit_test(vcpus_terminal_and_migration_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
