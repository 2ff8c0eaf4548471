/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blobs of a sealing session as a stranger may have made them: the VMM's sealed state, the map
 * of shared pages, the epoch table, the manifest, an offer at the source, and a core at the target,
 * without SEV and with it. Each is an honest one with a few bytes changed, or any bytes at all.
 * What is accepted is whole and within its bounds; what is refused has a reason. The helper is the
 * rig's, and with SEV the secure processor is this file: it answers as the fuzzer says.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sevmirror/pagemap.h>
#include <sevmirror/seal.h>

#include "lib/seal/blob.h"
#include "lib/seal/seal_private.h"
#include "lib/sev/cert.h"
#include "lib/util/page.h"
#include "tests/fuzz/migrate_rig.h"

#define BLOB_MAX   (1u << 20)
#define PLAIN_MAX  64
#define C_BIT	   51
#define CORE_BYTES (RIG_CORE_PAGES * PAGE_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum what { STATE, MAP, EPOCHS, MANIFEST, OFFER, CORE, CORE_SEV, KINDS };

static uint8_t blob[BLOB_MAX];
static uint8_t core_memory[CORE_BYTES];
static struct rig rig;
static volatile uint8_t sink; /* for what is to be read */

/* ---- the secure processor ---- */

static struct {
	unsigned int started, pages, finished;
} psp;

static char guest; /* only its address is used */

int __wrap_sev_guest_attach(struct sev_guest **out, int vm_fd, int sev_fd);
void __wrap_sev_guest_destroy(struct sev_guest *out);
uint64_t __wrap_sev_guest_commands(const struct sev_guest *out);
int __wrap_sev_guest_receive_start(struct sev_guest *out, uint32_t policy,
				   const uint8_t sender_pdh[SEV_CERT_BYTES],
				   const struct sev_session_blob *session, struct sev_error *error);
int __wrap_sev_guest_receive_update_data(struct sev_guest *out,
					 const struct sev_packet_header *header,
					 const void *transport, uint32_t bytes, void *hva,
					 struct sev_error *error);
int __wrap_sev_guest_receive_finish(struct sev_guest *out, struct sev_error *error);

int __wrap_sev_guest_attach(struct sev_guest **out, int vm_fd, int sev_fd)
{
	*out = (struct sev_guest *)&guest;
	return 0;
}

void __wrap_sev_guest_destroy(struct sev_guest *out)
{
}

uint64_t __wrap_sev_guest_commands(const struct sev_guest *out)
{
	return psp.started + psp.pages + psp.finished;
}

static int obey(struct sev_error *error)
{
	*error = (struct sev_error){ .message = "no" };
	return rig_next_answer(0) == 1 ? -EIO : 0;
}

int __wrap_sev_guest_receive_start(struct sev_guest *out, uint32_t policy,
				   const uint8_t sender_pdh[SEV_CERT_BYTES],
				   const struct sev_session_blob *session, struct sev_error *error)
{
	rig_need(!psp.started, "RECEIVE_START comes twice");
	psp.started++;
	rig_need(sender_pdh >= blob && sender_pdh + SEV_CERT_BYTES <= blob + sizeof(blob),
		 "a certificate that is not in the core");
	return obey(error);
}

int __wrap_sev_guest_receive_update_data(struct sev_guest *out,
					 const struct sev_packet_header *header,
					 const void *transport, uint32_t bytes, void *hva,
					 struct sev_error *error)
{
	const uint8_t *at = transport;

	rig_need(psp.started == 1 && !psp.finished, "a packet before RECEIVE_START");
	rig_need(bytes == PAGE_BYTES && hva == core_memory + psp.pages * PAGE_BYTES,
		 "a packet for another page");
	rig_need(at >= blob && at + bytes <= blob + sizeof(blob), "a packet outside of the core");
	psp.pages++;
	memcpy(hva, transport, bytes);
	return obey(error);
}

int __wrap_sev_guest_receive_finish(struct sev_guest *out, struct sev_error *error)
{
	rig_need(psp.pages == RIG_CORE_PAGES, "RECEIVE_FINISH before the last page");
	psp.finished++;
	return obey(error);
}

