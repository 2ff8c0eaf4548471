/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2, 5.1) on a tap: one pair of queues, no offloads,
 * VIRTIO_NET_F_GUEST_ANNOUNCE. After a migration the device tells the network where the guest is
 * now, several times within a second: by a RARP frame of its own and by asking the guest to
 * announce itself.
 */
#ifndef VMM_DEVICES_VIRTIO_NET_H
#define VMM_DEVICES_VIRTIO_NET_H

#include <stdint.h>

#include "vmm/devices/virtio.h"

#define VIRTIO_NET_MAC_BYTES 6

struct virtio_net_stats {
	uint64_t rx_packets, rx_bytes,
		rx_dropped; /* to the guest; dropped: longer than the guest's buffer */
	uint64_t tx_packets, tx_bytes,
		tx_dropped; /* from the guest; dropped: not a frame, or the tap refused it */
};

/*
 * fd: a non-blocking descriptor on which each read and write is one Ethernet frame without any
 * header: a tap (vmm/tap.h), or a packet socket. The device takes it over on success. 0 or
 * -ENOMEM.
 */
int virtio_net_create(struct virtio_model **model, int fd, const uint8_t mac[VIRTIO_NET_MAC_BYTES]);

void virtio_net_get_stats(struct virtio_model *model, struct virtio_net_stats *stats);

/* Parse "52:54:00:12:34:56". -EINVAL: not that, or a group address. */
int mac_parse(const char *text, uint8_t mac[VIRTIO_NET_MAC_BYTES]);

#endif
