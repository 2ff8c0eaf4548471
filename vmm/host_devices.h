/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the host takes privileges to open: a process that gives its privileges up (sandbox) opens
 * it before. Without a struct of these, and for a descriptor of -1, a VM opens what it needs by
 * itself, as the user that the process has then.
 */
#ifndef VMM_HOST_DEVICES_H
#define VMM_HOST_DEVICES_H

#include <sevmirror/sev.h>
#include "lib/util/why.h"

#define HOST_DEVICES_TAPS_MAX 3

struct host_devices {
	int kvm_fd, sev_fd, uffd_fd; /* uffd_fd: /dev/userfaultfd */
	struct {
		const char *name; /* borrowed */
		int fd;
	} taps[HOST_DEVICES_TAPS_MAX];
	unsigned int ntaps;
};

#define HOST_DEVICES_NONE                                  \
	(struct host_devices)                              \
	{                                                  \
		.kvm_fd = -1, .sev_fd = -1, .uffd_fd = -1, \
	}

/*
 * /dev/kvm, /dev/sev and /dev/userfaultfd where they are, and these interfaces. 0 or a negative
 * errno; destroy closes what was opened either way.
 */
int host_devices_open(struct host_devices *devices, const char *const *taps, unsigned int ntaps,
		      struct why *why);
void host_devices_close(struct host_devices *devices);

/*
 * A duplicate, or a new descriptor where devices is NULL or has none. Errors: a negative errno; for
 * KVM and a tap with the sentence.
 */
int host_devices_kvm(const struct host_devices *devices, struct why *why);
int host_devices_sev(const struct host_devices *devices, struct sev_error *error);
int host_devices_tap(const struct host_devices *devices, const char *name, struct why *why);

#endif
