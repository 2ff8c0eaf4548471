/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/host_devices.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/sev/platform.h"
#include "vmm/tap.h"

#define KVM_DEVICE "/dev/kvm"

static int kvm_open(struct why *why)
{
	int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		int version = ioctl(fd, KVM_GET_API_VERSION, 0);

		if (version == KVM_API_VERSION)
			return fd;
		close(fd);
		return why_set(why, -EPROTO, KVM_DEVICE ": KVM speaks API version %d, not %d",
			       version, KVM_API_VERSION);
	}
	if (errno == ENOENT)
		return why_set(
			why, -ENOENT,
			KVM_DEVICE
			" does not exist. Load kvm_amd or kvm_intel, and enable virtualisation "
			"in the firmware");
	if (errno == EACCES || errno == EPERM)
		return why_set(why, -EACCES,
			       KVM_DEVICE
			       ": permission denied. Become a member of the group that owns "
			       "it (kvm), or root");
	return why_errno(why, KVM_DEVICE);
}

static int tap_take(const char *name, struct why *why)
{
	int fd = tap_open(name);

	if (fd >= 0)
		return fd;
	if (fd == -EPERM)
		return why_set(
			why, fd,
			"the interface %s is not yours: `ip tuntap add %s mode tap user $USER` "
			"makes one that is",
			name, name);
	if (fd == -ENODEV)
		return why_set(why, fd,
			       "the interface %s cannot be opened: the host has no tun "
			       "driver (modprobe tun)",
			       name);
	if (fd == -EBUSY)
		return why_set(why, fd, "the interface %s is in use by another program", name);
	return why_set(why, fd, "the interface %s cannot be opened: %s", name, strerror(-fd));
}

int host_devices_open(struct host_devices *devices, const char *const *taps, unsigned int ntaps,
		      struct why *why)
{
	struct sev_error error = { 0 };
	unsigned int i;

	*devices = HOST_DEVICES_NONE;
	devices->kvm_fd = kvm_open(why);
	if (devices->kvm_fd < 0)
		return devices->kvm_fd;
	/*
	 * Without them SEV, or post-copy, fails later, with the reason; a plain guest needs
	 * neither.
	 */
	devices->sev_fd = sev_device_open(&error);
	devices->uffd_fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	for (i = 0; i < ntaps && i < HOST_DEVICES_TAPS_MAX; i++) {
		int fd = tap_take(taps[i], why);

		if (fd < 0)
			return fd;
		devices->taps[i].name = taps[i];
		devices->taps[i].fd = fd;
		devices->ntaps++;
	}
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void host_devices_close(struct host_devices *devices)
{
	unsigned int i;

	close_fd(&devices->kvm_fd);
	close_fd(&devices->sev_fd);
	close_fd(&devices->uffd_fd);
	for (i = 0; i < devices->ntaps; i++)
		close_fd(&devices->taps[i].fd);
	devices->ntaps = 0;
}

static int duplicate(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : copy;
}

int host_devices_kvm(const struct host_devices *devices, struct why *why)
{
	int fd;

	if (!devices || devices->kvm_fd < 0)
		return kvm_open(why);
	fd = duplicate(devices->kvm_fd);
	return fd < 0 ? why_set(why, fd, KVM_DEVICE ": %s", strerror(-fd)) : fd;
}

int host_devices_sev(const struct host_devices *devices, struct sev_error *error)
{
	return devices && devices->sev_fd >= 0 ? duplicate(devices->sev_fd) :
						 sev_device_open(error);
}

int host_devices_tap(const struct host_devices *devices, const char *name, struct why *why)
{
	unsigned int i;
	int fd;

	for (i = 0; devices && i < devices->ntaps; i++) {
		if (strcmp(devices->taps[i].name, name) != 0 || devices->taps[i].fd < 0)
			continue;
		fd = duplicate(devices->taps[i].fd);
		return fd < 0 ? why_set(why, fd, "the interface %s cannot be opened: %s", name,
					strerror(-fd)) :
				fd;
	}
	return tap_take(name, why);
}
