/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/devices/serial.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "launch/device_layout.h"
#include "lib/util/clock.h"
#include "vmm/devices/console_io.h"
#include "vmm/state_bytes.h"

/* Register offsets; the first two mean the divisor latch while LCR_DLAB is set. */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RX	  0x01
#define IER_THRE  0x02
#define IER_LINE  0x04
#define IER_MODEM 0x08
#define IER_MASK  0x0f

#define IIR_NONE       0x01
#define IIR_MODEM      0x00
#define IIR_THRE       0x02
#define IIR_RX	       0x04
#define IIR_LINE       0x06
#define IIR_RX_TIMEOUT 0x0c
#define IIR_FIFO       0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
/* what a read-back through the saved state needs: enable, DMA mode, trigger level */
#define FCR_KEPT 0xc9

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f

#define LSR_DR	 0x01
#define LSR_OE	 0x02
#define LSR_THRE 0x20
#define LSR_TEMT 0x40

#define MSR_DELTA_MASK 0x0f
#define MSR_CTS	       0x10
#define MSR_DSR	       0x20
#define MSR_RI	       0x40
#define MSR_DCD	       0x80

#define FIFO_BYTES 16

/*
 * A FIFO's worth leaves at once, so a driver that asks again in its interrupt handler may write
 * again: BURST_BYTES in all, then the transmitter is busy until they have left a line of some
 * 600,000 baud. That time starts when the driver leaves its handler (IIR says that no interrupt is
 * pending): else, on a host where each exit takes long, it would be over before, and the driver
 * would stay in its handler for as long as it has something to print. Linux reads IIR, LSR and MSR
 * for each FIFO, and IIR once more for each interrupt, so a burst saves three of four interrupts
 * and these reads.
 */
#define BURST_BYTES 64
#define TRANSMIT_US 1000

/*
 * The driver has looked at the transmitter and may write now. If KVM collects what it writes
 * (serial_set_collected()), it is fetched after this time, and again after twice that time and so
 * on, FETCH_TRIES times, if no exit of the vCPU has fetched it before.
 */
#define FETCH_US    5000
#define FETCH_TRIES 8

struct serial {
	struct device dev;
	struct irq_line irq;
	/*
	 * all below; console_io has its own lock and is called with this one held, never the other
	 * way
	 */
	pthread_mutex_t lock;
	struct console_io *io;
	struct serial_collected collected;
	unsigned int fetches; /* how many tries are left */
	struct serial_stats stats;
	uint8_t ier, fcr, lcr, mcr, scr;
	uint8_t dll, dlm;
	uint8_t msr_delta;
	bool overrun;
	bool thre_pending; /* the transmitter became empty and nobody has looked yet */
	bool sending; /* the driver waits for that, as it has written or has seen it busy */
	uint64_t empty_ns; /* when it is over (CLOCK_MONOTONIC) */
	unsigned int burst; /* bytes since the transmitter was empty */
	bool refilled; /* by at least one of them since the driver has read IIR */
	bool line_high;
	uint8_t rx[FIFO_BYTES];
	uint8_t rx_count;
};

static unsigned int serial_rx_trigger(const struct serial *s)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };

	return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

static unsigned int serial_rx_size(const struct serial *s)
{
	return s->fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

/* The highest-priority interrupt that is pending and enabled. */
static uint8_t serial_pending(const struct serial *s)
{
	if ((s->ier & IER_LINE) && s->overrun)
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->rx_count)
		return s->rx_count >= serial_rx_trigger(s) ? IIR_RX : IIR_RX_TIMEOUT;
	if ((s->ier & IER_THRE) && s->thre_pending)
		return IIR_THRE;
	if ((s->ier & IER_MODEM) && s->msr_delta)
		return IIR_MODEM;
	return IIR_NONE;
}

static void serial_set_line(struct serial *s, bool high)
{
	if (high == s->line_high)
		return;
	s->line_high = high;
	s->stats.interrupts += high;
	s->irq.set(s->irq.opaque, s->irq.gsi, high);
}

static void serial_update_irq(struct serial *s)
{
	serial_set_line(s, serial_pending(s) != IIR_NONE);
}

static uint8_t serial_modem_inputs(const struct serial *s)
{
	uint8_t v = 0;

	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	v |= s->mcr & MCR_RTS ? MSR_CTS : 0;
	v |= s->mcr & MCR_DTR ? MSR_DSR : 0;
	v |= s->mcr & MCR_OUT1 ? MSR_RI : 0;
	v |= s->mcr & MCR_OUT2 ? MSR_DCD : 0;
	return v;
}

