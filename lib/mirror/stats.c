/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* KVM's own counters of a vCPU (KVM_GET_STATS_FD, virt/kvm/api.rst 4.133). */
#include "lib/mirror/mirror_vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 4096

static int find(int fd, const struct kvm_stats_header *header, const char *name, uint64_t *value)
{
	size_t bytes = sizeof(struct kvm_stats_desc) + header->name_size;
	struct kvm_stats_desc *desc = calloc(1, bytes + 1);
	uint32_t i;
	int error = -ENOENT;

	if (!desc)
		return -ENOMEM;
	for (i = 0; error == -ENOENT && i < header->num_desc && i < DESCRIPTORS_MAX; i++) {
		if (pread(fd, desc, bytes, (off_t)header->desc_offset + (off_t)(i * bytes)) !=
		    (ssize_t)bytes)
			error = -EIO;
		else if (strcmp(desc->name, name) == 0)
			error = pread(fd, value, sizeof(*value),
				      (off_t)header->data_offset + (off_t)desc->offset) ==
						sizeof(*value) ?
					0 :
					-EIO;
	}
	free(desc);
	return error;
}

int mirror_vcpu_counter(int vcpu_fd, const char *name, uint64_t *value)
{
	struct kvm_stats_header header;
	int fd = ioctl(vcpu_fd, KVM_GET_STATS_FD, NULL);
	int error;

	if (fd < 0)
		return -errno;
	if (pread(fd, &header, sizeof(header), 0) != sizeof(header) || header.name_size > 1024)
		error = -EIO;
	else
		error = find(fd, &header, name, value);
	close(fd);
	return error;
}
