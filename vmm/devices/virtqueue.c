/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/devices/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/*
 * The rings' sizes in bytes, with the event index at the end of each whether it is negotiated or
 * not (virtio 1.2, 2.7).
 */
static uint64_t avail_bytes(uint16_t size)
{
	return 4 + 2ULL * size + 2;
}

static uint64_t used_bytes(uint16_t size)
{
	return 4 + 8ULL * size + 2;
}

/* struct vring_desc wherever the guest put it. */
struct __attribute__((packed)) unaligned_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
_Static_assert(sizeof(struct unaligned_desc) == sizeof(struct vring_desc), "the same bytes");

int virtqueue_start(struct virtqueue *vq, uint16_t next_avail, uint16_t next_used)
{
	uint16_t size = vq->size;

	vq->ready = false;
	if (!size || size > VIRTQUEUE_SIZE_MAX || (size & (size - 1)))
		return -EINVAL;
	if (vq->desc_gpa % 16 || vq->avail_gpa % 2 || vq->used_gpa % 4)
		return -EINVAL;
	vq->desc = guest_memory_hva(vq->memory, vq->desc_gpa, sizeof(struct vring_desc) * size);
	vq->avail = guest_memory_hva(vq->memory, vq->avail_gpa, avail_bytes(size));
	vq->used = guest_memory_hva(vq->memory, vq->used_gpa, used_bytes(size));
	if (!vq->desc || !vq->avail || !vq->used)
		return -EINVAL;
	vq->next_avail = next_avail;
	vq->next_used = next_used;
	vq->signalled_valid = false;
	vq->ready = true;
	return 0;
}

void virtqueue_stop(struct virtqueue *vq)
{
	vq->ready = false;
	vq->desc = NULL;
	vq->avail = NULL;
	vq->used = NULL;
	vq->next_avail = 0;
	vq->next_used = 0;
}

static uint16_t load16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

/*
 * One descriptor, each field loaded once. An indirect table may be at any address (virtio 1.2,
 * 2.7.5.3 asks for no alignment), where an atomic load is undefined: volatile does what is needed
 * on x86, but ThreadSanitizer takes a guest that writes meanwhile for a data race.
 */
__attribute__((no_sanitize("thread"))) static struct vring_desc load_desc(const void *table,
									  uint32_t i)
{
	const volatile struct unaligned_desc *p = table;
	struct vring_desc d = {
		.addr = le64toh(p[i].addr),
		.len = le32toh(p[i].len),
		.flags = le16toh(p[i].flags),
		.next = le16toh(p[i].next),
	};

	return d;
}

bool virtqueue_has_buffers(struct virtqueue *vq)
{
	if (!vq->ready)
		return false;
	return le16toh(__atomic_load_n(&vq->avail->idx, __ATOMIC_ACQUIRE)) != vq->next_avail;
}

static int chain_add(struct virtqueue *vq, struct virtq_chain *chain, const struct vring_desc *d)
{
	void *hva = guest_memory_hva(vq->memory, d->addr, d->len);

	if (!hva || !d->len)
		return -EINVAL;
	if (d->flags & VRING_DESC_F_WRITE) {
		chain->writable[chain->writable_count] = (struct iovec){ hva, d->len };
		chain->writable_gpa[chain->writable_count++] = d->addr;
		chain->writable_bytes += d->len;
		return 0;
	}
	/* Virtio 1.2, 2.7.4.2: what the device writes comes behind all that it reads. */
	if (chain->writable_count)
		return -EINVAL;
	chain->readable[chain->readable_count++] = (struct iovec){ hva, d->len };
	chain->readable_bytes += d->len;
	return 0;
}

/*
 * Follow a chain through a table of count descriptors. The number of segments is bounded, so a loop
 * ends. An indirect descriptor continues in its own table, from which no way leads back.
 */
static int chain_walk(struct virtqueue *vq, struct virtq_chain *chain, uint16_t at)
{
	const void *table = vq->desc;
	uint32_t count = vq->size;
	bool in_indirect = false;

	for (unsigned int n = 0; n < VIRTQUEUE_SEGMENTS_MAX + 1; n++) {
		struct vring_desc d;
		int ret;

		if (at >= count)
			return -EINVAL;
		d = load_desc(table, at);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (!vq->indirect || in_indirect || (d.flags & VRING_DESC_F_NEXT) ||
			    !d.len || d.len % sizeof(d) ||
			    d.len / sizeof(d) > VIRTQUEUE_SEGMENTS_MAX)
				return -EINVAL;
			table = guest_memory_hva(vq->memory, d.addr, d.len);
			if (!table)
				return -EINVAL;
			count = d.len / sizeof(d);
			at = 0;
			in_indirect = true;
			continue;
		}
		if (chain->readable_count + chain->writable_count == VIRTQUEUE_SEGMENTS_MAX)
			return -EINVAL;
		ret = chain_add(vq, chain, &d);
		if (ret)
			return ret;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		at = d.next;
	}
	return -EINVAL;
}

