/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "demo/guest/guest.h"
#include "demo/guest/system.h"

#define LINE_BYTES 64
#define STEP_MS	   50

static struct {
	unsigned int kib; /* a second */
	int fd;
} chat;

static void *work(void *opaque)
{
	char line[LINE_BYTES + 1];
	unsigned int n = 0;

	while (!guest_ends()) {
		for (unsigned int i = 0; i < chat.kib * 1024 * STEP_MS / 1000 / LINE_BYTES; i++) {
			snprintf(line, sizeof(line), "chat %-*u\n", LINE_BYTES - 6, ++n);
			if (write(chat.fd, line, LINE_BYTES) < 0)
				guest_error("the serial port: %s", strerror(errno));
		}
		guest_sleep_ms(STEP_MS);
	}
	return NULL;
}

void chat_start(unsigned int kib)
{
	pthread_t thread;

	chat.kib = kib;
	chat.fd = system_open_late("/dev/ttyS0", O_WRONLY | O_NOCTTY);
	if (chat.fd < 0 || pthread_create(&thread, NULL, work, NULL))
		guest_error("the serial port: %s", strerror(errno));
}
