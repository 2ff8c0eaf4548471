/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulator's firmware for tests of lib/sev, with plain bytes between them: both sides have
 * structures of the same names, and neither includes the other's.
 */
#ifndef TESTS_UNIT_SEV_FIRMWARE_H
#define TESTS_UNIT_SEV_FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

struct firmware;

/* A chip of its own, initialised. */
struct firmware *firmware_up(uint8_t chip);
void firmware_down(struct firmware *fw);

void firmware_version(struct firmware *fw, uint8_t *major, uint8_t *minor, uint8_t *build);
void firmware_certs(struct firmware *fw, void *pdh, void *chain);
void firmware_new_pek(struct firmware *fw); /* PEK_GEN: a new PEK and PDH */
void firmware_new_pdh(struct firmware *fw); /* PDH_GEN */

/* The firmware's status; *handle is the guest's. godh, session: 2084 and 128 bytes. */
uint32_t firmware_launch_start(struct firmware *fw, uint32_t policy, const void *godh,
			       const void *session, uint32_t *handle);
/* Assert success. The guest has the ASID 1; its memory is where data was put. */
void firmware_launch_data(struct firmware *fw, uint32_t handle, const void *data, size_t len);
void firmware_launch_measure(struct firmware *fw, uint32_t handle, uint8_t measurement[48]);
/* The firmware's status; guest: what the guest sees then, len bytes. */
uint32_t firmware_launch_secret(struct firmware *fw, uint32_t handle, const void *header,
				const void *payload, size_t len, void *guest);

#endif
