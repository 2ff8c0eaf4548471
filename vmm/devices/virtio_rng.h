/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-rng (virtio 1.2, 5.4): the host's getrandom() for the guest. A SEV guest does well to mix
 * it with RDRAND, and Linux does.
 */
#ifndef VMM_DEVICES_VIRTIO_RNG_H
#define VMM_DEVICES_VIRTIO_RNG_H

#include "vmm/devices/virtio.h"

int virtio_rng_create(struct virtio_model **model);

#endif
