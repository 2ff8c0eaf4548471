/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, 5.2) on a raw image file or a block device: read, write, flush, get-id. A
 * write lock (OFD, a read lock for read-only disks) on the image keeps a second VM away, on the
 * same machine and, where the file system carries locks, on others.
 *
 * At migration the disk is shared storage: virtio_blk_detach() at the source flushes, closes and
 * unlocks it when the target takes over. The target opens the image before the guest's memory moves
 * and checks it, and virtio_blk_attach() locks that same descriptor: nobody can put another file in
 * its place meanwhile.
 */
#ifndef VMM_DEVICES_VIRTIO_BLK_H
#define VMM_DEVICES_VIRTIO_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/devices/virtio.h"

#define VIRTIO_BLK_SERIAL_BYTES 20

struct virtio_blk_options {
	const char *path;
	/* NULL, or a directory: path is relative to it, without symbolic links and without a way
	 * out */
	const char *beneath;
	const char *serial; /* what get-id tells, at most VIRTIO_BLK_SERIAL_BYTES; NULL: none */
	bool read_only;
	/*
	 * Of a migration's target: how long the source's image is (0: this is no target). Then
	 * create() opens the image and checks that it is the one that the source has open, but
	 * neither locks nor changes it.
	 */
	uint64_t incoming_bytes;
};

struct virtio_blk_stats {
	uint64_t reads, writes, flushes;
	uint64_t bytes_read, bytes_written;
	uint64_t errors; /* requests that the host failed */
	int last_error; /* a negative errno, 0: none yet */
};

/*
 * 0; -EAGAIN: another VM holds the image; -EINVAL: not a file or block device, or no sector long;
 * -EXDEV, -ELOOP: the way leaves beneath, or there is a symbolic link on it; or what open() says.
 *
 * Of a target also -ESTALE: another size than incoming_bytes; -ENOLCK: nobody's lock shows. What
 * proves a writable file to be the source's is the source's lock: it shows here if the storage
 * carries locks between hosts, and then it keeps a second opener out, too. A block device has only
 * the locks of its own kernel and a read-only image needs none: of these the size is compared.
 * -EBADFD: a block device beneath a directory, where the source chose it by its name.
 */
int virtio_blk_create(struct virtio_model **model, const struct virtio_blk_options *options);

/*
 * Between quiesce() and resume(). detach: 0 or the flush's negative errno (closed in any case); a
 * detached disk fails every request. attach: as for create; -ESTALE when the image has not the size
 * that the guest knows, -EBADF when it is another file than the one that was detached. Both do
 * nothing the second time.
 */
int virtio_blk_detach(struct virtio_model *model);
int virtio_blk_attach(struct virtio_model *model);

/*
 * Write back what the host has in its cache, while the guest runs; not between detach and attach.
 * An error is kept for the guest's next flush, or for detach.
 */
void virtio_blk_flush(struct virtio_model *model);

/* How long the guest takes the disk to be. */
uint64_t virtio_blk_bytes(const struct virtio_model *model);

void virtio_blk_get_stats(struct virtio_model *model, struct virtio_blk_stats *stats);

#endif
