/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/devices/virtio_net.h"

#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/util/clock.h"

enum { QUEUE_RX, QUEUE_TX, QUEUE_CTRL, QUEUES };

#define QUEUE_SIZE	256
#define FRAME_BYTES_MAX 65536
#define HEADER_BYTES	sizeof(struct virtio_net_hdr_v1)
#define BURST		256 /* frames in one direction before the other has its turn */

/*
 * A migrated guest makes itself known more than once, since frames get lost while a network learns:
 * so long after the one before, ms. The times are those of QEMU's announce-self.
 */
static const unsigned int announce_after[] = { 0, 50, 150, 250, 350 };
#define ANNOUNCEMENTS (sizeof(announce_after) / sizeof(announce_after[0]))

struct virtio_net {
	struct virtio_model model;
	int fd;
	uint8_t mac[VIRTIO_NET_MAC_BYTES];
	_Atomic uint16_t status; /* VIRTIO_NET_S_...; the config space is read by vCPUs */
	bool rx_waits; /* the guest has buffers: frames are welcome. Worker thread */
	/*
	 * Of announce_after: how many are over, and when the next one is due, by CLOCK_MONOTONIC in
	 * ms. The worker's, or while it is parked.
	 */
	unsigned int announced;
	int64_t announce_at;
	struct virtq_chain chain;
	uint8_t frame[FRAME_BYTES_MAX];
	pthread_mutex_t stats_lock;
	struct virtio_net_stats stats;
};

static struct virtio_net *to_net(struct virtio_model *model)
{
	return (struct virtio_net *)model;
}

static uint64_t net_features(struct virtio_model *model)
{
	return 1ULL << VIRTIO_NET_F_MAC | 1ULL << VIRTIO_NET_F_STATUS |
	       1ULL << VIRTIO_NET_F_CTRL_VQ | 1ULL << VIRTIO_NET_F_GUEST_ANNOUNCE;
}

static size_t net_config(struct virtio_model *model, void *buf, size_t max)
{
	const struct virtio_net *n = to_net(model);
	struct virtio_net_config config = {
		.status = htole16(atomic_load_explicit(&n->status, memory_order_relaxed)),
	};
	size_t size = offsetof(struct virtio_net_config, max_virtqueue_pairs);

	memcpy(config.mac, n->mac, sizeof(config.mac));
	memcpy(buf, &config, size < max ? size : max);
	return size < max ? size : max;
}

static void net_count(struct virtio_net *n, uint64_t *packets, uint64_t *bytes, size_t len)
{
	pthread_mutex_lock(&n->stats_lock);
	(*packets)++;
	if (bytes)
		*bytes += len;
	pthread_mutex_unlock(&n->stats_lock);
}

/* A frame for the guest, into the next chain. Returns what virtqueue_pop() does. */
static int net_receive(struct virtio_net *n, struct virtqueue *vq, size_t len)
{
	const struct virtio_net_hdr_v1 header = { .gso_type = VIRTIO_NET_HDR_GSO_NONE,
						  .num_buffers = htole16(1) };
	int got = virtqueue_pop(vq, &n->chain);

	if (got <= 0)
		return got;
	if (n->chain.writable_bytes < HEADER_BYTES + len) {
		virtqueue_unpop(vq);
		net_count(n, &n->stats.rx_dropped, NULL, 0);
		return 1;
	}
	virtq_chain_write(vq, &n->chain, 0, &header, HEADER_BYTES);
	virtq_chain_write(vq, &n->chain, HEADER_BYTES, n->frame, len);
	virtio_complete(n->model.virtio, vq, n->chain.head, (uint32_t)(HEADER_BYTES + len));
	net_count(n, &n->stats.rx_packets, &n->stats.rx_bytes, len);
	return 1;
}

/*
 * Frames are taken from the tap only while the guest has a buffer, so that what waits while it has
 * none, or is stopped, waits in the kernel's queue and not in a state that would have to migrate.
 */
static int net_work_rx(struct virtio_net *n)
{
	struct virtqueue *vq = virtio_queue(n->model.virtio, QUEUE_RX);

	n->rx_waits = false;
	for (unsigned int i = 0; i < BURST && !virtio_must_stop(n->model.virtio); i++) {
		ssize_t len;
		int got;

		if (!virtqueue_has_buffers(vq)) {
			virtqueue_set_notify(vq, true);
			if (!virtqueue_has_buffers(vq))
				return 0;
		}
		virtqueue_set_notify(vq, false);
		len = read(n->fd, n->frame, sizeof(n->frame));
		if (len <= 0) {
			/*
			 * Nothing there; a tap that was taken away must not be polled, it would be
			 * ready for ever.
			 */
			n->rx_waits = len < 0 && (errno == EAGAIN || errno == EINTR);
			return 0;
		}
		got = net_receive(n, vq, (size_t)len);
		if (got < 0)
			return got;
	}
	n->rx_waits = true;
	return 0;
}