static void serial_push_rx(struct serial *s, uint8_t byte)
{
	if (s->rx_count >= serial_rx_size(s))
		s->overrun = true;
	else
		s->rx[s->rx_count++] = byte;
}

static uint8_t serial_pop_rx(struct serial *s)
{
	uint8_t byte;

	if (!s->rx_count)
		return 0;
	byte = s->rx[0];
	memmove(s->rx, s->rx + 1, --s->rx_count);
	console_io_want_input(s->io, true);
	return byte;
}

/* The transmitter is busy from now on, for the time that a burst takes. */
static void serial_start_sending(struct serial *s)
{
	s->sending = true;
	s->empty_ns = clock_ns() + TRANSMIT_US * 1000;
	console_io_call_after(s->io, TRANSMIT_US);
}

/*
 * A byte for the line. It is on its way at once, but the interrupt that says 'empty' comes when a
 * burst could have left: the driver leaves its handler, and is called again.
 */
static void serial_transmit(struct serial *s, uint8_t byte)
{
	s->thre_pending = false;
	s->refilled = true;
	if (s->mcr & MCR_LOOP) {
		serial_push_rx(s, byte);
		s->thre_pending = true;
		return;
	}
	if (!console_io_put(s->io, &byte, 1))
		s->stats.dropped++;
	s->burst++;
	if (s->sending || !(s->ier & IER_THRE))
		return;
	s->burst = 1;
	serial_start_sending(s);
}

/* The driver has seen that the transmitter is empty: what it writes now may wait in KVM. */
static void serial_expect_output(struct serial *s)
{
	if (!s->collected.fetch)
		return;
	s->fetches = FETCH_TRIES;
	console_io_call_after(s->io, FETCH_US);
}

/* A driver that has just written asks whether it may write again, without an interrupt. */
static bool serial_takes_more(const struct serial *s)
{
	return (s->ier & IER_THRE) && s->sending && s->refilled && s->burst < BURST_BYTES &&
	       (s->fcr & FCR_ENABLE) && !(s->mcr & MCR_LOOP) && console_io_room(s->io);
}

