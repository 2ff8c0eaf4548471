/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net: frames both ways, on a packet socket and on a real tap, and how a migrated guest
 * makes itself known.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/virtio_driver.h"
#include "vmm/devices/virtio_net.h"
#include "vmm/tap.h"

#define HDR	 sizeof(struct virtio_net_hdr_v1)
#define Q_RX	 0
#define Q_TX	 1
#define Q_CTRL	 2
#define TX_GPA	 0x100000ULL
#define RX_GPA	 0x200000ULL
#define CTRL_GPA 0x300000ULL

static const uint8_t mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

struct net {
	struct driver d;
	int wire; /* the other end */
};

static int net_setup(void **state)
{
	struct net *n = calloc(1, sizeof(*n));
	struct virtio_model *model;
	int fds[2];

	assert_non_null(n);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	n->wire = fds[1];
	fcntl(n->wire, F_SETFL, 0);
	assert_int_equal(virtio_net_create(&model, fds[0], mac), 0);
	driver_init(&n->d, model);
	driver_start(&n->d, 0);
	*state = n;
	return 0;
}

static int net_teardown(void **state)
{
	struct net *n = *state;

	driver_free(&n->d);
	close(n->wire);
	free(n);
	return 0;
}

/* Give the device a buffer of len bytes (header included) for reception. */
static void offer(struct driver *d, uint64_t gpa, uint32_t len)
{
	const struct driver_segment segment = { gpa, len, true };

	driver_add(d, Q_RX, &segment, 1, false);
	driver_kick(d, Q_RX);
}

static struct vring_used_elem transmit(struct driver *d, const void *frame, uint32_t len)
{
	const struct driver_segment segments[] = { { TX_GPA, HDR, false },
						   { TX_GPA + 64, len, false } };

	memset(driver_hva(d, TX_GPA, HDR), 0, HDR);
	memcpy(driver_hva(d, TX_GPA + 64, len), frame, len);
	driver_add(d, Q_TX, segments, 2, false);
	driver_kick(d, Q_TX);
	return driver_wait(d, Q_TX);
}

static uint8_t control(struct driver *d, uint8_t class, uint8_t cmd)
{
	const struct driver_segment segments[] = { { CTRL_GPA, 2, false },
						   { CTRL_GPA + 16, 1, true } };
	uint8_t *bytes = driver_hva(d, CTRL_GPA, 32);

	bytes[0] = class;
	bytes[1] = cmd;
	bytes[16] = 0xff;
	driver_add(d, Q_CTRL, segments, 2, false);
	driver_kick(d, Q_CTRL);
	assert_int_equal(driver_wait(d, Q_CTRL).len, 1);
	return bytes[16];
}

static uint16_t link_status(struct driver *d)
{
	uint16_t status;

	d->dev->ops->read(d->dev, VIRTIO_MMIO_CONFIG + 6, &status, 2);
	return status;
}

static void the_configuration_gives_the_address(void **state)
{
	struct net *n = *state;
	uint8_t config[8];

	n->d.dev->ops->read(n->d.dev, VIRTIO_MMIO_CONFIG, config, 8);
	assert_memory_equal(config, mac, 6);
	assert_int_equal(link_status(&n->d), VIRTIO_NET_S_LINK_UP);
}

static void frames_leave_without_the_header(void **state)
{
	struct net *n = *state;
	uint8_t frame[1514], got[2000];

	for (unsigned int i = 0; i < 200; i++) {
		memset(frame, (int)i, sizeof(frame));
		transmit(&n->d, frame, 60 + i);
		assert_int_equal(recv(n->wire, got, sizeof(got), 0), 60 + i);
		assert_memory_equal(got, frame, 60 + i);
	}
}

