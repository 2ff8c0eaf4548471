/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that runs one guest in the foreground, whether it was launched here or has come from
 * another host: its console, the signals, the control socket, and how it ends.
 */
#ifndef CLI_GUEST_H
#define CLI_GUEST_H

#include <stdint.h>

#include "cli/cli.h"
#include "cli/console.h"
#include "service/service.h"
#include "vmm/host_devices.h"

/* Of the option --metrics, which every command that runs a guest has. */
#define CLI_METRICS_HELP                                                                         \
	"counters and gauges for Prometheus at http://HOST:PORT/metrics, for whoever can reach " \
	"it; HOST is the loopback interface if it is left out (port 0: any)"

struct guest {
	const char *name; /* NULL: none */
	struct console *console;
	struct service *service;
	struct host_devices devices; /* opened while the process may */
	int signal_fd;
	uint64_t log_shown; /* of the payload's log */
	bool arrives; /* it comes from another host and has not yet been shown */
	unsigned int unauthenticated_told;
	enum service_state said; /* what was last said of a migration's outcome */
};

#define GUEST_CLOSED                                          \
	(struct guest)                                        \
	{                                                     \
		.signal_fd = -1, .devices = HOST_DEVICES_NONE \
	}

/*
 * Take signals, terminal, name and the address for metrics (NULL: none). 0 or a negative errno.
 * Undone by guest_finish(), also after an error.
 */
int guest_open(struct guest *guest, const char *name, const char *metrics, struct why *why);

/* Until the guest has come to its end, or none has come. */
void guest_attend(struct guest *guest);

/*
 * Let everything go, then say how it ended: by then the terminal is as it was. code: CLI_OK to have
 * the exit code from the guest's end, or what went wrong, with why.
 */
int guest_finish(struct guest *guest, int code, const struct why *why);

#endif