static uint8_t serial_read_iir(struct serial *s)
{
	uint8_t iir = serial_pending(s);

	if (iir == IIR_NONE && serial_takes_more(s))
		iir = IIR_THRE;
	else if (iir == IIR_NONE && s->sending && s->refilled)
		serial_start_sending(s);
	if (iir == IIR_THRE) {
		s->thre_pending = false;
		serial_expect_output(s);
	}
	/* Until the driver writes again, IIR neither asks for more nor starts the time again. */
	if (iir == IIR_THRE || iir == IIR_NONE)
		s->refilled = false;
	return iir | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t serial_read_lsr(struct serial *s)
{
	uint8_t lsr = 0;

	if (console_io_room(s->io)) {
		lsr = LSR_THRE | LSR_TEMT;
		serial_expect_output(s);
	} else {
		s->sending = true;
	}
	lsr |= s->rx_count ? LSR_DR : 0;
	lsr |= s->overrun ? LSR_OE : 0;
	s->overrun = false;
	return lsr;
}

static uint8_t serial_read_reg(struct serial *s, uint64_t reg)
{
	uint8_t v;

	switch (reg) {
	case REG_DATA:
		return s->lcr & LCR_DLAB ? s->dll : serial_pop_rx(s);
	case REG_IER:
		return s->lcr & LCR_DLAB ? s->dlm : s->ier;
	case REG_IIR_FCR:
		return serial_read_iir(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return serial_read_lsr(s);
	case REG_MSR:
		v = serial_modem_inputs(s) | s->msr_delta;
		s->msr_delta = 0;
		return v;
	case REG_SCR:
		return s->scr;
	default:
		return 0xff;
	}
}

static void serial_write_ier(struct serial *s, uint8_t v)
{
	uint8_t old = s->ier;

	s->ier = v & IER_MASK;
	/*
	 * Enabling the transmitter's interrupt while it is empty raises it: Linux starts output in
	 * this way.
	 */
	if (!(s->ier & ~old & IER_THRE))
		return;
	s->thre_pending = console_io_room(s->io);
	s->sending = !s->thre_pending;
}

static void serial_write_fcr(struct serial *s, uint8_t v)
{
	/* Switching the FIFOs on or off empties them. */
	if ((v & FCR_CLEAR_RX) || ((v ^ s->fcr) & FCR_ENABLE)) {
		s->rx_count = 0;
		console_io_want_input(s->io, true);
	}
	s->fcr = v & FCR_ENABLE ? v & FCR_KEPT : 0;
}

static void serial_write_mcr(struct serial *s, uint8_t v)
{
	uint8_t before = serial_modem_inputs(s);
	uint8_t changed;

	s->mcr = v & MCR_MASK;
	changed = before ^ serial_modem_inputs(s);
	/* Ring indicator counts at its trailing edge only. */
	if ((changed & MSR_RI) && !(before & MSR_RI))
		changed &= ~MSR_RI;
	s->msr_delta |= changed >> 4;
}

static void serial_write_reg(struct serial *s, uint64_t reg, uint8_t v)
{
	switch (reg) {
	case REG_DATA:
		if (s->lcr & LCR_DLAB)
			s->dll = v;
		else
			serial_transmit(s, v);
		break;
	case REG_IER:
		if (s->lcr & LCR_DLAB)
			s->dlm = v;
		else
			serial_write_ier(s, v);
		break;
	case REG_IIR_FCR:
		serial_write_fcr(s, v);
		break;
	case REG_LCR:
		s->lcr = v;
		break;
	case REG_MCR:
		serial_write_mcr(s, v);
		break;
	case REG_SCR:
		s->scr = v;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
}

static struct serial *to_serial(struct device *dev)
{
	return (struct serial *)dev;
}

/* A wide access is that many accesses of a byte, as the ISA bus splits it. */
static void serial_read(struct device *dev, uint64_t offset, void *data, unsigned int len)
{
	struct serial *s = to_serial(dev);
	uint8_t *bytes = data;

	pthread_mutex_lock(&s->lock);
	for (unsigned int i = 0; i < len; i++)
		bytes[i] = serial_read_reg(s, offset + i);
	serial_update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static void serial_write(struct device *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct serial *s = to_serial(dev);
	const uint8_t *bytes = data;

	pthread_mutex_lock(&s->lock);
	for (unsigned int i = 0; i < len; i++)
		serial_write_reg(s, offset + i, bytes[i]);
	serial_update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

/* console_io's thread: room for how many bytes of input, then the bytes. */
static size_t serial_input_room(void *opaque)
{
	struct serial *s = opaque;
	size_t room = 0;

	pthread_mutex_lock(&s->lock);
	if (!(s->mcr & MCR_LOOP) && s->rx_count < serial_rx_size(s))
		room = serial_rx_size(s) - s->rx_count;
	pthread_mutex_unlock(&s->lock);
	return room;
}

static void serial_input(void *opaque, const uint8_t *bytes, size_t len)
{
	struct serial *s = opaque;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < len; i++)
		serial_push_rx(s, bytes[i]);
	serial_update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

/* The transmitter is empty, or will be at its time. */
static void serial_sent(struct serial *s)
{
	uint64_t now = clock_ns();

	if (now < s->empty_ns) {
		console_io_call_after(s->io, (unsigned int)((s->empty_ns - now) / 1000) + 1);
		return;
	}
	s->thre_pending = true;
	s->sending = false;
}

/* console_io's thread: fetch what KVM has collected; the transmitter is empty. */
static void serial_output_room(void *opaque)
{
	struct serial *s = opaque;
	struct serial_collected collected;
	unsigned int tries = 0;

	pthread_mutex_lock(&s->lock);
	collected = s->collected;
	if (s->fetches)
		tries = s->fetches--;
	pthread_mutex_unlock(&s->lock);
	/* It comes back by serial_write(). */
	if (collected.fetch)
		collected.fetch(collected.opaque);
	if (tries > 1)
		console_io_call_after(s->io, FETCH_US << (FETCH_TRIES - tries + 1));

	pthread_mutex_lock(&s->lock);
	/* If there is no room this is called again. */
	if (s->sending && console_io_room(s->io))
		serial_sent(s);
	serial_update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static int serial_quiesce(struct device *dev)
{
	console_io_pause(to_serial(dev)->io);
	return 0;
}

static void serial_resume(struct device *dev)
{
	struct serial *s = to_serial(dev);

	pthread_mutex_lock(&s->lock);
	/* At a target the guest may have last seen a full buffer, which is empty here. */
	s->sending = !console_io_room(s->io);
	if (!s->sending)
		s->thre_pending = true;
	/*
	 * Drive the line even if it seems unchanged: KVM does not keep a pin's level in the state
	 * that migrates.
	 */
	s->line_high = serial_pending(s) != IIR_NONE;
	s->irq.set(s->irq.opaque, s->irq.gsi, s->line_high);
	pthread_mutex_unlock(&s->lock);
	console_io_unpause(s->io);
}

/*
 * Output that the host's reader has not taken yet is no state of the guest: it leaves through the
 * descriptor of the host that accepted it.
 */
static int serial_save(struct device *dev, void *buf, size_t max)
{
	struct serial *s = to_serial(dev);
	struct state_writer w = { .buf = buf, .max = max };

	pthread_mutex_lock(&s->lock);
	state_put8(&w, s->ier);
	state_put8(&w, s->fcr);
	state_put8(&w, s->lcr);
	state_put8(&w, s->mcr);
	state_put8(&w, s->scr);
	state_put8(&w, s->dll);
	state_put8(&w, s->dlm);
	state_put8(&w, s->msr_delta);
	state_put8(&w, s->overrun);
	state_put8(&w, s->thre_pending);
	state_put8(&w, s->rx_count);
	state_put(&w, s->rx, s->rx_count);
	pthread_mutex_unlock(&s->lock);
	return state_written(&w);
}

static int serial_load(struct device *dev, const void *buf, size_t len)
{
	struct serial *s = to_serial(dev);
	struct state_reader r = { .buf = buf, .len = len };
	struct serial n = { 0 };

	n.ier = state_get8(&r);
	n.fcr = state_get8(&r);
	n.lcr = state_get8(&r);
	n.mcr = state_get8(&r);
	n.scr = state_get8(&r);
	n.dll = state_get8(&r);
	n.dlm = state_get8(&r);
	n.msr_delta = state_get8(&r);
	n.overrun = state_get_bool(&r);
	n.thre_pending = state_get_bool(&r);
	n.rx_count = state_get8(&r);
	if (n.rx_count > serial_rx_size(&n))
		return -EINVAL;
	state_get(&r, n.rx, n.rx_count);
	if (!state_complete(&r) || (n.ier & ~IER_MASK) || (n.fcr & ~FCR_KEPT) ||
	    (n.mcr & ~MCR_MASK) || (n.msr_delta & ~MSR_DELTA_MASK) ||
	    (n.fcr && !(n.fcr & FCR_ENABLE)))
		return -EINVAL;

	pthread_mutex_lock(&s->lock);
	s->ier = n.ier;
	s->fcr = n.fcr;
	s->lcr = n.lcr;
	s->mcr = n.mcr;
	s->scr = n.scr;
	s->dll = n.dll;
	s->dlm = n.dlm;
	s->msr_delta = n.msr_delta;
	s->overrun = n.overrun;
	s->thre_pending = n.thre_pending;
	s->rx_count = n.rx_count;
	memcpy(s->rx, n.rx, sizeof(s->rx));
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void serial_destroy(struct device *dev)
{
	struct serial *s = to_serial(dev);

	console_io_destroy(s->io);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static const struct device_ops serial_ops = {
	.name = "serial-16550a/1",
	.read = serial_read,
	.write = serial_write,
	.quiesce = serial_quiesce,
	.resume = serial_resume,
	.save = serial_save,
	.load = serial_load,
	.destroy = serial_destroy,
};

void serial_set_collected(struct device *dev, struct serial_collected collected)
{
	struct serial *s = to_serial(dev);

	pthread_mutex_lock(&s->lock);
	s->collected = collected;
	pthread_mutex_unlock(&s->lock);
}

void serial_get_stats(struct device *dev, struct serial_stats *stats)
{
	struct serial *s = to_serial(dev);
	struct console_io_stats io;

	console_io_get_stats(s->io, &io);
	pthread_mutex_lock(&s->lock);
	*stats = s->stats;
	pthread_mutex_unlock(&s->lock);
	stats->bytes = io.bytes;
	stats->writes = io.writes;
}

int serial_create(struct device **dev, struct irq_line irq, int in_fd, int out_fd)
{
	const struct console_io_ops io_ops = {
		.input_room = serial_input_room,
		.input = serial_input,
		.output_room = serial_output_room,
	};
	struct serial *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	s->dev.ops = &serial_ops;
	s->irq = irq;
	s->dll = 1; /* 115200 baud */
	pthread_mutex_init(&s->lock, NULL);
	ret = console_io_create(&s->io, &io_ops, s, in_fd, out_fd);
	if (ret) {
		pthread_mutex_destroy(&s->lock);
		free(s);
		return ret;
	}
	*dev = &s->dev;
	return 0;
}
