/* SPDX-License-Identifier: Apache-2.0 */
#include "demo/guest/system.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STEP_MS 50

static void mount_on(const char *type, const char *path)
{
	(void)mkdir(path, 0755);
	if (mount(type, path, type, 0, NULL) && errno != EBUSY)
		printf("guest: mount %s: %s\n", path, strerror(errno));
}

static void load_modules(void)
{
	FILE *order = fopen("/modules/order", "re");
	char name[128], path[160];

	while (order && fscanf(order, "%127s", name) == 1) {
		int fd;

		snprintf(path, sizeof(path), "/modules/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			printf("guest: %s: %s\n", name, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	if (order)
		fclose(order);
}

void system_start(void)
{
	mount_on("proc", "/proc");
	mount_on("sysfs", "/sys");
	mount_on("devtmpfs", "/dev");
	load_modules();
}

int system_open_late(const char *path, int flags)
{
	int fd, waited = 0;

	while ((fd = open(path, flags | O_CLOEXEC)) < 0 && waited < SYSTEM_DEVICE_MS) {
		usleep(STEP_MS * 1000);
		waited += STEP_MS;
	}
	return fd;
}

bool system_set_address(const char *interface, const char *address)
{
	struct ifreq req = { 0 };
	struct sockaddr_in *sin = (struct sockaddr_in *)&req.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), waited = 0;
	bool good;

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", interface);
	while (ioctl(fd, SIOCGIFFLAGS, &req) && waited < SYSTEM_DEVICE_MS) {
		usleep(STEP_MS * 1000);
		waited += STEP_MS;
	}
	sin->sin_family = AF_INET;
	good = inet_pton(AF_INET, address, &sin->sin_addr) == 1 &&
	       ioctl(fd, SIOCSIFADDR, &req) == 0;
	inet_pton(AF_INET, "255.255.255.0", &sin->sin_addr);
	good = good && ioctl(fd, SIOCSIFNETMASK, &req) == 0 && ioctl(fd, SIOCGIFFLAGS, &req) == 0;
	req.ifr_flags |= IFF_UP | IFF_RUNNING;
	good = good && ioctl(fd, SIOCSIFFLAGS, &req) == 0;
	close(fd);
	return good;
}
