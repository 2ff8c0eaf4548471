/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/devices/virtio_blk.h"

#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECTOR_BYTES	  512U
#define QUEUE_SIZE	  256
#define SEGMENTS_MAX	  126U
#define SEGMENT_BYTES_MAX (512U << 10)
/*
 * A request that keeps the two limits above is smaller; a longer one would keep quiesce() waiting.
 */
#define REQUEST_BYTES_MAX (64U << 20)

struct virtio_blk {
	struct virtio_model model;
	char *path;
	char *beneath; /* NULL, or the directory that path is in */
	char serial[VIRTIO_BLK_SERIAL_BYTES];
	bool read_only;
	int fd;
	/* of a target, until it is locked: the image as it was checked; -1: none */
	int checked_fd;
	/* of the image that was open here last: another file does not take its place */
	dev_t dev;
	ino_t ino;
	_Atomic uint64_t sectors;
	/* one flush at a time: the kernel tells one of them of an error; owed keeps it */
	pthread_mutex_t flush_lock;
	int owed; /* an error of a flush that the guest has not been told; with flush_lock */
	struct virtq_chain chain;
	pthread_mutex_t stats_lock;
	struct virtio_blk_stats stats;
};

static struct virtio_blk *to_blk(struct virtio_model *model)
{
	return (struct virtio_blk *)model;
}

static int image_lock(int fd, bool read_only)
{
	struct flock lock = { .l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (!fcntl(fd, F_OFD_SETLK, &lock))
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static int image_size(int fd, uint64_t *bytes)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode))
		*bytes = (uint64_t)st.st_size;
	else if (!S_ISBLK(st.st_mode))
		return -EINVAL;
	else if (ioctl(fd, BLKGETSIZE64, bytes))
		return -errno;
	return *bytes < SECTOR_BYTES ? -EINVAL : 0;
}

/*
 * What this host still has cached from before may be older than what another host wrote since. Best
 * effort: dirty pages stay.
 */