static void what_is_no_frame_is_dropped(void **state)
{
	struct net *n = *state;
	const struct driver_segment runt[] = { { TX_GPA, HDR + 13, false } },
				    tiny[] = { { TX_GPA, 3, false } };
	const struct driver_segment huge[] = { { TX_GPA, HDR, false }, { TX_GPA, 70000, false } };
	const struct driver_segment writable[] = { { TX_GPA, 100, true } };
	struct virtio_net_stats stats;
	uint8_t frame[60] = { 1 }, got[100];

	driver_add(&n->d, Q_TX, runt, 1, false);
	driver_add(&n->d, Q_TX, tiny, 1, false);
	driver_add(&n->d, Q_TX, huge, 2, false);
	driver_add(&n->d, Q_TX, writable, 1, false);
	driver_kick(&n->d, Q_TX);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(driver_wait(&n->d, Q_TX).len, 0);
	transmit(&n->d, frame, sizeof(frame));
	assert_int_equal(recv(n->wire, got, sizeof(got), 0), 60);
	virtio_net_get_stats(virtio_model_of(n->d.dev), &stats);
	assert_int_equal(stats.tx_dropped, 4);
	assert_int_equal(stats.tx_packets, 1);
}

static void frames_arrive_with_a_header(void **state)
{
	struct net *n = *state;
	uint8_t *buf = driver_hva(&n->d, RX_GPA, 4096), frame[1514];

	for (unsigned int i = 0; i < 100; i++) {
		memset(frame, (int)i, sizeof(frame));
		memset(buf, 0xff, 4096);
		offer(&n->d, RX_GPA, 1526);
		assert_int_equal(send(n->wire, frame, 1000 + i, 0), 1000 + i);
		assert_int_equal(driver_wait(&n->d, Q_RX).len, HDR + 1000 + i);
		assert_int_equal(((struct virtio_net_hdr_v1 *)buf)->num_buffers, 1);
		assert_int_equal(((struct virtio_net_hdr_v1 *)buf)->gso_type, 0);
		assert_memory_equal(buf + HDR, frame, 1000 + i);
		assert_int_equal(buf[HDR + 1000 + i], 0xff);
		driver_wait_interrupt(&n->d);
	}
}

static void frames_wait_outside_until_there_is_a_buffer(void **state)
{
	struct net *n = *state;
	uint8_t frame[100], *buf = driver_hva(&n->d, RX_GPA, 4096);

	for (unsigned int i = 0; i < 10; i++) {
		memset(frame, (int)i, sizeof(frame));
		assert_int_equal(send(n->wire, frame, sizeof(frame), 0), sizeof(frame));
	}
	for (unsigned int i = 0; i < 10; i++) {
		offer(&n->d, RX_GPA, 1526);
		assert_int_equal(driver_wait(&n->d, Q_RX).len, HDR + sizeof(frame));
		assert_int_equal(buf[HDR], i);
	}
}

