/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that runs one guest in the foreground, whether it was launched here or has come from
 * another host: its console, the signals, the control socket, and how it ends.
 */
#ifndef SERVICE_FOREGROUND_H
#define SERVICE_FOREGROUND_H

#include <stdint.h>

#include "service/console.h"
#include "service/service.h"
#include "vmm/host_devices.h"

struct foreground {
	const char *name; /* NULL: none */
	struct console_choice choice; /* before foreground_open() */
	struct console *console;
	struct service *service;
	struct host_devices devices; /* opened while the process may */
	int signal_fd;
	uint64_t log_shown; /* of the payload's log */
	bool arrives; /* it comes from another host and has not yet been shown */
	unsigned int unauthenticated_told;
	uint64_t populating_since, populating_told; /* clock_ns() */
	enum service_state said; /* what was last said of a migration's outcome */
};

#define FOREGROUND_CLOSED                                     \
	(struct foreground)                                   \
	{                                                     \
		.signal_fd = -1, .devices = HOST_DEVICES_NONE \
	}

/*
 * Take signals, terminal and name. 0 or a negative errno.
 * Undone by foreground_finish() or, after an error, by foreground_abandon().
 */
int foreground_open(struct foreground *guest, const char *name, struct why *why);

/*
 * struct util_map_watch's wanted() while the main thread populates memory; guest is the struct
 * foreground. It heeds the signals, and says on standard error how far it is.
 */
bool foreground_populates(void *guest, uint64_t done, uint64_t all);

/* Until the guest has come to its end, or none has come. */
void foreground_attend(struct foreground *guest);

/* How it came to its end. */
enum foreground_end {
	FOREGROUND_POWEROFF,
	FOREGROUND_REBOOT, /* the guest asked for a reset */
	FOREGROUND_CRASHED,
	FOREGROUND_STOPPED, /* from outside, also while a guest was waited for */
	FOREGROUND_MIGRATED, /* another host runs the guest */
	FOREGROUND_EMPTY, /* no guest came */
};

/*
 * Let everything go, restore the terminal, then print how the guest ended. foreground_abandon(): as
 * before an error, which the caller prints.
 */
enum foreground_end foreground_finish(struct foreground *guest);
void foreground_abandon(struct foreground *guest);

#endif
