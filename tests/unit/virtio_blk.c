/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk: requests by the book and against it, the image's lock, and the hand-over at a
 * migration.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/virtio_driver.h"
#include "vmm/devices/virtio_blk.h"

#define SECTORS 64
#define HEADER	0x100000ULL
#define DATA	0x200000ULL
#define STATUS	0x300000ULL

static char path[] = "/tmp/test-blk-XXXXXX";

/*
 * In the place of the C library's: what a full file system says where writes are kept back until
 * then (NFS), and says once.
 */
static int flush_error;

int fdatasync(int fd)
{
	int err = flush_error;

	flush_error = 0;
	if (!err)
		return fsync(fd);
	errno = err;
	return -1;
}

static void image_reset(void)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	for (unsigned int i = 0; i < SECTORS; i++) {
		uint8_t sector[512];

		memset(sector, (int)i, sizeof(sector));
		assert_int_equal(write(fd, sector, sizeof(sector)), sizeof(sector));
	}
	close(fd);
}

/* A target's, while the source has the image. */
static struct virtio_model *blk_new(bool read_only, bool incoming)
{
	const struct virtio_blk_options options = { .path = path,
						    .serial = "disk-one",
						    .read_only = read_only,
						    .incoming_bytes =
							    incoming ? SECTORS * 512 : 0 };
	struct virtio_model *model;

	assert_int_equal(virtio_blk_create(&model, &options), 0);
	return model;
}

static int setup(void **state, bool read_only)
{
	struct driver *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	image_reset();
	driver_init(d, blk_new(read_only, false));
	driver_start(d, 0);
	*state = d;
	return 0;
}

static int blk_setup(void **state)
{
	return setup(state, false);
}

static int blk_setup_ro(void **state)
{
	return setup(state, true);
}

static int blk_teardown(void **state)
{
	driver_free(*state);
	free(*state);
	return 0;
}

/*
 * A request with its data in one piece at DATA; returns the status byte. used: bytes that the
 * device says it wrote.
 */
static int request(struct driver *d, uint32_t type, uint64_t sector, uint32_t bytes, bool in,
		   uint32_t *used)
{
	struct virtio_blk_outhdr *header = driver_hva(d, HEADER, sizeof(*header));
	uint8_t *status = driver_hva(d, STATUS, 1);
	struct driver_segment segments[3] = { { HEADER, sizeof(*header), false },
					      { DATA, bytes, in } };
	unsigned int n = bytes ? 2 : 1;
	struct vring_used_elem elem;

	*header = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	*status = 0xff;
	segments[n++] = (struct driver_segment){ STATUS, 1, true };
	driver_add(d, 0, segments, n, d->queues[0].published % 2);
	driver_kick(d, 0);
	elem = driver_wait(d, 0);
	if (used)
		*used = elem.len;
	return *status;
}

static void the_configuration_gives_the_size(void **state)
{
	struct driver *d = *state;
	uint64_t capacity;
	uint32_t v;

	d->dev->ops->read(d->dev, VIRTIO_MMIO_CONFIG, &capacity, 8);
	assert_int_equal(capacity, SECTORS);
	v = driver_read(d, VIRTIO_MMIO_CONFIG + 12);
	assert_int_equal(v, 126);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_CONFIG + 16), 0);
	assert_int_equal(driver_read(d, 0xffc), 0);
	assert_false(driver_offered(d) >> VIRTIO_BLK_F_RO & 1);
	assert_true(driver_offered(d) >> VIRTIO_BLK_F_FLUSH & 1);
}

static void sectors_are_read_written_and_flushed(void **state)
{
	struct driver *d = *state;
	uint8_t *data = driver_hva(d, DATA, 4096), sector[512];
	struct virtio_blk_stats stats;
	uint32_t used;
	int fd;

	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 5, 1024, true, &used), VIRTIO_BLK_S_OK);
	assert_int_equal(used, 1025);
	for (unsigned int i = 0; i < 1024; i++)
		assert_int_equal(data[i], 5 + i / 512);
	memset(data, 0xc3, 1024);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, SECTORS - 2, 1024, false, &used),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(used, 1);
	assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, false, &used), VIRTIO_BLK_S_OK);
	fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, sector, 512, (SECTORS - 1) * 512), 512);
	assert_memory_equal(sector, data, 512);
	assert_int_equal(pread(fd, sector, 512, (SECTORS - 3) * 512), 512);
	assert_int_equal(sector[0], SECTORS - 3);
	close(fd);
	virtio_blk_get_stats(virtio_model_of(d->dev), &stats);
	assert_int_equal(stats.reads, 1);
	assert_int_equal(stats.bytes_written, 1024);
	assert_int_equal(stats.flushes, 1);
	assert_int_equal(stats.errors, 0);
}

