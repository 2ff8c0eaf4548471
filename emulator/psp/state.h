/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware's state, and what its files offer each other. Not for users of the library: they
 * include psp.h.
 */
#ifndef EMULATOR_PSP_STATE_H
#define EMULATOR_PSP_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nettle/sha2.h>

#include "ec.h"
#include "memenc.h"
#include "psp.h"
#include "wire.h"

#define GUESTS_MAX	 64
#define PAGE_BYTES	 4096u
#define PACKET_MAX_BYTES 16384u

/* A guest context. The handle is its place in psp->guests, plus one. */
struct guest {
	enum guest_state state; /* GUEST_UNINIT: free */
	uint32_t policy;
	uint32_t asid; /* 0: not active */
	uint64_t key_id; /* the same for guests that share a VEK */
	uint8_t vek[16]; /* memory encryption key */
	struct memenc_key *mem; /* the VEK, expanded */
	uint8_t tek[16]; /* transport encryption and integrity keys */
	uint8_t tik[16];
	struct sha256_ctx launch; /* over all LAUNCH_UPDATE_DATA so far */
	/* zeros until LAUNCH_MEASURE, and in a guest that was received */
	uint8_t launch_digest[32];
	uint8_t measurement[32];
};

/* The identity of this platform, as long as it has this owner: in non-volatile storage. */
struct identity {
	bool external; /* owned through PEK_CERT_IMPORT; then oca.d is unknown and zero */
	struct ec_key oca; /* owner's certificate authority */
	struct ec_key pek; /* platform endorsement key */
	struct ec_key pdh; /* platform Diffie-Hellman key */
	struct sev_cert oca_cert, pek_cert, pdh_cert;
};

/* The identity of this chip: from the seed alone. */
struct chip {
	uint8_t id[CHIP_ID_BYTES];
	struct ec_key cek; /* chip endorsement key */
	struct sev_cert cek_cert;
	uint8_t nv_key[16]; /* seals what goes to non-volatile storage */
	uint8_t nv_mac_key[32];
};

struct asid_slot {
	uint32_t users; /* active guests */
	uint64_t key_id; /* whose key is installed, when there are users */
	bool stale; /* may be in caches or the data fabric: DF_FLUSH before the next ACTIVATE */
};

struct psp {
	struct psp_machine machine;
	void *opaque;
	struct chip chip;

	enum platform_state state;
	bool es;
	struct identity identity; /* unless UNINIT */
	bool nv_in_ram; /* INIT_EX gave a region of memory for non-volatile storage */
	uint64_t nv_addr;
	bool nv_rejected; /* the last INIT found it damaged: the next one replaces it */

	struct guest guests[GUESTS_MAX];
	uint64_t last_key_id;
	struct asid_slot *asids; /* max_asid + 1 */
};

/* One command in execution: its buffer was read once, into cmd. */
struct call {
	struct psp *psp;
	struct guest *guest; /* for commands on an existing guest */
	uint64_t addr;
	size_t len;
	union {
		struct cmd_init init;
		struct cmd_init_ex init_ex;
		struct cmd_platform_status platform_status;
		struct cmd_buffer buffer;
		struct cmd_pek_cert_import pek_cert_import;
		struct cmd_pdh_cert_export pdh_cert_export;
		struct cmd_handle handle;
		struct cmd_activate activate;
		struct cmd_guest_status guest_status;
		struct cmd_start start;
		struct cmd_guest_buffer guest_buffer;
		struct cmd_packet packet;
		struct cmd_attestation_report attestation_report;
		struct cmd_send_start send_start;
		struct cmd_dbg dbg;
	} cmd;
};

typedef enum psp_status command_fn(struct call *call);

/*
 * memory.c: system physical memory, addresses as they come in command buffers (0: no address).
 * PSP_OK or PSP_INVALID_ADDRESS.
 */
uint64_t psp_spa(const struct psp *psp, uint64_t addr);
enum psp_status psp_read(struct psp *psp, uint64_t addr, void *buf, size_t len);
enum psp_status psp_write(struct psp *psp, uint64_t addr, const void *buf, size_t len);
/* Write the command buffer back, with the fields that the command set. */
enum psp_status psp_reply(struct call *call);
/* The guest's private memory: 16-byte aligned, len a multiple of 16. */
enum psp_status psp_guest_read(struct psp *psp, const struct guest *guest, uint64_t addr, void *buf,
			       size_t len);
enum psp_status psp_guest_write(struct psp *psp, const struct guest *guest, uint64_t addr,
				void *buf, size_t len);
/*
 * Copy the next chunk of [addr, addr + len) of plaintext into buf, which has room for a page, and
 * encrypt it in place.
 */
enum psp_status psp_guest_encrypt_page(struct psp *psp, const struct guest *guest, uint64_t addr,
				       void *buf, size_t len);