int virtqueue_pop(struct virtqueue *vq, struct virtq_chain *chain)
{
	uint16_t idx, waiting, head;
	int ret;

	if (!vq->ready)
		return 0;
	idx = le16toh(__atomic_load_n(&vq->avail->idx, __ATOMIC_ACQUIRE));
	waiting = idx - vq->next_avail;
	if (!waiting)
		return 0;
	if (waiting > vq->size)
		return -EINVAL;
	head = load16(&vq->avail->ring[vq->next_avail & (vq->size - 1)]);
	if (head >= vq->size)
		return -EINVAL;
	chain->head = head;
	chain->readable_count = 0;
	chain->writable_count = 0;
	chain->readable_bytes = 0;
	chain->writable_bytes = 0;
	ret = chain_walk(vq, chain, head);
	if (ret)
		return ret;
	vq->next_avail++;
	return 1;
}

void virtqueue_unpop(struct virtqueue *vq)
{
	vq->next_avail--;
}

void virtqueue_push(struct virtqueue *vq, uint16_t head, uint32_t written)
{
	unsigned int slot = vq->next_used & (vq->size - 1);
	struct vring_used_elem *elem = &vq->used->ring[slot];

	__atomic_store_n(&elem->id, htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, htole32(written), __ATOMIC_RELAXED);
	guest_memory_mark_dirty(vq->memory, vq->used_gpa + 4 + 8ULL * slot, sizeof(*elem));
	vq->next_used++;
	__atomic_store_n(&vq->used->idx, htole16(vq->next_used), __ATOMIC_RELEASE);
	guest_memory_mark_dirty(vq->memory, vq->used_gpa, 4);
}

bool virtqueue_wants_interrupt(struct virtqueue *vq)
{
	uint16_t used_event, before = vq->signalled;
	bool first = !vq->signalled_valid;

	if (!vq->ready || (!first && before == vq->next_used))
		return false;
	/* The used index must be out before the driver's wish is read (virtio 1.2, 2.7.7.2). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	vq->signalled = vq->next_used;
	vq->signalled_valid = true;
	if (!vq->event_idx)
		return !(load16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	used_event = load16(&vq->avail->ring[vq->size]);
	return first || vring_need_event(used_event, vq->next_used, before);
}

void virtqueue_set_notify(struct virtqueue *vq, bool on)
{
	if (!vq->ready)
		return;
	if (vq->event_idx) {
		/* Off needs nothing: the index that was asked for is behind. */
		uint16_t *avail_event = (uint16_t *)&vq->used->ring[vq->size];

		if (!on)
			return;
		__atomic_store_n(avail_event, htole16(vq->next_avail), __ATOMIC_RELAXED);
		guest_memory_mark_dirty(vq->memory, vq->used_gpa + used_bytes(vq->size) - 2, 2);
	} else {
		__atomic_store_n(&vq->used->flags, htole16(on ? 0 : VRING_USED_F_NO_NOTIFY),
				 __ATOMIC_RELAXED);
		guest_memory_mark_dirty(vq->memory, vq->used_gpa, 4);
	}
	if (on)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

unsigned int iov_slice(struct iovec *out, const struct iovec *iov, unsigned int count,
		       uint64_t offset, uint64_t len)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < count && len; i++) {
		uint64_t part;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		part = iov[i].iov_len - offset;
		if (part > len)
			part = len;
		out[n++] = (struct iovec){ (uint8_t *)iov[i].iov_base + offset, part };
		offset = 0;
		len -= part;
	}
	return n;
}

bool virtq_chain_read(const struct virtq_chain *chain, uint64_t offset, void *buf, size_t len)
{
	uint8_t *to = buf;

	if (offset > chain->readable_bytes || len > chain->readable_bytes - offset)
		return false;
	for (unsigned int i = 0; i < chain->readable_count && len; i++) {
		struct iovec part;

		if (!iov_slice(&part, &chain->readable[i], 1, offset, len)) {
			offset -= chain->readable[i].iov_len;
			continue;
		}
		memcpy(to, part.iov_base, part.iov_len);
		to += part.iov_len;
		len -= part.iov_len;
		offset = 0;
	}
	return true;
}

bool virtq_chain_write(struct virtqueue *vq, const struct virtq_chain *chain, uint64_t offset,
		       const void *buf, size_t len)
{
	const uint8_t *from = buf;
	uint64_t at = offset;
	size_t left = len;

	if (offset > chain->writable_bytes || len > chain->writable_bytes - offset)
		return false;
	for (unsigned int i = 0; i < chain->writable_count && left; i++) {
		struct iovec part;

		if (!iov_slice(&part, &chain->writable[i], 1, at, left)) {
			at -= chain->writable[i].iov_len;
			continue;
		}
		memcpy(part.iov_base, from, part.iov_len);
		from += part.iov_len;
		left -= part.iov_len;
		at = 0;
	}
	virtq_chain_mark_dirty(vq, chain, offset, len);
	return true;
}

void virtq_chain_mark_dirty(struct virtqueue *vq, const struct virtq_chain *chain, uint64_t offset,
			    uint64_t len)
{
	for (unsigned int i = 0; i < chain->writable_count && len; i++) {
		uint64_t have = chain->writable[i].iov_len;
		uint64_t part;

		if (offset >= have) {
			offset -= have;
			continue;
		}
		part = have - offset;
		if (part > len)
			part = len;
		guest_memory_mark_dirty(vq->memory, chain->writable_gpa[i] + offset, part);
		offset = 0;
		len -= part;
	}
}