static void data_in_pieces_and_a_header_cut_in_two(void **state)
{
	struct driver *d = *state;
	const struct virtio_blk_outhdr header = { .type = VIRTIO_BLK_T_IN, .sector = 9 };
	const struct driver_segment segments[] = {
		{ HEADER, 5, false },
		{ HEADER + 64, 11, false },
		{ DATA, 100, true },
		/* the status is the last byte of what is writable, in whatever piece */
		{ DATA + 1000, 412, true },
		{ DATA + 2000, 513, true },
	};
	uint8_t *data = driver_hva(d, DATA, 4096);

	memcpy(driver_hva(d, HEADER, 5), &header, 5);
	memcpy(driver_hva(d, HEADER + 64, 11), (const uint8_t *)&header + 5, 11);
	memset(data, 0xff, 4096);
	driver_add(d, 0, segments, 5, false);
	driver_kick(d, 0);
	assert_int_equal(driver_wait(d, 0).len, 1025);
	assert_int_equal(data[0], 9);
	assert_int_equal(data[99], 9);
	assert_int_equal(data[100], 0xff);
	assert_int_equal(data[1411], 9);
	assert_int_equal(data[2000], 10);
	assert_int_equal(data[2511], 10);
	assert_int_equal(data[2512], VIRTIO_BLK_S_OK);
}

static void get_id_gives_the_serial(void **state)
{
	struct driver *d = *state;
	uint32_t used;

	assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 20, true, &used), VIRTIO_BLK_S_OK);
	assert_int_equal(used, 21);
	assert_memory_equal(driver_hva(d, DATA, 20), "disk-one\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 19, true, &used), VIRTIO_BLK_S_IOERR);
}

static void requests_outside_the_disk_fail(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t bytes;
	} bad[] = {
		{ SECTORS, 512 },    { SECTORS - 1, 1024 },
		{ UINT64_MAX, 512 }, { UINT64_MAX / 512 + 1, 512 },
		{ 1ULL << 55, 512 }, { 0, 511 },
		{ 0, 513 },	     { 0, (SECTORS + 1) * 512 },
	};
	struct driver *d = *state;
	uint8_t before[SECTORS * 512], after[SECTORS * 512];
	int fd = open(path, O_RDONLY);

	assert_int_equal(pread(fd, before, sizeof(before), 0), sizeof(before));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			request(d, VIRTIO_BLK_T_IN, bad[i].sector, bad[i].bytes, true, NULL),
			VIRTIO_BLK_S_IOERR);
		assert_int_equal(
			request(d, VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].bytes, false, NULL),
			VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 0, 0, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 0, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, 77, 0, 512, true, NULL), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(d, VIRTIO_BLK_T_DISCARD, 0, 16, false, NULL), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(pread(fd, after, sizeof(after), 0), sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
	assert_int_equal(lseek(fd, 0, SEEK_END), SECTORS * 512);
	close(fd);
}

static void malformed_requests_come_back(void **state)
{
	struct driver *d = *state;
	const struct driver_segment short_header[] = { { HEADER, 15, false }, { STATUS, 1, true } };
	const struct driver_segment no_status[] = { { HEADER, 16, false } };
	const struct driver_segment only_status[] = { { STATUS, 1, true } };

	driver_add(d, 0, short_header, 2, false);
	driver_kick(d, 0);
	assert_int_equal(driver_wait(d, 0).len, 1);
	assert_int_equal(*(uint8_t *)driver_hva(d, STATUS, 1), VIRTIO_BLK_S_IOERR);
	driver_add(d, 0, no_status, 1, false);
	driver_kick(d, 0);
	assert_int_equal(driver_wait(d, 0).len, 0);
	*(uint8_t *)driver_hva(d, STATUS, 1) = 0;
	driver_add(d, 0, only_status, 1, false);
	driver_kick(d, 0);
	assert_int_equal(driver_wait(d, 0).len, 1);
	assert_int_equal(*(uint8_t *)driver_hva(d, STATUS, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 0x0f);
}

static void a_read_only_disk_is_not_written(void **state)
{
	struct driver *d = *state;

	assert_true(driver_offered(d) >> VIRTIO_BLK_F_RO & 1);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 512, false, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 1, 512, true, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(*(uint8_t *)driver_hva(d, DATA, 1), 1);
}

static void a_host_that_cannot_read_is_the_guests_io_error(void **state)
{
	struct driver *d = *state;
	struct virtio_blk_stats stats;

	assert_int_equal(truncate(path, 10 * 512), 0);
	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 20, 512, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 9, 1024, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 9, 512, true, NULL), VIRTIO_BLK_S_OK);
	virtio_blk_get_stats(virtio_model_of(d->dev), &stats);
	assert_int_equal(stats.errors, 2);
	assert_int_equal(stats.last_error, -EIO);
}

