/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SEV firmware of the emulated host: AMD's "Secure Encrypted Virtualization API", version 0.24
 * (publication 55766), as a plain C library. It knows nothing of QEMU: the machine around it is
 * reached through struct psp_machine, and the mailbox device calls psp_command() once for each
 * command. Single-threaded: the caller serialises.
 */
#ifndef EMULATOR_PSP_PSP_H
#define EMULATOR_PSP_PSP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PSP_API_MAJOR 0
#define PSP_API_MINOR 24
#define PSP_BUILD     15

#define PSP_CHIP_SEED_BYTES 32

/* The platform's storage never grows beyond this; what nv_load() must be able to hand back. */
#define PSP_NV_MAX_BYTES 16384

/*
 * What the firmware asks of the machine. `opaque` is handed back to each call. Addresses are system
 * physical ones, without C-bit.
 */
struct psp_machine {
	/*
	 * Bytes of DRAM as they are on the bus (ciphertext where a page was written under an ASID's
	 * key). Ranges may cross pages. 0, or -EFAULT when any byte of the range is not RAM; then
	 * nothing was read or written.
	 */
	int (*read)(void *opaque, uint64_t spa, void *buf, size_t len);
	int (*write)(void *opaque, uint64_t spa, const void *buf, size_t len);

	/*
	 * The memory controller's key slots (ACTIVATE, DEACTIVATE). After remove_key() pages
	 * written under the ASID stay in DRAM as ciphertext. An ASID without a key encrypts under
	 * an unknown, random key.
	 */
	void (*install_key)(void *opaque, uint32_t asid, const uint8_t vek[16]);
	void (*remove_key)(void *opaque, uint32_t asid);

	/*
	 * Encrypt in place the plaintext at spa (16-byte aligned, len a multiple of 16) under the
	 * key installed for asid. Optional (NULL: the firmware does it with read(),
	 * memenc_encrypt() and write()); the emulator uses it to switch a whole page's form for
	 * nothing. Only called for an ASID that has a key, and for a range in one page. 0 or
	 * -EFAULT.
	 */
	int (*encrypt_in_place)(void *opaque, uint32_t asid, uint64_t spa, size_t len);

	/*
	 * wbinvd_arm() is called when caches may hold lines of an ASID that went out of use (INIT,
	 * DEACTIVATE); wbinvd_done() is true when every core has executed WBINVD since. Both
	 * optional; without wbinvd_done() the answer is always true.
	 */
	bool (*wbinvd_done)(void *opaque);
	void (*wbinvd_arm)(void *opaque);

	/* Cryptographically strong random bytes; may not fail. */
	void (*random)(void *opaque, void *buf, size_t len);

	/*
	 * The platform's non-volatile storage: one blob, replaced as a whole and atomically.
	 * nv_load returns its length (0: none yet), or a negative errno (-EFBIG when longer than
	 * max); nv_store 0 or a negative errno, with len 0 it erases the blob. The blob is
	 * encrypted and authenticated with a key of the chip.
	 */
	int (*nv_load)(void *opaque, void *buf, size_t max);
	int (*nv_store)(void *opaque, const void *buf, size_t len);

	/*
	 * first and last ASID that may be activated, as in CPUID 0x8000001F; the last at most 65535
	 */
	uint32_t min_asid;
	uint32_t max_asid;

	/*
	 * Which bits of an address in a command buffer are the system physical address; the others
	 * (the C-bit, which KVM sets in guest_address) are ignored. 0 stands for the bits below 47.
	 */
	uint64_t addr_mask;
};

struct psp;

/*
 * A firmware instance, powered up in platform state UNINIT. The chip's identity (its CEK and
 * GET_ID) comes from the seed alone, so the same seed is the same chip. *machine is copied; nothing
 * of it is called but random(). NULL when out of memory or *machine is unusable; *why (may be NULL)
 * then points at a static string that says which. Stored platform state is read by INIT, which
 * answers SECURE_DATA_INVALID once when it is damaged and starts afresh when repeated, as Linux's
 * driver does.
 */
struct psp *psp_create(const struct psp_machine *machine, void *opaque,
		       const uint8_t chip_seed[PSP_CHIP_SEED_BYTES], const char **why);

/* Wipes every secret; calls nothing of the machine. NULL is allowed. */
void psp_destroy(struct psp *psp);

/*
 * Power-on reset: guests and keys are gone (remove_key() is called for each active ASID), state is
 * UNINIT, what is in NV stays.
 */
void psp_reset(struct psp *psp);

/*
 * Execute one mailbox command (SEV_CMD_*, the number the driver wrote to the command register) with
 * its command buffer at system physical address cmdbuf (0: none). Returns the firmware status
 * (SEV_RET_* of linux/psp-sev.h, 0 is success). Never fails otherwise, whatever the bytes are. Each
 * buffer is copied once, then checked. A command that fails changes no firmware state; what it may
 * have written is its length fields and, where an output buffer turns out not to be RAM, the
 * outputs before it.
 */
uint32_t psp_command(struct psp *psp, uint32_t cmd, uint64_t cmdbuf);

#endif