/* The bytes from addr on that are in its page, at most len. */
size_t psp_page_chunk(uint64_t addr, size_t len);
/*
 * Whether all of a range that is worked on in several steps is RAM, so that the command fails
 * before the first of them or not at all.
 */
enum psp_status psp_probe(struct psp *psp, uint64_t addr, size_t len);

/* psp.c */
struct rng psp_rng(const struct psp *psp);
void psp_random(const struct psp *psp, void *buf, size_t len);

/* chip.c: false when the vendor's key would not sign, which the caller reports as out of memory. */
bool psp_chip_init(struct chip *chip, const uint8_t seed[PSP_CHIP_SEED_BYTES],
		   const struct rng *rng);

/* identity.c */
void psp_identity_generate(const struct psp *psp, struct identity *id);
void psp_identity_new_pdh(const struct psp *psp, struct identity *id);
bool psp_identity_consistent(const struct psp *psp, struct identity *id);

/*
 * nv.c: the identity in non-volatile storage. psp_nv_load(): 1 when *id is filled, 0 when there is
 * none, -1 when there is one that is damaged or another chip's, -2 when the storage fails.
 * psp_nv_store(), psp_nv_erase(): false when the storage fails.
 */
int psp_nv_load(struct psp *psp, struct identity *id);
bool psp_nv_store(struct psp *psp, const struct identity *id);
bool psp_nv_erase(struct psp *psp);

/* guest.c */
uint32_t psp_guest_handle(const struct psp *psp, const struct guest *guest);
struct guest *psp_guest_find(struct psp *psp, uint32_t handle);
unsigned int psp_guest_count(const struct psp *psp);
/*
 * A new guest context, not yet entered in psp->guests, with a fresh VEK or, when share is not 0,
 * that guest's.
 */
enum psp_status psp_guest_prepare(struct psp *psp, uint32_t share, uint32_t policy,
				  struct guest *guest);
/*
 * Enter it and tell the host its handle: the end of LAUNCH_START and RECEIVE_START. Takes *guest
 * over, or wipes it on failure.
 */
enum psp_status psp_guest_enter(struct call *call, struct guest *guest);
void psp_guest_wipe(struct guest *guest);
/* All guests gone and all ASIDs stale. With remove_keys the machine's key slots are emptied too. */
void psp_guests_clear(struct psp *psp, bool remove_keys);

/* session.c */
void psp_session_wrap(const uint8_t z[EC_BYTES], const struct rng *rng, uint32_t policy,
		      const uint8_t tek[16], const uint8_t tik[16], struct session *session);
bool psp_session_unwrap(const uint8_t z[EC_BYTES], const struct session *session, uint32_t policy,
			uint8_t tek[16], uint8_t tik[16]);
/*
 * LAUNCH_START's and RECEIVE_START's side: read the peer's certificate and session, and fill in the
 * guest's transport keys.
 */
enum psp_status psp_session_accept(struct call *call, struct guest *guest);

/*
 * packet.c: buf is plaintext before, payload after psp_packet_seal(); the other way round for
 * psp_packet_open().
 */
void psp_packet_seal(const struct guest *guest, const struct rng *rng, enum mac_tag tag,
		     struct packet_header *hdr, void *buf, uint32_t len);
enum psp_status psp_packet_open(const struct guest *guest, enum mac_tag tag,
				const struct packet_header *hdr, void *buf, uint32_t guest_len,
				uint32_t trans_len, const uint8_t *extra, size_t extra_len);
/* LAUNCH_UPDATE_SECRET and RECEIVE_UPDATE_DATA from the command buffer on. */
enum psp_status psp_packet_to_guest(struct call *call, enum mac_tag tag, const uint8_t *extra,
				    size_t extra_len);

/*
 * The commands: platform.c, identity.c, guest.c, launch.c, attestation.c, send.c, receive.c,
 * debug.c.
 */
command_fn psp_cmd_init, psp_cmd_init_ex, psp_cmd_shutdown, psp_cmd_factory_reset;
command_fn psp_cmd_platform_status, psp_cmd_df_flush, psp_cmd_download_firmware, psp_cmd_get_id;
command_fn psp_cmd_pek_gen, psp_cmd_pek_csr, psp_cmd_pek_cert_import;
command_fn psp_cmd_pdh_gen, psp_cmd_pdh_cert_export;
command_fn psp_cmd_activate, psp_cmd_deactivate, psp_cmd_decommission, psp_cmd_guest_status;
command_fn psp_cmd_launch_start, psp_cmd_launch_update_data, psp_cmd_launch_measure;
command_fn psp_cmd_launch_update_secret, psp_cmd_launch_finish;
command_fn psp_cmd_attestation_report;
command_fn psp_cmd_send_start, psp_cmd_send_update_data, psp_cmd_send_finish, psp_cmd_send_cancel;
command_fn psp_cmd_receive_start, psp_cmd_receive_update_data, psp_cmd_receive_finish;
command_fn psp_cmd_dbg_decrypt, psp_cmd_dbg_encrypt;

#endif