static void an_image_belongs_to_one_writer(void **state)
{
	const struct virtio_blk_options writer = { .path = path },
					reader = { .path = path, .read_only = true };
	struct virtio_model *model, *second;

	assert_int_equal(virtio_blk_create(&model, &writer), -EAGAIN);
	assert_int_equal(virtio_blk_create(&model, &reader), -EAGAIN);
	assert_int_equal(virtio_blk_detach(virtio_model_of(((struct driver *)*state)->dev)), 0);
	assert_int_equal(virtio_blk_create(&model, &reader), 0);
	assert_int_equal(virtio_blk_create(&second, &reader), 0);
	second->ops->destroy(second);
	assert_int_equal(virtio_blk_create(&second, &writer), -EAGAIN);
	model->ops->destroy(model);
}

static void what_is_no_image_is_refused(void **state)
{
	static const struct {
		const char *path;
		int error;
	} bad[] = { { "/nonexistent/image", -ENOENT },
		    { "/dev/null", -EINVAL },
		    { "/tmp", -EISDIR } };
	struct virtio_blk_options options = { .path = path, .serial = "123456789012345678901" };
	struct virtio_model *model;
	char fifo[sizeof(path) + 8];

	assert_int_equal(virtio_blk_create(&model, &options), -EINVAL);
	options.serial = NULL;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		options.path = bad[i].path;
		assert_int_equal(virtio_blk_create(&model, &options), bad[i].error);
	}
	snprintf(fifo, sizeof(fifo), "%s.fifo", path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	options.path = fifo;
	assert_int_equal(virtio_blk_create(&model, &options), -EINVAL);
	unlink(fifo);
	options.path = path;
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(virtio_blk_create(&model, &options), -EINVAL);
}

static void a_migration_hands_the_disk_over(void **state)
{
	struct driver *d = *state;
	struct virtio_model *model = blk_new(false, true);
	struct device *from = d->dev, *to;
	uint8_t buf[512];
	int len;

	assert_int_equal(virtio_create(&to, model, d->memory, driver_irq(d)), 0);
	assert_int_equal(to->ops->quiesce(to), 0);
	memset(driver_hva(d, DATA, 512), 0x77, 512);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 3, 512, false, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(from->ops->quiesce(from), 0);
	len = from->ops->save(from, buf, sizeof(buf));
	assert_true(len > 0);
	assert_int_equal(to->ops->load(to, buf, (size_t)len), 0);
	/* not as long as the source holds it */
	assert_int_equal(virtio_blk_attach(model), -EAGAIN);
	assert_int_equal(virtio_blk_detach(virtio_model_of(from)), 0);
	assert_int_equal(virtio_blk_attach(model), 0);
	assert_int_equal(virtio_blk_attach(model), 0);
	from->ops->destroy(from);
	d->dev = to;
	to->ops->resume(to);
	memset(driver_hva(d, DATA, 512), 0, 512);
	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 3, 512, true, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(*(uint8_t *)driver_hva(d, DATA, 1), 0x77);
}

static int check(const char *beneath, const char *name, bool read_only, uint64_t bytes)
{
	const struct virtio_blk_options options = {
		.path = name, .beneath = beneath, .read_only = read_only, .incoming_bytes = bytes
	};
	struct virtio_model *model;
	int err = virtio_blk_create(&model, &options);

	if (!err)
		model->ops->destroy(model);
	return err;
}

/* What a target finds out about its disks while the source runs the guest. */
static void only_the_image_that_somebody_holds_is_shared(void **state)
{
	struct virtio_model *model = virtio_model_of(((struct driver *)*state)->dev);
	uint64_t bytes = virtio_blk_bytes(model);

	assert_int_equal(check(NULL, path, false, bytes), 0);
	assert_int_equal(check(NULL, path, false, bytes), 0);
	assert_int_equal(check(NULL, path, false, bytes + 512), -ESTALE);
	assert_int_equal(check(NULL, "/dev/null", false, bytes), -EINVAL);
	assert_int_equal(check(NULL, "/nowhere", false, bytes), -ENOENT);
	assert_int_equal(virtio_blk_detach(model), 0);
	assert_int_equal(check(NULL, path, false, bytes), -ENOLCK);
	assert_int_equal(check(NULL, path, true, bytes), 0);
}