static void net_send(struct virtio_net *n)
{
	struct iovec iov[VIRTQUEUE_SEGMENTS_MAX];
	const struct virtq_chain *chain = &n->chain;
	uint64_t len = chain->readable_bytes - HEADER_BYTES;
	unsigned int count;

	if (chain->readable_bytes < HEADER_BYTES + ETH_HLEN || len > FRAME_BYTES_MAX) {
		net_count(n, &n->stats.tx_dropped, NULL, 0);
		return;
	}
	/* No offload was offered, so the header says nothing. */
	count = iov_slice(iov, chain->readable, chain->readable_count, HEADER_BYTES, len);
	if (writev(n->fd, iov, (int)count) < 0)
		net_count(n, &n->stats.tx_dropped, NULL, 0);
	else
		net_count(n, &n->stats.tx_packets, &n->stats.tx_bytes, len);
}

/* Handle a queue until it is empty, a burst at most. 1: there is more; 0; -EINVAL. */
static int net_drain(struct virtio_net *n, unsigned int index,
		     uint32_t (*handle)(struct virtio_net *n, struct virtqueue *vq))
{
	struct virtqueue *vq = virtio_queue(n->model.virtio, index);

	virtqueue_set_notify(vq, false);
	for (unsigned int i = 0; i < BURST && !virtio_must_stop(n->model.virtio); i++) {
		int got = virtqueue_pop(vq, &n->chain);

		if (got < 0)
			return got;
		if (got) {
			virtio_complete(n->model.virtio, vq, n->chain.head, handle(n, vq));
			continue;
		}
		virtqueue_set_notify(vq, true);
		if (!virtqueue_has_buffers(vq))
			return 0;
		virtqueue_set_notify(vq, false);
	}
	return 1;
}

static uint32_t net_handle_tx(struct virtio_net *n, struct virtqueue *vq)
{
	net_send(n);
	return 0;
}

/* The control queue (5.1.6.5): all that is offered of it is 'I have announced myself'. */
static uint32_t net_handle_ctrl(struct virtio_net *n, struct virtqueue *vq)
{
	struct virtio_net_ctrl_hdr header;
	uint8_t ack = VIRTIO_NET_ERR;

	if (virtq_chain_read(&n->chain, 0, &header, sizeof(header)) &&
	    header.class == VIRTIO_NET_CTRL_ANNOUNCE &&
	    header.cmd == VIRTIO_NET_CTRL_ANNOUNCE_ACK) {
		atomic_fetch_and_explicit(&n->status, (uint16_t)~VIRTIO_NET_S_ANNOUNCE,
					  memory_order_relaxed);
		ack = VIRTIO_NET_OK;
	}
	return virtq_chain_write(vq, &n->chain, 0, &ack, sizeof(ack)) ? sizeof(ack) : 0;
}

/*
 * A reverse ARP request (RFC 903) from the guest's address to everyone, as hypervisors send it
 * after a migration: switches learn the new port of the address although the guest has sent nothing
 * yet.
 */
static void net_send_rarp(struct virtio_net *n)
{
	uint8_t frame[60] = { 0 };
	static const uint8_t arp[] = { 0x80, 0x35, 0, 1, 0x08, 0, 6, 4, 0, 3 };

	memset(frame, 0xff, ETH_ALEN);
	memcpy(frame + 6, n->mac, ETH_ALEN);
	memcpy(frame + 12, arp, sizeof(arp));
	memcpy(frame + 22, n->mac, ETH_ALEN); /* the sender's hardware address */
	memcpy(frame + 32, n->mac,
	       ETH_ALEN); /* the target's, whose protocol address is asked for */
	if (write(n->fd, frame, sizeof(frame)) < 0)
		net_count(n, &n->stats.tx_dropped, NULL, 0);
}

/*
 * One announcement, if it is due: a guest that knows how is asked to make its addresses known
 * itself, and the host's frame goes.
 */
static void net_announce(struct virtio_net *n)
{
	int64_t now = (int64_t)clock_ms();

	if (n->announced == ANNOUNCEMENTS || now < n->announce_at)
		return;
	if (virtio_has_feature(n->model.virtio, VIRTIO_NET_F_GUEST_ANNOUNCE)) {
		atomic_fetch_or_explicit(&n->status, VIRTIO_NET_S_ANNOUNCE, memory_order_relaxed);
		virtio_config_changed(n->model.virtio);
	}
	net_send_rarp(n);
	if (++n->announced < ANNOUNCEMENTS)
		n->announce_at = now + announce_after[n->announced];
}

