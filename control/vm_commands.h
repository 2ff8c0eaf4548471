/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands that every VM has, as a table of functions that the VMM fills in. Each gets the
 * opaque of control_add_vm_commands(), runs in the control thread and returns 0 or a negative errno
 * with err filled in by control_fail().
 */
#ifndef CONTROL_VM_COMMANDS_H
#define CONTROL_VM_COMMANDS_H

#include "control/control.h"

/* The states a VM can be in, as query-status and the event 'state' name them. */
enum control_vm_state {
	CONTROL_VM_STARTING,
	CONTROL_VM_RUNNING,
	CONTROL_VM_PAUSED,
	CONTROL_VM_INCOMING, /* waits for a migration to arrive */
	CONTROL_VM_MIGRATED, /* runs elsewhere now */
	CONTROL_VM_STOPPING,
	CONTROL_VM_CRASHED,
};

const char *control_vm_state_name(enum control_vm_state state);

struct control_vm_status {
	enum control_vm_state state;
	unsigned int cpus;
	uint64_t memory_bytes;
	double uptime_seconds; /* of the guest, since its launch on this host */
	bool sev;
	uint32_t sev_policy;
	uint32_t sev_asid; /* 0: unknown */
	bool mirror_attached; /* another process has a mirror of it */
	bool migration_ready; /* the guest has said that it follows private and shared pages */
};

struct control_memory_range {
	uint64_t gpa;
	uint64_t bytes;
	const char *kind; /* "ram", "helper", ... */
	bool shared; /* readable by the host */
};

#define CONTROL_MEASURE_BYTES 32
#define CONTROL_NONCE_BYTES   16

/* What LAUNCH_MEASURE gave (SEV API, 6.5), and what else its HMAC covers. */
struct control_measurement {
	uint8_t measure[CONTROL_MEASURE_BYTES];
	uint8_t nonce[CONTROL_NONCE_BYTES];
	uint8_t api_major;
	uint8_t api_minor;
	uint8_t build;
	uint32_t policy;
};

#define CONTROL_SECRET_HEADER_BYTES 52
#define CONTROL_SECRET_BYTES_MAX    16384 /* LAUNCH_UPDATE_SECRET's limit */

struct control_secret {
	uint8_t header[CONTROL_SECRET_HEADER_BYTES];
	const uint8_t *packet; /* the encrypted secret */
	size_t bytes;
	bool has_gpa; /* otherwise where the launch image reserves room for it */
	uint64_t gpa;
};

struct control_vm_ops {
	int (*status)(void *vm, struct control_vm_status *status, struct control_error *err);
	int (*pause)(void *vm, struct control_error *err);
	int (*resume)(void *vm, struct control_error *err);
	/*
	 * force: at once, as if the power went; otherwise ask the guest. The reply leaves before
	 * the VM does.
	 */
	int (*stop)(void *vm, bool force, struct control_error *err);
	/* Call add() for each range, in rising order. */
	int (*memory_map)(void *vm,
			  void (*add)(void *opaque, const struct control_memory_range *range),
			  void *opaque, struct control_error *err);
	/* NULL, both: not an SEV guest */
	int (*measurement)(void *vm, struct control_measurement *measurement,
			   struct control_error *err);
	int (*inject_secret)(void *vm, const struct control_secret *secret,
			     struct control_error *err);
};

/* ops and vm must outlive control. As control_add_commands(). */
int control_add_vm_commands(struct control *control, const struct control_vm_ops *ops, void *vm);

/* The event 'state'. Any thread. */
void control_vm_state_event(struct control *control, enum control_vm_state state,
			    const char *reason);

#endif
