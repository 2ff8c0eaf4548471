/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
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
				guest_error("chat: %s", strerror(errno));
		}
		guest_sleep_ms(STEP_MS);
	}
	return NULL;
}

void chat_start(char *words)
{
	char *device = strchr(words, ',');
	pthread_t thread;

	chat.kib = (unsigned int)strtoul(words, NULL, 10);
	chat.fd = device ? system_open_late(device + 1, O_WRONLY | O_NOCTTY) : -1;
	if (chat.fd < 0 || pthread_create(&thread, NULL, work, NULL))
		guest_error("chat=%s: %s", words, strerror(errno));
}