/* In a directory of the operator the source's names lead nowhere else. */
static void a_directory_has_no_way_out(void **state)
{
	uint64_t bytes = virtio_blk_bytes(virtio_model_of(((struct driver *)*state)->dev));
	char dir[] = "/tmp/virtio-blk-dir-XXXXXX", file[64], link[64], sub[64];

	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/file", dir);
	snprintf(link, sizeof(link), "%s/link", dir);
	snprintf(sub, sizeof(sub), "%s/sub", dir);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(symlink("/", sub), 0);
	assert_int_equal(check(dir, "file", true, bytes), -ENOENT);
	assert_int_equal(check(dir, "link", true, bytes), -ELOOP);
	assert_int_equal(check(dir, path, true, bytes), -EXDEV);
	assert_int_equal(check(dir, "../../etc/passwd", true, bytes), -EXDEV);
	assert_int_equal(check(dir, "sub/etc/passwd", true, bytes), -ELOOP);
	assert_int_equal(rename(path, file), 0);
	assert_int_equal(check(dir, "file", false, bytes), 0);
	assert_int_equal(check(dir, "./file", true, bytes), 0);
	assert_int_equal(rename(file, path), 0);
	unlink(link);
	unlink(sub);
	assert_int_equal(rmdir(dir), 0);
}

/* What was checked before the guest's memory moved is what the guest gets. */
static void nobody_puts_another_file_in_the_images_place(void **state)
{
	struct virtio_model *source = virtio_model_of(((struct driver *)*state)->dev);
	struct virtio_model *target = blk_new(false, true);
	struct stat checked, taken;
	char away[sizeof(path) + 5];

	assert_int_equal(stat(path, &checked), 0);
	snprintf(away, sizeof(away), "%s.away", path);
	assert_int_equal(rename(path, away), 0);
	image_reset();
	assert_int_equal(virtio_blk_detach(source), 0);
	assert_int_equal(virtio_blk_attach(source), -EBADF);
	assert_int_equal(virtio_blk_attach(target), 0);
	/* the lock tells which of the two it has */
	assert_int_equal(check(NULL, path, false, SECTORS * 512), -ENOLCK);
	assert_int_equal(check(NULL, away, false, SECTORS * 512), 0);
	assert_int_equal(rename(away, path), 0);
	assert_int_equal(stat(path, &taken), 0);
	assert_int_equal(checked.st_ino, taken.st_ino);
	target->ops->destroy(target);
	assert_int_equal(virtio_blk_attach(source), 0);
}

/* STATE comes after CONFIG, and the image has the size that CONFIG said. */
static void the_state_does_not_say_another_size(void **state)
{
	struct driver *d = *state;
	struct virtio_model *model = blk_new(false, true);
	struct device *to;
	uint8_t buf[512];
	uint64_t sectors = SECTORS;
	uint8_t *at;
	int len;

	assert_int_equal(virtio_create(&to, model, d->memory, driver_irq(d)), 0);
	assert_int_equal(to->ops->quiesce(to), 0);
	assert_int_equal(d->dev->ops->quiesce(d->dev), 0);
	len = d->dev->ops->save(d->dev, buf, sizeof(buf));
	assert_true(len > 9);
	assert_int_equal(to->ops->load(to, buf, (size_t)len), 0);
	at = memmem(buf, (size_t)len, &sectors, sizeof(sectors));
	assert_non_null(at);
	*at += 1;
	assert_int_equal(to->ops->load(to, buf, (size_t)len), -EINVAL);
	to->ops->destroy(to);
	d->dev->ops->resume(d->dev);
}

static void an_aborted_hand_over_goes_back(void **state)
{
	struct driver *d = *state;
	struct virtio_model *model = virtio_model_of(d->dev);

	assert_int_equal(d->dev->ops->quiesce(d->dev), 0);
	assert_int_equal(virtio_blk_detach(model), 0);
	assert_int_equal(virtio_blk_detach(model), 0);
	assert_int_equal(virtio_blk_attach(model), 0);
	d->dev->ops->resume(d->dev);
	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 3, 512, true, NULL), VIRTIO_BLK_S_OK);
}

