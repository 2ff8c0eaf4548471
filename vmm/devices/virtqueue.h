/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue, the device's side (virtio 1.2, 2.7). Everything in the rings is written by the
 * guest and may change at any moment: each field is loaded once, checked, and only the copy is
 * used. Addresses become host pointers only by guest_memory_hva().
 *
 * Not thread-safe: one thread works a queue, and it is set up and torn down while that thread does
 * not.
 */
#ifndef VMM_DEVICES_VIRTQUEUE_H
#define VMM_DEVICES_VIRTQUEUE_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/memory.h"

#define VIRTQUEUE_SIZE_MAX 256
/* of one chain, indirect ones too: what the specification allows for such a queue */
#define VIRTQUEUE_SEGMENTS_MAX 256

struct virtqueue {
	struct guest_memory *memory;
	/* set by the driver */
	uint16_t size;
	uint64_t desc_gpa;
	uint64_t avail_gpa;
	uint64_t used_gpa;
	bool event_idx; /* VIRTIO_RING_F_EVENT_IDX was negotiated */
	bool indirect; /* VIRTIO_RING_F_INDIRECT_DESC was */
	/* valid while ready */
	bool ready;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail; /* index of the next buffer to take; runs through 65535 */
	uint16_t next_used;
	uint16_t signalled; /* next_used when the driver was last interrupted */
	bool signalled_valid;
};

/*
 * Buffers that the driver made available together: first what the device reads, then what it
 * writes. Bounds are checked.
 */
struct virtq_chain {
	uint16_t head;
	unsigned int readable_count;
	unsigned int writable_count;
	uint64_t readable_bytes;
	uint64_t writable_bytes;
	struct iovec readable[VIRTQUEUE_SEGMENTS_MAX];
	struct iovec writable[VIRTQUEUE_SEGMENTS_MAX];
	uint64_t writable_gpa[VIRTQUEUE_SEGMENTS_MAX];
};

/*
 * Take the addresses that the driver set into use, starting at the given indexes (0 and 0, or saved
 * ones). -EINVAL: the size is not a power of two up to VIRTQUEUE_SIZE_MAX, or a ring is misaligned
 * or not in RAM. Reads no guest memory.
 */
int virtqueue_start(struct virtqueue *vq, uint16_t next_avail, uint16_t next_used);
void virtqueue_stop(struct virtqueue *vq);

/*
 * The next chain: 1, or 0 when there is none (or the queue is not ready), or -EINVAL when the ring
 * is broken: then the device must ask for a reset and not touch the queue again. Each chain taken
 * is given back by virtqueue_push(), or, if it was the last one taken, by virtqueue_unpop().
 */
int virtqueue_pop(struct virtqueue *vq, struct virtq_chain *chain);
void virtqueue_unpop(struct virtqueue *vq);
bool virtqueue_has_buffers(struct virtqueue *vq);

/* Give a chain back; written: bytes written into its writable part. */
void virtqueue_push(struct virtqueue *vq, uint16_t head, uint32_t written);

/* Whether the driver wants an interrupt for what was pushed since this was last asked. */
bool virtqueue_wants_interrupt(struct virtqueue *vq);

/*
 * Ask the driver to notify, or not to. After switching on look at virtqueue_has_buffers() once
 * more.
 */
void virtqueue_set_notify(struct virtqueue *vq, bool on);

/* Copy len bytes at offset of the readable part; false (and nothing copied) if it is shorter. */
bool virtq_chain_read(const struct virtq_chain *chain, uint64_t offset, void *buf, size_t len);

/*
 * Copy len bytes to offset of the writable part and mark them dirty; false (and nothing copied) if
 * it is shorter.
 */
bool virtq_chain_write(struct virtqueue *vq, const struct virtq_chain *chain, uint64_t offset,
		       const void *buf, size_t len);

/*
 * Say that [offset, offset + len) of the writable part was written by other means (preadv). Clipped
 * to the part.
 */
void virtq_chain_mark_dirty(struct virtqueue *vq, const struct virtq_chain *chain, uint64_t offset,
			    uint64_t len);

/*
 * The part [offset, offset + len) of a scatter list as a scatter list; returns the number of
 * entries written to out (room for count). What is behind the end of the list is left out.
 */
unsigned int iov_slice(struct iovec *out, const struct iovec *iov, unsigned int count,
		       uint64_t offset, uint64_t len);

#endif