static int net_wait_ms(struct virtio_model *model)
{
	struct virtio_net *n = to_net(model);
	int64_t left = n->announce_at - (int64_t)clock_ms();

	if (n->announced == ANNOUNCEMENTS)
		return -1;
	return left > 0 ? (int)left : 0;
}

static int net_work(struct virtio_model *model)
{
	struct virtio_net *n = to_net(model);
	int more;

	net_announce(n);
	do {
		int ret = net_work_rx(n);

		if (ret)
			return ret;
		more = net_drain(n, QUEUE_TX, net_handle_tx);
		if (more < 0)
			return more;
		ret = net_drain(n, QUEUE_CTRL, net_handle_ctrl);
		if (ret < 0)
			return ret;
		more |= ret;
	} while (more && !virtio_must_stop(model->virtio));
	return 0;
}

static int net_wait_fd(struct virtio_model *model)
{
	struct virtio_net *n = to_net(model);

	return n->rx_waits ? n->fd : -1;
}

static void net_reset(struct virtio_model *model)
{
	struct virtio_net *n = to_net(model);

	n->rx_waits = false;
	n->announced = ANNOUNCEMENTS;
	atomic_store_explicit(&n->status, VIRTIO_NET_S_LINK_UP, memory_order_relaxed);
}

/*
 * The first announcement goes before the guest's first instruction here, whatever state its driver
 * is in.
 */
static void net_resume(struct virtio_model *model)
{
	struct virtio_net *n = to_net(model);

	if (!n->announced)
		net_announce(n);
}

static void net_save(struct virtio_model *model, struct state_writer *w)
{
	struct virtio_net *n = to_net(model);

	state_put(w, n->mac, sizeof(n->mac));
	state_put16(w, n->status);
}

static int net_load(struct virtio_model *model, struct state_reader *r)
{
	struct virtio_net *n = to_net(model);
	uint8_t mac[VIRTIO_NET_MAC_BYTES];
	uint16_t status;

	state_get(r, mac, sizeof(mac));
	status = state_get16(r);
	if (!state_complete(r) || (status & ~(VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE)) ||
	    (mac[0] & 1))
		return -EINVAL;
	memcpy(n->mac, mac, sizeof(mac));
	atomic_store_explicit(&n->status, status, memory_order_relaxed);
	n->rx_waits = false;
	n->announced = 0;
	n->announce_at = 0;
	return 0;
}

static void net_destroy(struct virtio_model *model)
{
	struct virtio_net *n = to_net(model);

	close(n->fd);
	pthread_mutex_destroy(&n->stats_lock);
	free(n);
}

static const struct virtio_model_ops net_ops = {
	.name = "virtio-net/1",
	.device_id = VIRTIO_ID_NET,
	.queues = QUEUES,
	.queue_size = QUEUE_SIZE,
	.features = net_features,
	.config = net_config,
	.work = net_work,
	.wait_fd = net_wait_fd,
	.wait_ms = net_wait_ms,
	.reset = net_reset,
	.resume = net_resume,
	.save = net_save,
	.load = net_load,
	.destroy = net_destroy,
};

void virtio_net_get_stats(struct virtio_model *model, struct virtio_net_stats *stats)
{
	struct virtio_net *n = to_net(model);

	pthread_mutex_lock(&n->stats_lock);
	*stats = n->stats;
	pthread_mutex_unlock(&n->stats_lock);
}

int virtio_net_create(struct virtio_model **model, int fd, const uint8_t mac[VIRTIO_NET_MAC_BYTES])
{
	struct virtio_net *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->model.ops = &net_ops;
	n->fd = fd;
	memcpy(n->mac, mac, sizeof(n->mac));
	n->status = VIRTIO_NET_S_LINK_UP;
	n->announced = ANNOUNCEMENTS;
	pthread_mutex_init(&n->stats_lock, NULL);
	*model = &n->model;
	return 0;
}

int mac_parse(const char *text, uint8_t mac[VIRTIO_NET_MAC_BYTES])
{
	for (unsigned int i = 0; i < VIRTIO_NET_MAC_BYTES; i++) {
		char digits[3] = { text[0], text[0] ? text[1] : '\0', '\0' };

		if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]))
			return -EINVAL;
		mac[i] = (uint8_t)strtoul(digits, NULL, 16);
		text += 2;
		if (*text++ != (i + 1 < VIRTIO_NET_MAC_BYTES ? ':' : '\0'))
			return -EINVAL;
	}
	return mac[0] & 1 ? -EINVAL : 0;
}
