/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/util/page.h"

#define READ_MAX 32
#define ADVICE_WHO                                                                              \
	"give /dev/userfaultfd to the user that runs sevmirror (Linux 6.1), or set the sysctl " \
	"vm.unprivileged_userfaultfd, or give it CAP_SYS_PTRACE"

/* Never UFFD_USER_MODE_ONLY: KVM's faults come from the kernel. */
static int get(int device)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int dev = device > 0 ? device : -1;

	if (fd >= 0)
		return fd;
	if (dev < 0)
		dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -errno;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	fd = fd < 0 ? -errno : fd;
	if (dev != device)
		close(dev);
	return fd;
}

int uffd_open(int device, struct why *why)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM };
	int fd = get(device), err;

	if (fd < 0)
		return why_because(why, SEVMIRROR_REASON_POSTCOPY, fd,
				   "this host cannot open a userfaultfd: %s: %s", strerror(-fd),
				   ADVICE_WHO);
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	err = -errno;
	close(fd);
	return why_because(
		why, SEVMIRROR_REASON_POSTCOPY, err,
		"this host's userfaultfd has no minor faults on shared memory: Linux 5.14 or "
		"later is needed");
}

int uffd_arm(int fd, void *addr, uint64_t bytes)
{
	/* Missing faults, too: a page that is not even in the file must not read as zeros. */
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = bytes },
		.mode = UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_MISSING,
	};

	/*
	 * Once over all of it: each such call on the memory of a SEV guest is a WBINVD on every CPU
	 * (kvm_arch_guest_memory_reclaimed).
	 */
	if (madvise(addr, bytes, MADV_DONTNEED) || ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return 0;
}

int uffd_disarm(int fd, void *addr, uint64_t bytes)
{
	struct uffdio_range range = { .start = (uintptr_t)addr, .len = bytes };

	return ioctl(fd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

static int wake(int fd, uint64_t start)
{
	struct uffdio_range range = { .start = start, .len = PAGE_BYTES };

	return ioctl(fd, UFFDIO_WAKE, &range) ? -errno : 0;
}

int uffd_continue(int fd, void *addr, uint64_t bytes)
{
	uint64_t at = (uintptr_t)addr, end = at + bytes;

	while (at < end) {
		struct uffdio_continue c = { .range = { .start = at, .len = end - at } };
		int err = ioctl(fd, UFFDIO_CONTINUE, &c) ? -errno : 0;

		if (!err)
			return 0;
		if (c.mapped > 0) {
			at += (uint64_t)c.mapped;
		} else if (err == -EEXIST) {
			/*
			 * Whoever mapped it may have done so before the fault was there to be
			 * woken.
			 */
			err = wake(fd, at);
			if (err)
				return err;
			at += PAGE_BYTES;
		} else if (err != -EAGAIN) {
			return err;
		}
	}
	return 0;
}

int uffd_read(int fd, void **addrs, unsigned int max)
{
	struct uffd_msg msgs[READ_MAX];
	unsigned int found = 0;
	ssize_t n = read(fd, msgs, (max < READ_MAX ? max : READ_MAX) * sizeof(msgs[0]));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (size_t i = 0; i < (size_t)n / sizeof(msgs[0]); i++)
		if (msgs[i].event == UFFD_EVENT_PAGEFAULT)
			addrs[found++] = (void *)(uintptr_t)(msgs[i].arg.pagefault.address &
							     ~(PAGE_BYTES - 1));
	return (int)found;
}