/* ---- what an honest host makes ---- */

static struct seal_blob head_of(enum seal_blob_type type, size_t bytes)
{
	return (struct seal_blob){
		.magic = SEAL_MAGIC, .version = SEAL_VERSION, .type = (uint16_t)type, .bytes = bytes
	};
}

/* The rig's helper has no keys, so plaintext is what is opened. One batch. */
static size_t put_pages(uint8_t *at, const void *plain, size_t len, uint32_t npages)
{
	const struct seal_data_batch batch = { .count = npages };

	memset(at, 0, sizeof(batch) + npages * PAGE_BYTES);
	memcpy(at, &batch, sizeof(batch));
	memcpy(at + sizeof(batch), plain, len);
	return sizeof(batch) + npages * PAGE_BYTES;
}

static size_t make_data(uint64_t label, const void *bytes, uint64_t len)
{
	uint8_t plain[8 + 4096];
	struct seal_data head = { .label = label, .npages = 1 };
	size_t total;

	memcpy(plain, &len, sizeof(len));
	memcpy(plain + sizeof(len), bytes, len);
	total = sizeof(head) + put_pages(blob + sizeof(head), plain, sizeof(len) + len, 1);
	head.blob = head_of(SEAL_DATA, total);
	memcpy(blob, &head, sizeof(head));
	return total;
}

static size_t make_map(void)
{
	struct sev_pagemap *map;
	uint8_t bytes[4096];
	size_t len;

	if (sev_pagemap_create(&map, RIG_PAGES))
		abort();
	len = sev_pagemap_save(map, bytes, sizeof(bytes));
	sev_pagemap_destroy(map);
	rig_need(len <= sizeof(bytes) - 8, "a map of this size");
	return make_data(SEAL_LABEL_MAP | 1 << 8, bytes, len);
}

static size_t make_epochs(const struct sevmirror_seal *seal)
{
	struct seal_epochs head = { .npages = seal->plan.epoch_bytes / PAGE_BYTES };
	size_t total;

	rig_need(head.npages <= HELPER_BATCH_MAX, "an epoch table of this size");
	total = sizeof(head) + put_pages(blob + sizeof(head), "", 0, (uint32_t)head.npages);
	head.blob = head_of(SEAL_EPOCHS, total);
	memcpy(blob, &head, sizeof(head));
	return total;
}

/* The parts of a core that SEV adds come before its pages, which are packets then. */
static size_t make_core_sev(void)
{
	const size_t extra = SEV_CERT_BYTES + sizeof(struct sev_session_blob);
	const size_t packet = sizeof(struct sev_packet_header) + PAGE_BYTES;
	struct seal_core core;
	size_t total = rig_core(blob, sizeof(blob)) - CORE_BYTES + extra + RIG_CORE_PAGES * packet;

	memcpy(&core, blob, sizeof(core));
	core.blob.bytes = total;
	core.flags = SEAL_F_SEV;
	core.cbit = C_BIT;
	memcpy(blob, &core, sizeof(core));
	memset(blob + total - extra - RIG_CORE_PAGES * packet, 0, extra + RIG_CORE_PAGES * packet);
	return total;
}

static size_t make(enum what what, const struct sevmirror_seal *seal, struct rig_bytes *in)
{
	uint8_t plain[PLAIN_MAX];
	uint64_t label = 0;

	memcpy(&label, "vmm", 3);
	switch (what) {
	case STATE:
		return make_data(label, plain, rig_take(in, plain, sizeof(plain)));
	case MAP:
		return make_map();
	case EPOCHS:
		return make_epochs(seal);
	case MANIFEST:
		return rig_manifest(blob, sizeof(blob));
	case OFFER:
		return rig_offer(blob, sizeof(blob));
	case CORE:
		return rig_core(blob, sizeof(blob));
	default:
		return make_core_sev();
	}
}

/* ---- what a session makes of it ---- */

