/* SPDX-License-Identifier: Apache-2.0 */
/* The host's end of a guest's network interface. */
#ifndef VMM_TAP_H
#define VMM_TAP_H

/*
 * Open the tap interface of this name, making it if it is not there and the caller may. A
 * non-blocking descriptor, on which each read and write is one Ethernet frame, or a negative errno:
 * -ENODEV when the host has no tun driver, -EPERM when the interface is not the caller's, -EBUSY
 * when it is in use.
 */
int tap_open(const char *name);

#endif