/* The migration that met the error is off, and what it met was the guest's. */
static void writes_that_were_lost_before_a_hand_over_are_told_the_guest(void **state)
{
	struct driver *d = *state;
	struct virtio_model *model = virtio_model_of(d->dev);

	flush_error = ENOSPC;
	assert_int_equal(d->dev->ops->quiesce(d->dev), -ENOSPC);
	assert_int_equal(virtio_blk_detach(model), -ENOSPC);
	assert_int_equal(virtio_blk_attach(model), 0);
	d->dev->ops->resume(d->dev);
	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 3, 512, true, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, true, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(d->dev->ops->quiesce(d->dev), 0);
	assert_int_equal(virtio_blk_detach(model), 0);
	assert_int_equal(virtio_blk_attach(model), 0);
	d->dev->ops->resume(d->dev);
}

/*
 * No room for the second of two sectors: an error of this request, of the flush that loses writes,
 * and of nothing else.
 */
static void a_full_file_system_is_the_guests_io_error(void **state)
{
	struct driver *d = *state;
	struct rlimit none, half;
	struct virtio_blk_stats stats;

	signal(SIGXFSZ, SIG_IGN); /* as cli/main.c does */
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &none), 0);
	half = none;
	half.rlim_cur = (SECTORS / 2 + 1) * 512ULL;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &half), 0);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, SECTORS / 2, 1024, false, NULL),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 1024, false, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, SECTORS / 2, 1024, false, NULL),
			 VIRTIO_BLK_S_OK);
	flush_error = ENOSPC;
	assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, true, NULL), VIRTIO_BLK_S_OK);
	virtio_blk_get_stats(virtio_model_of(d->dev), &stats);
	assert_int_equal(stats.errors, 2);
	assert_int_equal(stats.last_error, -ENOSPC);
}

static void another_image_than_the_guest_knows_is_refused(void **state)
{
	struct driver *d = *state;
	struct virtio_model *model = virtio_model_of(d->dev), *ro = blk_new(true, true);
	struct device *to;
	uint8_t buf[512];
	int len;

	assert_int_equal(d->dev->ops->quiesce(d->dev), 0);
	len = d->dev->ops->save(d->dev, buf, sizeof(buf));
	assert_int_equal(virtio_create(&to, ro, d->memory, driver_irq(d)), 0);
	assert_int_equal(to->ops->quiesce(to), 0);
	assert_int_equal(to->ops->load(to, buf, (size_t)len),
			 -EINVAL); /* read-only here, not there */
	to->ops->destroy(to);
	assert_int_equal(virtio_blk_detach(model), 0);
	assert_int_equal(truncate(path, (SECTORS + 1) * 512), 0);
	assert_int_equal(virtio_blk_attach(model), -ESTALE);
	d->dev->ops->resume(d->dev);
	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 3, 512, true, NULL),
			 VIRTIO_BLK_S_IOERR); /* still detached */
	assert_int_equal(request(d, VIRTIO_BLK_T_FLUSH, 0, 0, true, NULL), VIRTIO_BLK_S_IOERR);
}

#define blk_test(f) cmocka_unit_test_setup_teardown(f, blk_setup, blk_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		blk_test(the_configuration_gives_the_size),
		blk_test(sectors_are_read_written_and_flushed),
		blk_test(data_in_pieces_and_a_header_cut_in_two),
		blk_test(get_id_gives_the_serial),
		blk_test(requests_outside_the_disk_fail),
		blk_test(malformed_requests_come_back),
		cmocka_unit_test_setup_teardown(a_read_only_disk_is_not_written, blk_setup_ro,
						blk_teardown),
		blk_test(a_host_that_cannot_read_is_the_guests_io_error),
		blk_test(an_image_belongs_to_one_writer),
		cmocka_unit_test(what_is_no_image_is_refused),
		blk_test(a_full_file_system_is_the_guests_io_error),
		blk_test(writes_that_were_lost_before_a_hand_over_are_told_the_guest),
		blk_test(a_migration_hands_the_disk_over),
		blk_test(only_the_image_that_somebody_holds_is_shared),
		blk_test(a_directory_has_no_way_out),
		blk_test(nobody_puts_another_file_in_the_images_place),
		blk_test(the_state_does_not_say_another_size),
		blk_test(an_aborted_hand_over_goes_back),
		blk_test(another_image_than_the_guest_knows_is_refused),
	};
	int fd = mkstemp(path), failed;

	if (fd < 0)
		return 1;
	close(fd);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