static int unseal_state(struct sevmirror_seal *seal, size_t len)
{
	struct sevmirror_blob out;
	int err = sevmirror_unseal_state(seal, "vmm", blob, len, &out);

	rig_need(!err == !!out.bytes, "a state that is there, or is not");
	rig_need(out.len <= len, "a state that is longer than its blob");
	for (size_t i = 0; out.bytes && i < out.len; i++)
		sink = ((const uint8_t *)out.bytes)[i];
	free(out.bytes);
	return err;
}

static int load_map(struct sevmirror_seal *seal, size_t len)
{
	struct sev_pagemap *map;
	uint64_t gfn = 0, n;
	bool private;
	int err, again;

	if (sev_pagemap_create(&map, RIG_PAGES))
		abort();
	err = sevmirror_seal_map_load(seal, map, blob, len);
	again = err ? -1 : sevmirror_seal_map_load(seal, map, blob, len);
	rig_need(again < 0, "a map that was loaded is loaded again");
	for (; (n = sev_pagemap_run(map, gfn, &private)) > 0; gfn += n)
		;
	rig_need(gfn == RIG_PAGES, "a map of another guest");
	sev_pagemap_destroy(map);
	return err;
}

static int make_core(struct sevmirror_seal *seal, size_t len)
{
	struct sevmirror_blob out;
	int err = sevmirror_seal_core(seal, blob, len, &out);

	rig_need(!err == !!out.bytes, "a core that is there, or is not");
	free(out.bytes);
	return err;
}

static int take(enum what what, struct sevmirror_seal *seal, size_t len)
{
	int err;

	switch (what) {
	case STATE:
		return unseal_state(seal, len);
	case MAP:
		return load_map(seal, len);
	case EPOCHS:
		return sevmirror_seal_epochs_load(seal, blob, len);
	case MANIFEST:
		return sevmirror_seal_manifest_check(seal, blob, len);
	case OFFER:
		return make_core(seal, len);
	default:
		err = sevmirror_seal_accept(seal, blob, len);
		rig_need(err || what == CORE || psp.finished == 1,
			 "a core is accepted that the secure processor has not received");
		return err;
	}
}

static struct sevmirror_seal *open_session(enum what what)
{
	const struct sevmirror_seal_config config = {
		.source = what == OFFER, .rings = RIG_STREAMS, .lanes = RIG_STREAMS, .depth = 1
	};
	struct sevmirror_seal_vm vm = { .kvm_fd = -1,
					.vm_fd = -1,
					.sev_fd = what == CORE_SEV ? 0 : -1,
					.cbit_mask = what == CORE_SEV ? 1ULL << C_BIT : 0,
					.nranges = 1,
					.ranges = { { .bytes = RIG_RAM_BYTES, .fd = -1 } },
					.helper = { .fd = -1, .hva = core_memory } };
	struct sevmirror_seal *seal;

	if (sevmirror_seal_create(&seal, &vm, &config))
		abort();
	if (what < OFFER && seal_start_helper(seal, RIG_STREAMS))
		abort();
	return seal;
}

/* Anywhere in the first 4 KiB, where all the numbers are, or at the end. */
static void edit(struct rig_bytes *in, unsigned int n, size_t len)
{
	while (n--) {
		size_t at = rig_byte(in) | (size_t)rig_byte(in) << 8;

		at = at & 0x8000 ? len - 1 - at % 4096 % len : at % 4096 % len;
		blob[at] = rig_byte(in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rig_bytes in = { data, size };
	uint8_t answers[255], shape = rig_byte(&in);
	enum what what = shape % KINDS;
	struct sevmirror_seal *seal;
	size_t len;

	memset(&psp, 0, sizeof(psp));
	rig_reset(&rig, answers, rig_take(&in, answers, sizeof(answers)));
	seal = open_session(what);
	len = make(what, seal, &in);
	edit(&in, shape / KINDS % 8, len);
	/* Its length may be another one, and what comes then any bytes. */
	if (shape & 0x80) {
		len = rig_byte(&in) & 1 ? len - rig_byte(&in) % len : in.left;
		if (len <= in.left)
			memcpy(blob, in.data, len);
	}
	if (take(what, seal, len))
		rig_need(sevmirror_seal_why(seal)[0], "a refusal without a reason");
	sevmirror_seal_destroy(seal);
	rig_end(&rig);
	return 0;
}
