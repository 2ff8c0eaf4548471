/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What a session's blobs hold, all on one page. All integers are little-endian, no structure has
 * padding. Every blob begins with struct seal_blob; a blob of another version is refused.
 */
#ifndef LIB_SEAL_BLOB_H
#define LIB_SEAL_BLOB_H

#include <stdint.h>

#include "helper/protocol.h"
#include "lib/sev/format.h"

#define SEAL_MAGIC   0x4c534d53u /* "SMSL" */
#define SEAL_VERSION 1

enum seal_blob_type {
	SEAL_OFFER = 1,
	SEAL_CORE,
	SEAL_DATA, /* the map, the VMM's state */
	SEAL_MANIFEST,
	SEAL_EPOCHS,
};

struct seal_blob {
	uint32_t magic;
	uint16_t version;
	uint16_t type; /* enum seal_blob_type */
	uint64_t bytes; /* of the whole blob */
};

#define SEAL_F_SEV 1u

/* Then the platform's PDH, its chain, and ASK with ARK. */
struct seal_offer {
	struct seal_blob blob;
	uint32_t flags;
	uint16_t helper_version;
	uint8_t cbit;
	uint8_t reserved;
	uint8_t helper_digest[32];
	uint32_t pdh_bytes, chain_bytes, vendor_bytes; /* 0 without SEV */
	uint32_t reserved2;
};

struct seal_range {
	uint64_t gpa, bytes;
};

/*
 * Then nranges times struct seal_range; with SEV the source's PDH and the session; then the core's
 * pages: with SEV npages packets (struct sev_packet_header, a page of payload), else the pages.
 */
struct seal_core {
	struct seal_blob blob;
	uint32_t flags;
	uint16_t helper_version;
	uint8_t cbit;
	uint8_t reserved;
	uint8_t helper_digest[32];
	uint32_t policy;
	uint32_t nranges;
	uint32_t npages;
	uint32_t rings; /* 0: any number (HELPER_SESSION_ANY_RING) */
};

/*
 * Then for each 64 pages, or what is left: struct seal_data_batch with one record a page, and the
 * pages' ciphertext. The plaintext is {u64 bytes, the bytes, zeros to the end of the page}.
 */
struct seal_data {
	struct seal_blob blob;
	uint64_t label; /* the map's: SEAL_LABEL_MAP and a number; the state's: its name */
	uint64_t npages;
};

/* in the first byte, which is no character of a name; then 32 bits */
#define SEAL_LABEL_MAP 0xffULL

struct seal_manifest {
	struct seal_blob blob;
	uint32_t nspans;
	uint32_t reserved;
	struct {
		uint8_t salt[24];
		uint8_t tag[16];
	} span[];
};

/* As struct seal_data, without length in front of the plaintext: the table's pages. */
struct seal_epochs {
	struct seal_blob blob;
	uint64_t npages;
};

/* One batch of sealed pages: salt, count, and a tag for each. Records' index is their place. */
struct seal_data_batch {
	uint8_t salt[24];
	uint32_t count;
	uint32_t reserved;
	uint8_t tag[HELPER_BATCH_MAX][16];
};

_Static_assert(sizeof(struct seal_offer) == 16 + 4 + 4 + 32 + 16, "no padding");
_Static_assert(sizeof(struct seal_core) == 16 + 4 + 4 + 32 + 16, "no padding");
_Static_assert(sizeof(struct seal_data_batch) == 32 + 64 * 16, "no padding");

#endif