static void image_drop_cache(int fd)
{
	struct stat st;

	if (!fstat(fd, &st) && S_ISBLK(st.st_mode) && ioctl(fd, BLKFLSBUF, 0) == 0)
		return;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int image_open_beneath(const char *dir, const char *path, int flags)
{
	struct open_how how = { .flags = (unsigned int)flags,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

	if (at < 0)
		return at;
	fd = (int)syscall(SYS_openat2, at, path, &how, sizeof(how));
	close(at);
	return fd;
}

/*
 * Without O_NONBLOCK a FIFO given by mistake would wait for ever; with it, a file that an NFS
 * server has delegated to another host would be refused, which is only to be waited for.
 */
static int image_open_file(const struct virtio_blk *b)
{
	int flags = (b->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK, fd;

	for (;; flags &= ~O_NONBLOCK) {
		fd = b->beneath ? image_open_beneath(b->beneath, b->path, flags) :
				  open(b->path, flags);
		if (fd >= 0)
			return fd;
		if (errno != EWOULDBLOCK || !(flags & O_NONBLOCK))
			return -errno;
	}
}

/* A lock that a write lock here would meet. */
static int image_locked(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_GETLK, &lock))
		return -errno;
	return lock.l_type == F_UNLCK ? -ENOLCK : 0;
}

/* Open the image of a target and see whether it is the source's. 0 or a negative errno. */
static int image_check(struct virtio_blk *b, uint64_t bytes)
{
	uint64_t here = 0;
	struct stat st;
	int err;

	b->checked_fd = image_open_file(b);
	if (b->checked_fd < 0)
		return b->checked_fd;
	err = image_size(b->checked_fd, &here);
	if (err)
		return err;
	if (here / SECTOR_BYTES != bytes / SECTOR_BYTES)
		return -ESTALE;
	b->sectors = here / SECTOR_BYTES;
	if (fstat(b->checked_fd, &st))
		return -errno;
	if (b->beneath && S_ISBLK(st.st_mode))
		return -EBADFD;
	return !b->read_only && S_ISREG(st.st_mode) ? image_locked(b->checked_fd) : 0;
}

/* The same file as before, and no other VM's: then b->fd. */
static int image_take(struct virtio_blk *b, int fd)
{
	uint64_t bytes = 0;
	struct stat st;
	int err = image_size(fd, &bytes);

	if (err)
		return err;
	if (fstat(fd, &st))
		return -errno;
	if (b->ino && (st.st_dev != b->dev || st.st_ino != b->ino))
		return -EBADF;
	if (b->sectors && bytes / SECTOR_BYTES != b->sectors)
		return -ESTALE;
	err = image_lock(fd, b->read_only);
	if (err)
		return err;
	image_drop_cache(fd);
	b->dev = st.st_dev;
	b->ino = st.st_ino;
	b->sectors = bytes / SECTOR_BYTES;
	b->fd = fd;
	return 0;
}

static int image_open(struct virtio_blk *b)
{
	int fd = image_open_file(b), err;

	if (fd < 0)
		return fd;
	err = image_take(b, fd);
	if (err)
		close(fd);
	return err;
}

static uint64_t blk_features(struct virtio_model *model)
{
	uint64_t features = 1ULL << VIRTIO_BLK_F_SIZE_MAX | 1ULL << VIRTIO_BLK_F_SEG_MAX |
			    1ULL << VIRTIO_BLK_F_FLUSH;

	if (to_blk(model)->read_only)
		features |= 1ULL << VIRTIO_BLK_F_RO;
	return features;
}

static size_t blk_config(struct virtio_model *model, void *buf, size_t max)
{
	const struct virtio_blk *b = to_blk(model);
	const struct virtio_blk_config config = {
		.capacity = htole64(atomic_load_explicit(&b->sectors, memory_order_relaxed)),
		.size_max = htole32(SEGMENT_BYTES_MAX),
		.seg_max = htole32(SEGMENTS_MAX),
	};
	/* Up to the first field of a feature that is not offered. */
	size_t size = offsetof(struct virtio_blk_config, geometry);

	memcpy(buf, &config, size < max ? size : max);
	return size < max ? size : max;
}

/*
 * All of a scatter list at a file offset. 0 or a negative errno; an end of file before the end of
 * the list is -EIO.
 */
static int blk_transfer(const struct virtio_blk *b, bool write, const struct iovec *iov,
			unsigned int count, uint64_t at)
{
	struct iovec rest[VIRTQUEUE_SEGMENTS_MAX];
	uint64_t done = 0, total = 0;

	for (unsigned int i = 0; i < count; i++)
		total += iov[i].iov_len;
	while (done < total) {
		unsigned int n = iov_slice(rest, iov, count, done, total - done);
		ssize_t moved = write ? pwritev(b->fd, rest, (int)n, (off_t)(at + done)) :
					preadv(b->fd, rest, (int)n, (off_t)(at + done));

		if (moved < 0 && errno == EINTR)
			continue;
		if (moved <= 0)
			return moved < 0 ? -errno : -EIO;
		done += (uint64_t)moved;
	}
	return 0;
}

static bool blk_in_range(const struct virtio_blk *b, uint64_t sector, uint64_t bytes)
{
	return bytes && bytes <= REQUEST_BYTES_MAX && bytes % SECTOR_BYTES == 0 &&
	       sector < b->sectors && bytes / SECTOR_BYTES <= b->sectors - sector;
}

static void blk_count(struct virtio_blk *b, uint64_t *what, uint64_t *bytes_what, uint64_t bytes,
		      int err)
{
	pthread_mutex_lock(&b->stats_lock);
	if (err) {
		b->stats.errors++;
		b->stats.last_error = err;
	} else {
		(*what)++;
		if (bytes_what)
			*bytes_what += bytes;
	}
	pthread_mutex_unlock(&b->stats_lock);
}

static uint8_t blk_read(struct virtio_blk *b, struct virtqueue *vq, uint64_t sector,
			uint32_t *written)
{
	struct virtq_chain *chain = &b->chain;
	uint64_t bytes = chain->writable_bytes - 1;
	struct iovec iov[VIRTQUEUE_SEGMENTS_MAX];
	unsigned int n;
	int err;

	if (!blk_in_range(b, sector, bytes))
		return VIRTIO_BLK_S_IOERR;
	n = iov_slice(iov, chain->writable, chain->writable_count, 0, bytes);
	err = blk_transfer(b, false, iov, n, sector * SECTOR_BYTES);
	/* A read that failed half-way wrote something too. */
	virtq_chain_mark_dirty(vq, chain, 0, bytes);
	blk_count(b, &b->stats.reads, &b->stats.bytes_read, bytes, err);
	*written = err ? 0 : (uint32_t)bytes;
	return err ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

static uint8_t blk_write(struct virtio_blk *b, uint64_t sector)
{
	const struct virtq_chain *chain = &b->chain;
	uint64_t header = sizeof(struct virtio_blk_outhdr);
	uint64_t bytes = chain->readable_bytes - header;
	struct iovec iov[VIRTQUEUE_SEGMENTS_MAX];
	unsigned int n;
	int err;

	if (b->read_only || !blk_in_range(b, sector, bytes))
		return VIRTIO_BLK_S_IOERR;
	n = iov_slice(iov, chain->readable, chain->readable_count, header, bytes);
	err = blk_transfer(b, true, iov, n, sector * SECTOR_BYTES);
	blk_count(b, &b->stats.writes, &b->stats.bytes_written, bytes, err);
	return err ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

static uint8_t blk_flush_request(struct virtio_blk *b)
{
	int err;

	pthread_mutex_lock(&b->flush_lock);
	err = fdatasync(b->fd) ? -errno : b->owed;
	b->owed = 0;
	pthread_mutex_unlock(&b->flush_lock);
	blk_count(b, &b->stats.flushes, NULL, 0, err);
	return err ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

/*
 * One request (5.2.6). Returns the bytes written to the chain. The last writable byte is the
 * status.
 */
static uint32_t blk_request(struct virtio_blk *b, struct virtqueue *vq)
{
	struct virtq_chain *chain = &b->chain;
	struct virtio_blk_outhdr header;
	uint32_t written = 0;
	uint8_t status;

	if (!chain->writable_bytes)
		return 0;
	if (!virtq_chain_read(chain, 0, &header, sizeof(header))) {
		status = VIRTIO_BLK_S_IOERR;
	} else {
		switch (le32toh(header.type)) {
		case VIRTIO_BLK_T_IN:
			status = blk_read(b, vq, le64toh(header.sector), &written);
			break;
		case VIRTIO_BLK_T_OUT:
			status = blk_write(b, le64toh(header.sector));
			break;
		case VIRTIO_BLK_T_FLUSH:
			status = blk_flush_request(b);
			break;
		case VIRTIO_BLK_T_GET_ID:
			written = sizeof(b->serial);
			status = VIRTIO_BLK_S_OK;
			if (chain->writable_bytes <= written ||
			    !virtq_chain_write(vq, chain, 0, b->serial, sizeof(b->serial))) {
				written = 0;
				status = VIRTIO_BLK_S_IOERR;
			}
			break;
		default:
			status = VIRTIO_BLK_S_UNSUPP;
			break;
		}
	}
	virtq_chain_write(vq, chain, chain->writable_bytes - 1, &status, 1);
	return written + 1;
}

static int blk_work(struct virtio_model *model)
{
	struct virtio_blk *b = to_blk(model);
	struct virtqueue *vq = virtio_queue(model->virtio, 0);
	int got;

	do {
		virtqueue_set_notify(vq, false);
		while (!virtio_must_stop(model->virtio)) {
			got = virtqueue_pop(vq, &b->chain);
			if (got < 0)
				return got;
			if (!got)
				break;
			virtio_complete(model->virtio, vq, b->chain.head, blk_request(b, vq));
		}
		virtqueue_set_notify(vq, true);
	} while (virtqueue_has_buffers(vq) && !virtio_must_stop(model->virtio));
	return 0;
}

/*
 * The kernel tells of writes that were lost (of a full file system, when it is NFS) once. Until the
 * guest has heard of it, by a flush of its own, it takes for safe what is gone: so it is not to
 * leave this host.
 */
static int blk_flush(struct virtio_model *model)
{
	struct virtio_blk *b = to_blk(model);
	int owed;

	if (b->fd < 0 || b->read_only)
		return 0;
	pthread_mutex_lock(&b->flush_lock);
	if (fdatasync(b->fd))
		b->owed = -errno;
	owed = b->owed;
	pthread_mutex_unlock(&b->flush_lock);
	return owed;
}

void virtio_blk_flush(struct virtio_model *model)
{
	(void)blk_flush(model);
}

static void blk_save(struct virtio_model *model, struct state_writer *w)
{
	const struct virtio_blk *b = to_blk(model);

	state_put64(w, b->sectors);
	state_put8(w, b->read_only);
}

static int blk_load(struct virtio_model *model, struct state_reader *r)
{
	struct virtio_blk *b = to_blk(model);
	uint64_t sectors = state_get64(r);
	bool read_only = state_get_bool(r);

	if (!state_complete(r) || !sectors || sectors > INT64_MAX / SECTOR_BYTES ||
	    read_only != b->read_only)
		return -EINVAL;
	/* An image that is open already is as long as it is, whatever the source says now. */
	if (b->sectors && sectors != b->sectors)
		return -EINVAL;
	atomic_store_explicit(&b->sectors, sectors, memory_order_relaxed);
	return 0;
}

static void blk_destroy(struct virtio_model *model)
{
	struct virtio_blk *b = to_blk(model);

	if (b->fd >= 0)
		close(b->fd);
	if (b->checked_fd >= 0)
		close(b->checked_fd);
	pthread_mutex_destroy(&b->flush_lock);
	pthread_mutex_destroy(&b->stats_lock);
	free(b->path);
	free(b->beneath);
	free(b);
}

static const struct virtio_model_ops blk_ops = {
	.name = "virtio-blk/1",
	.device_id = VIRTIO_ID_BLOCK,
	.queues = 1,
	.queue_size = QUEUE_SIZE,
	.features = blk_features,
	.config = blk_config,
	.work = blk_work,
	.flush = blk_flush,
	.save = blk_save,
	.load = blk_load,
	.destroy = blk_destroy,
};

int virtio_blk_detach(struct virtio_model *model)
{
	struct virtio_blk *b = to_blk(model);
	int ret = blk_flush(model);

	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
	return ret;
}

int virtio_blk_attach(struct virtio_model *model)
{
	struct virtio_blk *b = to_blk(model);
	int err;

	if (b->fd >= 0)
		return 0;
	if (b->checked_fd < 0)
		return image_open(b);
	err = image_take(b, b->checked_fd);
	if (!err)
		b->checked_fd = -1;
	return err;
}

uint64_t virtio_blk_bytes(const struct virtio_model *model)
{
	const struct virtio_blk *b = (const struct virtio_blk *)model;

	return atomic_load_explicit(&b->sectors, memory_order_relaxed) * SECTOR_BYTES;
}

void virtio_blk_get_stats(struct virtio_model *model, struct virtio_blk_stats *stats)
{
	struct virtio_blk *b = to_blk(model);

	pthread_mutex_lock(&b->stats_lock);
	*stats = b->stats;
	pthread_mutex_unlock(&b->stats_lock);
}

int virtio_blk_create(struct virtio_model **model, const struct virtio_blk_options *options)
{
	size_t serial = options->serial ? strlen(options->serial) : 0;
	struct virtio_blk *b;
	int ret = -ENOMEM;

	if (serial > VIRTIO_BLK_SERIAL_BYTES)
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	pthread_mutex_init(&b->stats_lock, NULL);
	pthread_mutex_init(&b->flush_lock, NULL);
	b->model.ops = &blk_ops;
	b->fd = b->checked_fd = -1;
	b->read_only = options->read_only;
	if (serial)
		memcpy(b->serial, options->serial, serial);
	b->path = strdup(options->path);
	b->beneath = options->beneath ? strdup(options->beneath) : NULL;
	if (!b->path || (options->beneath && !b->beneath))
		goto fail;
	ret = options->incoming_bytes ? image_check(b, options->incoming_bytes) : image_open(b);
	if (ret)
		goto fail;
	*model = &b->model;
	return 0;
fail:
	blk_destroy(&b->model);
	return ret;
}
