/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /init of the Linux guest that Debian's QEMU starts: says that user space is reached and powers
 * off.
 */
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>

int main(void)
{
	puts("guest: user space reached");
	fflush(stdout);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
