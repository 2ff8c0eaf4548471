/* SPDX-License-Identifier: Apache-2.0 */
/* What every /init of a test's guest has to do itself, as there is nobody else. */
#ifndef DEMO_GUEST_SYSTEM_H
#define DEMO_GUEST_SYSTEM_H

#include <stdbool.h>

/*
 * /proc, /sys, /dev, and the modules that /modules/order lists, what others need first. Says what
 * fails.
 */
void system_start(void);

/*
 * open() of a device that comes up by itself after its driver was loaded; waits up to
 * SYSTEM_DEVICE_MS.
 */
int system_open_late(const char *path, int flags);

/*
 * Address (IPv4, 24 bits of network) and state UP for an interface, once it is there. False with
 * errno.
 */
bool system_set_address(const char *interface, const char *address);

#define SYSTEM_DEVICE_MS 20000

#endif
