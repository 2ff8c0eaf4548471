/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int tap_open(const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	size_t len = strlen(name);
	int fd, ret;

	if (!len || len >= sizeof(request.ifr_name) || strchr(name, '%') || strchr(name, '/'))
		return -EINVAL;
	memcpy(request.ifr_name, name, len);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	if (ioctl(fd, TUNSETIFF, &request)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}
