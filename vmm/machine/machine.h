/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM with everything a user asks for: its console, disks and networks, and what it boots from.
 * The one place that knows which device goes into which slot.
 */
#ifndef VMM_MACHINE_MACHINE_H
#define VMM_MACHINE_MACHINE_H

#include "launch/image.h"
#include "lib/mirror/workload_plan.h"
#include "vmm/devices/serial.h"
#include "vmm/devices/virtio_blk.h"
#include "vmm/devices/virtio_console.h"
#include "vmm/devices/virtio_net.h"
#include "vmm/host_devices.h"
#include "vmm/vm/vm.h"

struct machine;
struct region_plan;

struct machine_disk {
	const char *path; /* a raw image or a block device */
	/* NULL, or the directory of this host in which path is: virtio_blk.h */
	const char *beneath;
	bool read_only;
	uint64_t bytes; /* of an incoming machine's disk: how long it is at the source */
};

struct machine_net {
	const char *tap; /* the interface's name */
	uint8_t mac[6];
};

/*
 * Slots of virtio devices are given out in this order: disks, networks, the random number
 * generator, the console (which a guest with the most disks and networks does not have).
 */
#define MACHINE_MAX_DISKS 4
#define MACHINE_MAX_NETS  HOST_DEVICES_TAPS_MAX

/* Where a console's input comes from and its output goes to, -1: nowhere. Borrowed. */
struct machine_console {
	int in, out;
};

/* Strings are borrowed for the machine's life. */
struct machine_config {
	struct vm_config vm;
	struct machine_console serial, hvc; /* ttyS0 and hvc0 in a Linux guest */
	struct machine_disk disks[MACHINE_MAX_DISKS];
	unsigned int ndisks;
	struct machine_net nets[MACHINE_MAX_NETS];
	unsigned int nnets;
	/* comes from another host: its disks are checked now and locked at the hand-over */
	bool incoming;
	/*
	 * what runs in its mirrors, as the other host launched it; of a machine that is launched
	 * here machine_boot() says it
	 */
	struct workload_plan workload;
};

/* What it boots from; paths of files. Borrowed while machine_boot() runs. */
struct machine_boot {
	const char *kernel, *initrd, *cmdline; /* initrd and cmdline may be NULL */
	const char *payload; /* instead of a kernel */
	const char *mirror_payload; /* may be NULL */
	uint64_t payload_args[LAUNCH_PAYLOAD_ARGS];
	uint32_t policy;
	const struct sev_owner_start *owner; /* may be NULL */
};

/*
 * Can the disks be opened, and has nobody else opened them? Before the host is asked for anything.
 */
int machine_check_disks(const struct machine_config *config, struct why *why);

int machine_create(struct machine **machine, const struct machine_config *config, struct why *why);

/* Ends the guest if it runs. NULL is allowed. */
void machine_destroy(struct machine *machine);

/*
 * Read the files, build the launch image and launch it. With SEV the guest is measured then, and
 * its owner may check that and give it a secret before machine_go().
 */
int machine_boot(struct machine *machine, const struct machine_boot *boot, struct why *why);

/* Finish the launch and let the guest run. */
int machine_go(struct machine *machine, struct why *why);

bool machine_started(const struct machine *machine); /* machine_go() was called */

/* Of machine_boot() with SEV: SEV_MEASUREMENT_BYTES. */
const uint8_t *machine_measurement(const struct machine *machine);

struct vm *machine_vm(const struct machine *machine);

/* As machine_create() got it, and with the workload. */
const struct machine_config *machine_config(const struct machine *machine);

/* The Migration Helper's region in this guest. */
const struct region_plan *machine_helper(const struct machine *machine);
const struct region_memory *machine_helper_memory(const struct machine *machine);

/*
 * The disks at a migration's hand-over, while the VM is paused (virtio_blk.h). 0 or a negative
 * errno; release continues after an error.
 */
int machine_disks_release(struct machine *machine);
/* Before that, while the VM runs: so that release has little left to flush. */
void machine_disks_flush(struct machine *machine);
int machine_disks_acquire(struct machine *machine, struct why *why);

/*
 * What the guest's disks and network cards did on this host; the number of them. Any thread. A
 * payload has none.
 */
unsigned int machine_disk_stats(struct machine *machine,
				struct virtio_blk_stats stats[MACHINE_MAX_DISKS]);
unsigned int machine_net_stats(struct machine *machine,
			       struct virtio_net_stats stats[MACHINE_MAX_NETS]);

/* The same for its consoles. False: a payload, which has none. */
bool machine_console_stats(struct machine *machine, struct serial_stats *serial,
			   struct virtio_console_stats *hvc);

/* How long the guest takes its i-th disk to be. */
uint64_t machine_disk_bytes(const struct machine *machine, unsigned int i);

#endif
