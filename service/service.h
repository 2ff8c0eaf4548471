/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM as others meet it: a machine behind its control socket (control), and the migrations by
 * which it leaves this process or comes to it. service_create(); then either service_launched()
 * with a machine that was made here, or service_receive(); wait until service_wait_fd() or the VM's
 * end is readable; service_finish(); service_destroy().
 *
 * Functions return 0 or a negative errno with the sentence in why, and are for the process's main
 * thread.
 */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include <sevmirror/migrate.h>

#include "control/control.h"
#include "service/state.h"
#include "vmm/machine/machine.h"

struct service;

/* Claim the name and its socket. name NULL: nobody but this process can reach the VM. */
int service_create(struct service **service, const char *name, struct why *why);

/* Ends what is still under way, the machine as well. NULL is allowed. */
void service_destroy(struct service *service);

/* Begin to answer on the control socket: before a machine is built, which may take long. */
int service_serve(struct service *service, struct why *why);

/*
 * Any thread, while memory is populated: how far it is, for the VM's status. False once somebody
 * has stopped the VM or cancelled its migration.
 */
bool service_populates(struct service *service, uint64_t done, uint64_t all);

/*
 * The machine was launched here (machine_boot()) and is the service's from now on, also after an
 * error. Lets the guest run; hold: `resume` lets it run, so that its owner can check the
 * measurement and give it a secret. -ECANCELED if somebody has stopped the VM meanwhile.
 */
int service_launched(struct service *service, struct machine *machine, bool hold, struct why *why);

/* How a VM comes from another host. Strings are borrowed for the service's life. */
struct service_incoming {
	const char *address; /* to listen on */
	struct sevmirror_security security;
	uint64_t timeout; /* nanoseconds, 0: the default */
	bool sev_off; /* only a guest that runs in the clear is taken; else only an encrypted one */
	/* of this host's chip (ASK, ARK), or NULL: only plain guests can come */
	const void *vendor_chain;
	size_t vendor_chain_bytes;
	struct machine_console serial, hvc;
	bool hugepages;
	uint64_t memory_max; /* bytes that a guest may have, 0: what is available */
	/* The VM's disks here, in the source's order. */
	const char *disks[MACHINE_MAX_DISKS];
	unsigned int ndisks;
	/* Instead of them: the directory in which the source's paths name files; NULL: none. */
	const char *disk_dir;
	/* The VM's interfaces here, in the source's order; none: of the same names as there. */
	const char *taps[MACHINE_MAX_NETS];
	unsigned int ntaps;
	const struct host_devices *devices; /* may be NULL */
};

/*
 * Take what waiting for a VM needs of the host and may need privileges for: this platform's
 * certificates, the listening socket. *incoming is borrowed for the service's life. Then
 * service_receive() begins to wait, and answers on the control socket.
 */
int service_listen(struct service *service, const struct service_incoming *incoming,
		   struct why *why);
int service_receive(struct service *service, struct why *why);

/* "HOST:PORT" at which service_listen() listens, with the port that was picked. */
const char *service_address(const struct service *service);

/*
 * While the target waits for the source: unauthenticated peers that connected and were refused
 * since the last call. How many there have been, 0 if there is no new one; text names the last one.
 */
unsigned int service_unauthenticated_peer(struct service *service, char *text, size_t max);

/*
 * An eventfd that becomes readable when the state changes: an unauthenticated peer connected, a
 * VM has come, a migration has ended or is at another phase. service_attend() clears it.
 */
int service_wait_fd(const struct service *service);

enum service_state service_attend(struct service *service);

/* `pause` holds the guest, also after a migration. */
bool service_paused(struct service *service);

/* `migrate --recover` may find out where the guest is. */
bool service_recoverable(struct service *service);

/* NULL while there is none. */
struct machine *service_machine(const struct service *service);

/* End the guest as if its power went, or the waiting for one. */
void service_stop(struct service *service);

/*
 * End a migration that is under way: it is cancelled unless it has passed its hand-over. Any number
 * of times.
 */
void service_finish(struct service *service);

/* Of the last migration that has ended. */
enum sevmirror_outcome service_summary(struct service *service, struct sevmirror_summary *summary);

#endif
