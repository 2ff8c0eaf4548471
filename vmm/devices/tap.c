/* SPDX-License-Identifier: Apache-2.0 */
/* The host's end of a guest's network interface. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/devices/virtio_net.h"

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
