/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine around the firmware for its tests: some RAM, key slots, non-volatile storage, a core
 * that can execute WBINVD.
 */
#ifndef TESTS_UNIT_PSP_MACHINE_H
#define TESTS_UNIT_PSP_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "emulator/psp/memenc.h"
#include "emulator/psp/psp.h"
#include "emulator/psp/state.h"
#include "emulator/psp/wire.h"

#define RAM_BASE  0x100000ull
#define RAM_BYTES 0x1000000ull
#define MIN_ASID  1
#define MAX_ASID  8
#define C_BIT	  (1ull << 47)
#define NOT_RAM	  0x40000000ull

struct machine {
	struct psp *psp;
	uint8_t chip;
	uint8_t *ram;
	uint64_t next; /* where put() allocates */
	struct memenc_key *slots[MAX_ASID + 1];
	uint8_t nv[PSP_NV_MAX_BYTES];
	int nv_len;
	bool nv_load_fails, nv_store_fails;
	bool wbinvd_pending;
	bool encrypt_in_place;
	uint64_t rng;
};

/* Power up a chip. Different chips are different machines with different random numbers. */
void machine_up(struct machine *m, uint8_t chip);
void machine_down(struct machine *m);
/* Take the firmware away and power it up again, RAM and storage as they are. */
void machine_power_cycle(struct machine *m);

/* Room in RAM (page aligned), filled with data unless that is NULL. */
uint64_t put(struct machine *m, const void *data, size_t len);
void *at(struct machine *m, uint64_t spa);

/*
 * Execute a command with a copy of this command buffer in RAM, and copy it back. NULL, 0: without
 * one.
 */
uint32_t run(struct machine *m, uint32_t cmd, void *buf, size_t len);
#define RUN(m, cmd, buf) run(m, cmd, buf, sizeof(*(buf)))
uint32_t run_handle(struct machine *m, uint32_t cmd, uint32_t handle);

/* Each asserts success. */
void machine_init(struct machine *m); /* INIT, WBINVD, DF_FLUSH */
void wbinvd(struct machine *m);
uint32_t launch_start(struct machine *m, uint32_t policy);
void activate(struct machine *m, uint32_t handle, uint32_t asid);
void launch_update(struct machine *m, uint32_t handle, uint64_t spa, uint32_t len);
void launch_measure(struct machine *m, uint32_t handle, struct launch_measure *measure);
/* A guest in RUNNING, active, with len bytes of memory at spa launched. */
uint32_t launch(struct machine *m, uint32_t policy, uint32_t asid, uint64_t spa, uint32_t len);
void release(struct machine *m, uint32_t handle); /* DEACTIVATE and DECOMMISSION */
struct cmd_guest_status guest_status(struct machine *m, uint32_t handle);
struct cmd_platform_status platform_status(struct machine *m);
void pdh_export(struct machine *m, struct sev_cert *pdh, struct cert_chain *chain);

/* What a guest with this ASID sees at spa, by the machine's own key slot. */
void guest_sees(struct machine *m, uint32_t asid, uint64_t spa, void *buf, size_t len);

/* SEND_START of this guest to this target, by certificates in the caller's hands. */
struct target_certs {
	struct sev_cert pdh;
	struct cert_chain chain;
	struct vendor_chain vendor;
};
void target_certs(struct machine *target, struct target_certs *certs);
uint32_t send_start(struct machine *m, uint32_t handle, const struct target_certs *target,
		    struct session *session);
uint32_t send_data(struct machine *m, uint32_t handle, uint64_t spa, uint32_t len,
		   struct packet_header *hdr, void *payload);
uint32_t receive_start(struct machine *m, uint32_t policy, const struct sev_cert *pdh,
		       const struct session *session, uint32_t *handle);
uint32_t receive_data(struct machine *m, uint32_t handle, uint64_t spa, uint32_t len,
		      const struct packet_header *hdr, const void *payload);

/* A guest with this policy that runs on src (ASID 5), its memory at image, and a target. */
#define PAIR_BYTES (3 * 4096)
struct pair {
	struct machine src, dst;
	struct target_certs target;
	struct sev_cert src_pdh;
	uint8_t plain[PAIR_BYTES];
	uint64_t image;
	uint32_t handle;
	uint32_t policy;
};
void pair_up(struct pair *p, uint32_t policy);
void pair_down(struct pair *p);

/*
 * To see that a refused command changed nothing: firmware state, key slots, storage, RAM but for
 * the command buffer.
 */
struct snapshot {
	struct psp psp;
	struct asid_slot asids[MAX_ASID + 1];
	uint8_t nv[PSP_NV_MAX_BYTES];
	uint8_t ram[RAM_BYTES];
};
struct snapshot *snapshot_take(const struct machine *m);
/* Asserts that nothing changed, and frees it. */
void snapshot_check(struct snapshot *snapshot, const struct machine *m);

#endif
