/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, 5.2) on a raw image file or a block device: read, write, flush, get-id. A
 * write lock (OFD, a read lock for read-only disks) on the image keeps a second VM away, on the
 * same machine and, where the file system carries locks, on others.
 *
 * At migration the disk is shared storage: virtio_blk_detach() at the source flushes, closes and
 * unlocks it when the target takes over, virtio_blk_attach() at the target opens and locks it.
 */
#ifndef VMM_DEVICES_VIRTIO_BLK_H
#define VMM_DEVICES_VIRTIO_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/devices/virtio.h"

#define VIRTIO_BLK_SERIAL_BYTES 20

struct virtio_blk_options {
	const char *path;
	const char *serial; /* what get-id tells, at most VIRTIO_BLK_SERIAL_BYTES; NULL: none */
	bool read_only;
	/*
	 * a migration's target: do not open yet; the size comes with the state, virtio_blk_attach()
	 * opens
	 */
	bool deferred;
};

struct virtio_blk_stats {
	uint64_t reads, writes, flushes;
	uint64_t bytes_read, bytes_written;
	uint64_t errors; /* requests that the host failed */
	int last_error; /* a negative errno, 0: none yet */
};

/*
 * 0; -EAGAIN: another VM holds the image; -EINVAL: not a file or block device, or no sector long;
 * or what open() says.
 */
int virtio_blk_create(struct virtio_model **model, const struct virtio_blk_options *options);

/*
 * Between quiesce() and resume(). detach: 0 or the flush's negative errno (closed all the same); a
 * detached disk fails every request. attach: as for create, and -ESTALE when the image has not the
 * size that the guest knows. Both do nothing the second time.
 */
int virtio_blk_detach(struct virtio_model *model);
int virtio_blk_attach(struct virtio_model *model);

/* How long the guest takes the disk to be. */
uint64_t virtio_blk_bytes(const struct virtio_model *model);

/*
 * Is the image at path the one that another host has open, and bytes long? It is looked at, neither
 * locked nor changed. What proves a writable file to be the same one is that host's lock: it shows
 * here where the storage carries locks between hosts, and then it will keep a second opener out,
 * too. A block device has only the locks of its own kernel and a read-only image needs none: of
 * these the size is compared. 0; -EINVAL: neither file nor block device; -ESTALE: another size;
 * -ENOLCK: nobody's lock shows; or what open() says.
 */
int virtio_blk_probe(const char *path, bool read_only, uint64_t bytes);

void virtio_blk_get_stats(struct virtio_model *model, struct virtio_blk_stats *stats);

#endif