static void a_frame_too_long_for_the_buffer_is_dropped_not_the_buffer(void **state)
{
	struct net *n = *state;
	uint8_t frame[1000] = { 7 }, *buf = driver_hva(&n->d, RX_GPA, 4096);
	struct virtio_net_stats stats;

	memset(buf, 0, 4096);
	offer(&n->d, RX_GPA, 200);
	assert_int_equal(send(n->wire, frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(send(n->wire, frame, 100, 0), 100);
	assert_int_equal(driver_wait(&n->d, Q_RX).len, HDR + 100);
	assert_int_equal(buf[200], 0);
	virtio_net_get_stats(virtio_model_of(n->d.dev), &stats);
	assert_int_equal(stats.rx_dropped, 1);
	assert_int_equal(stats.rx_packets, 1);
}

static void a_wire_that_is_cut_does_not_keep_it_busy(void **state)
{
	struct net *n = *state;
	uint8_t frame[60] = { 0 };

	offer(&n->d, RX_GPA, 1526);
	close(n->wire);
	n->wire = -1;
	transmit(&n->d, frame, sizeof(frame));
	assert_int_equal(driver_read(&n->d, VIRTIO_MMIO_STATUS), 0x0f);
}

static void unknown_control_commands_are_refused(void **state)
{
	struct net *n = *state;

	assert_int_equal(control(&n->d, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC),
			 VIRTIO_NET_ERR);
	assert_int_equal(control(&n->d, VIRTIO_NET_CTRL_ANNOUNCE, 9), VIRTIO_NET_ERR);
	assert_int_equal(control(&n->d, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK),
			 VIRTIO_NET_OK);
}

static void a_migrated_guest_is_announced_and_announces_itself(void **state)
{
	static const uint8_t other_mac[6] = { 0x52, 0x54, 0, 9, 9, 9 };
	struct net *n = *state;
	struct virtio_model *model;
	struct device *to;
	uint8_t buf[512], frame[100], config[6];
	uint32_t generation;
	int fds[2], len;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(virtio_net_create(&model, fds[0], other_mac), 0);
	assert_int_equal(virtio_create(&to, model, n->d.memory, driver_irq(&n->d)), 0);
	assert_int_equal(n->d.dev->ops->quiesce(n->d.dev), 0);
	assert_int_equal(to->ops->quiesce(to), 0);
	len = n->d.dev->ops->save(n->d.dev, buf, sizeof(buf));
	for (int cut = 0; cut < len; cut++)
		assert_int_equal(to->ops->load(to, buf, (size_t)cut), -EINVAL);
	assert_int_equal(to->ops->load(to, buf, (size_t)len), 0);
	n->d.dev->ops->destroy(n->d.dev);
	n->d.dev = to;
	n->d.line = false;
	close(n->wire);
	n->wire = fds[1];
	fcntl(n->wire, F_SETFL, 0);
	generation = driver_read(&n->d, VIRTIO_MMIO_CONFIG_GENERATION);
	to->ops->resume(to);

	/*
	 * the host's part: five times a reverse ARP frame with the address that migrated, whoever
	 * pauses the guest meanwhile
	 */
	for (int i = 0; i < 5; i++) {
		assert_int_equal(recv(n->wire, frame, sizeof(frame), 0), 60);
		assert_memory_equal(frame, "\xff\xff\xff\xff\xff\xff", 6);
		assert_memory_equal(frame + 6, mac, 6);
		assert_int_equal(frame[12] << 8 | frame[13], 0x8035);
		if (i == 1) {
			assert_int_equal(to->ops->quiesce(to), 0);
			to->ops->resume(to);
		}
	}
	/* the guest's part: it is asked to each time, and says when it has */
	assert_int_equal(driver_read(&n->d, VIRTIO_MMIO_CONFIG_GENERATION) - generation, 5);
	assert_true(driver_wait_interrupt(&n->d) & VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(link_status(&n->d), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	to->ops->read(to, VIRTIO_MMIO_CONFIG, config, 6);
	assert_memory_equal(config, mac, 6);
	assert_int_equal(control(&n->d, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK),
			 VIRTIO_NET_OK);
	assert_int_equal(link_status(&n->d), VIRTIO_NET_S_LINK_UP);
	/* and the conversation continues */
	transmit(&n->d, frame, 60);
	assert_int_equal(recv(n->wire, frame, sizeof(frame), 0), 60);
	offer(&n->d, RX_GPA, 1526);
	assert_int_equal(send(n->wire, frame, 60, 0), 60);
	assert_int_equal(driver_wait(&n->d, Q_RX).len, HDR + 60);
}

static void an_aborted_migration_announces_nothing(void **state)
{
	struct net *n = *state;
	uint8_t frame[100];

	assert_int_equal(n->d.dev->ops->quiesce(n->d.dev), 0);
	n->d.dev->ops->resume(n->d.dev);
	assert_int_equal(recv(n->wire, frame, sizeof(frame), MSG_DONTWAIT), -1);
	assert_int_equal(link_status(&n->d), VIRTIO_NET_S_LINK_UP);
}

static void *flood(void *arg)
{
	struct net *n = arg;
	uint8_t frame[200] = { 0 };

	for (unsigned int i = 0; i < 2000; i++) {
		memcpy(frame, &i, sizeof(i));
		assert_int_equal(send(n->wire, frame, sizeof(frame), 0), sizeof(frame));
	}
	return NULL;
}

static void both_directions_at_once_in_order(void **state)
{
	struct net *n = *state;
	uint8_t frame[60] = { 0 }, got[100], *buf = driver_hva(&n->d, RX_GPA, 4096);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, flood, n), 0);
	for (unsigned int i = 0; i < 2000; i++) {
		unsigned int number;

		offer(&n->d, RX_GPA, 1526);
		transmit(&n->d, frame, sizeof(frame));
		assert_int_equal(driver_wait(&n->d, Q_RX).len, HDR + 200);
		memcpy(&number, buf + HDR, sizeof(number));
		assert_int_equal(number, i);
		assert_int_equal(recv(n->wire, got, sizeof(got), 0), 60);
	}
	pthread_join(thread, NULL);
}

static void addresses_are_parsed_strictly(void **state)
{
	static const char *const bad[] = { "",
					   "52:54:00:12:34",
					   "52:54:00:12:34:56:78",
					   "52:54:00:12:34:5",
					   "52-54-00-12-34-56",
					   "52:54:00:12:34:5g",
					   " 2:54:00:12:34:56",
					   "53:54:00:12:34:56",
					   "52:54:00:12:34:56 " };
	uint8_t got[6];

	assert_int_equal(mac_parse("52:54:00:12:34:56", got), 0);
	assert_memory_equal(got, mac, 6);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(mac_parse(bad[i], got), -EINVAL);
	assert_int_equal(tap_open(""), -EINVAL);
	assert_int_equal(tap_open("tap%d"), -EINVAL);
	assert_int_equal(tap_open("a-name-that-is-too-long"), -EINVAL);
}

static void a_real_tap_carries_frames(void **state)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct ifreq request = { 0 };
	struct driver d;
	struct virtio_model *model;
	uint8_t frame[60] = "\xff\xff\xff\xff\xff\xff\x52\x54\0\x12\x34\x56\x88\xb5hello",
		got[2000];
	int tap, packet;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "smt%d", (int)getpid());
	tap = tap_open(request.ifr_name);
	if (tap == -EPERM || tap == -ENODEV || tap == -EACCES) {
		print_message("# no tap here: %s\n", strerror(-tap));
		skip();
	}
	assert_true(tap >= 0);
	assert_int_equal(tap_open(request.ifr_name), -EBUSY);
	packet = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	assert_true(packet >= 0);
	assert_int_equal(ioctl(packet, SIOCGIFINDEX, &request), 0);
	addr.sll_ifindex = request.ifr_ifindex;
	request.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(packet, SIOCSIFFLAGS, &request), 0);
	assert_int_equal(bind(packet, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(virtio_net_create(&model, tap, mac), 0);
	driver_init(&d, model);
	driver_start(&d, 0);
	transmit(&d, frame, sizeof(frame));
	do {
		/* the host's own chatter on the new interface is not ours */
		assert_true(recv(packet, got, sizeof(got), 0) > 0);
	} while (memcmp(got + 12, frame + 12, 7) != 0);
	frame[0] = 0x52;
	offer(&d, RX_GPA, 1526);
	assert_int_equal(send(packet, frame, sizeof(frame), 0), sizeof(frame));
	for (;;) {
		driver_wait(&d, Q_RX);
		if (!memcmp((uint8_t *)driver_hva(&d, RX_GPA, 100) + HDR + 12, frame + 12, 7))
			break;
		offer(&d, RX_GPA, 1526);
	}
	driver_free(&d);
	close(packet);
}

#define net_test(f) cmocka_unit_test_setup_teardown(f, net_setup, net_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		net_test(the_configuration_gives_the_address),
		net_test(frames_leave_without_the_header),
		net_test(what_is_no_frame_is_dropped),
		net_test(frames_arrive_with_a_header),
		net_test(frames_wait_outside_until_there_is_a_buffer),
		net_test(a_frame_too_long_for_the_buffer_is_dropped_not_the_buffer),
		net_test(a_wire_that_is_cut_does_not_keep_it_busy),
		net_test(unknown_control_commands_are_refused),
		net_test(a_migrated_guest_is_announced_and_announces_itself),
		net_test(an_aborted_migration_announces_nothing),
		net_test(both_directions_at_once_in_order),
		cmocka_unit_test(addresses_are_parsed_strictly),
		cmocka_unit_test(a_real_tap_carries_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
