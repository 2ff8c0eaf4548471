/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Sealed by the helper, for want of a key here: the map, the VMM's state, the epoch table. */
#include "lib/seal/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sevmirror/pagemap.h>

#include "helper/layout.h"
#include "lib/util/page.h"

#define STATE_MAX (1ULL << 30)
#define NAME_MAX  7

static uint64_t chunk_bytes(uint64_t npages)
{
	return sizeof(struct seal_data_batch) + npages * PAGE_BYTES;
}

/* Of npages in batches: all batches are full but the last. */
static uint64_t body_bytes(uint64_t npages)
{
	uint64_t batches = (npages + HELPER_BATCH_MAX - 1) / HELPER_BATCH_MAX;

	return batches * sizeof(struct seal_data_batch) + npages * PAGE_BYTES;
}

/* What one run over pages is about. */
struct data_run {
	uint16_t op;
	uint64_t label; /* data */
	uint64_t npages;
	uint64_t first; /* page of the batch */
	uint32_t count; /* pages of it */
};

/* Ask the helper for the batch that is in the data area. -EBADMSG: it was refused. */
static int ask(struct sevmirror_seal *seal, const struct data_run *run)
{
	bool table = run->op == HELPER_OP_EPOCHS_EXPORT || run->op == HELPER_OP_EPOCHS_IMPORT;
	struct helper_request request = { .op = run->op,
					  .count = run->count,
					  .page = seal_data_page(seal),
					  .first = table ? (uint32_t)run->first : 0 };
	struct helper_completion c;
	int err = rings_call(seal->rings, 0, &request, &c, SEAL_PATIENCE_NS);

	if (err)
		return seal_fail(seal, err, "the helper did not finish a request: %s",
				 rings_explain(seal->rings, err));
	if (c.status == HELPER_OK && c.count == run->count)
		return 0;
	return c.status == HELPER_MISMATCH ?
		       -EBADMSG :
		       seal_fail(seal, -EIO, "the helper refused: %s", rings_status_name(c.status));
}

static void put_records(struct sevmirror_seal *seal, const struct data_run *run,
			const struct seal_data_batch *from)
{
	struct helper_batch *batch = rings_page(seal->rings, seal_data_page(seal));
	uint32_t i;

	if (from)
		memcpy(batch->salt, from->salt, sizeof(batch->salt));
	for (i = 0; i < run->count; i++) {
		uint64_t number = run->first + i;
		struct helper_record r = { .gpa = run->label,
					   .epoch = (uint32_t)number,
					   .kind = number + 1 == run->npages ? HELPER_DATA_LAST :
									       HELPER_DATA,
					   .index = (uint16_t)i,
					   .slot = seal_data_page(seal) + 1 + i };

		if (from)
			memcpy(r.tag, from->tag[i], sizeof(r.tag));
		batch->record[i] = r;
	}
}

static uint8_t *data_area(const struct sevmirror_seal *seal)
{
	return rings_page(seal->rings, seal_data_page(seal) + 1);
}

/* The next batch of a run; false at its end. */
static bool next(struct data_run *run)
{
	run->first += run->count;
	run->count = run->npages - run->first < HELPER_BATCH_MAX ?
			     (uint32_t)(run->npages - run->first) :
			     HELPER_BATCH_MAX;
	return run->count > 0;
}

/* Seal a run into out; plain (NULL: the helper's own table) is run->npages pages. */
static int seal_run(struct sevmirror_seal *seal, struct data_run *run, const uint8_t *plain,
		    uint8_t *out)
{
	const struct helper_batch *batch = rings_page(seal->rings, seal_data_page(seal));
	int err = 0;

	while (!err && next(run)) {
		struct seal_data_batch head = { .count = run->count };
		uint32_t i;

		put_records(seal, run, NULL);
		if (plain)
			memcpy(data_area(seal), plain + run->first * PAGE_BYTES,
			       run->count * PAGE_BYTES);
		err = ask(seal, run);
		if (err == -EBADMSG)
			err = seal_fail(seal, -EIO, "the helper did not seal all of the data");
		memcpy(head.salt, batch->salt, sizeof(head.salt));
		for (i = 0; i < run->count; i++)
			memcpy(head.tag[i], batch->record[i].tag, sizeof(head.tag[i]));
		memcpy(out, &head, sizeof(head));
		memcpy(out + sizeof(head), data_area(seal), run->count * PAGE_BYTES);
		out += chunk_bytes(run->count);
	}
	return err;
}

/* The reverse; out (NULL: it goes into the helper's table) gets run->npages pages. */
static int open_run(struct sevmirror_seal *seal, struct data_run *run, const uint8_t *in,
		    uint8_t *out)
{
	int err = 0;

	while (!err && next(run)) {
		struct seal_data_batch head;

		memcpy(&head, in, sizeof(head));
		if (head.count != run->count || head.reserved)
			return -EBADMSG;
		put_records(seal, run, &head);
		memcpy(data_area(seal), in + sizeof(head), run->count * PAGE_BYTES);
		err = ask(seal, run);
		if (!err && out)
			memcpy(out + run->first * PAGE_BYTES, data_area(seal),
			       run->count * PAGE_BYTES);
		explicit_bzero(data_area(seal), run->count * PAGE_BYTES);
		in += chunk_bytes(run->count);
	}
	return err;
}

static int seal_data(struct sevmirror_seal *seal, uint64_t label, const void *bytes, size_t len,
		     struct sevmirror_blob *blob)
{
	uint64_t npages = (sizeof(uint64_t) + len + PAGE_BYTES - 1) / PAGE_BYTES, length = len;
	struct seal_data head = { .label = label, .npages = npages };
	struct data_run run = { .op = HELPER_OP_DATA_SEAL, .label = label, .npages = npages };
	size_t total = sizeof(head) + body_bytes(npages);
	uint8_t *plain, *out;
	int err;

	err = seal_begin_blob(seal, blob);
	if (err)
		return err;
	plain = calloc(npages, PAGE_BYTES);
	out = malloc(total);
	if (!plain || !out) {
		free(plain);
		free(out);
		return seal_fail(seal, -ENOMEM, "out of memory for the sealed data");
	}
	memcpy(plain, &length, sizeof(length));
	memcpy(plain + sizeof(length), bytes, len);
	head.blob = seal_blob_head(SEAL_DATA, total);
	memcpy(out, &head, sizeof(head));
	err = seal_run(seal, &run, plain, out + sizeof(head));
	explicit_bzero(plain, npages * PAGE_BYTES);
	free(plain);
	if (err)
		free(out);
	else
		*blob = (struct sevmirror_blob){ out, total };
	return err;
}

static int check_data(struct sevmirror_seal *seal, const void *bytes, size_t len,
		      struct seal_data *head)
{
	int err = seal_take_blob(seal, bytes, len, SEAL_DATA, head, sizeof(*head));

	if (err)
		return err;
	if (head->npages < 1 || head->npages > STATE_MAX / PAGE_BYTES + 1 ||
	    len != sizeof(*head) + body_bytes(head->npages))
		return seal_fail(seal, -EPROTO, "the sealed data have a wrong length");
	return seal_drain(seal);
}

/* *plain (the caller's to wipe and free) has *len bytes from offset 8 on. */
static int open_data(struct sevmirror_seal *seal, const struct seal_data *head, const uint8_t *in,
		     uint8_t **plain, uint64_t *len)
{
	struct data_run run = { .op = HELPER_OP_DATA_OPEN,
				.label = head->label,
				.npages = head->npages };
	uint64_t room = head->npages * PAGE_BYTES;
	int err;

	*plain = calloc(head->npages, PAGE_BYTES);
	if (!*plain)
		return seal_fail(seal, -ENOMEM, "out of memory for the sealed data");
	err = open_run(seal, &run, in + sizeof(*head), *plain);
	memcpy(len, *plain, sizeof(*len));
	if (!err && (*len > room - sizeof(*len) || room - sizeof(*len) - *len >= PAGE_BYTES))
		err = -EBADMSG;
	if (!err)
		return 0;
	explicit_bzero(*plain, room);
	free(*plain);
	*plain = NULL;
	return err == -EBADMSG ?
		       seal_fail(seal, err,
				 "this session did not seal this data, or the data was changed") :
		       err;
}

/* A state's label: its name, padded with NUL. 0: not a name. */
static uint64_t label_of(const char *name)
{
	size_t len = strnlen(name, NAME_MAX + 1), i;
	uint64_t label = 0;

	if (len < 1 || len > NAME_MAX)
		return 0;
	for (i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return 0;
	memcpy(&label, name, len);
	return label;
}

int sevmirror_seal_state(struct sevmirror_seal *seal, const char *name, const void *bytes,
			 size_t len, struct sevmirror_blob *blob)
{
	*blob = (struct sevmirror_blob){ 0 };
	if (!label_of(name) || len > STATE_MAX)
		return -EINVAL;
	return seal_data(seal, label_of(name), bytes, len, blob);
}

int sevmirror_unseal_state(struct sevmirror_seal *seal, const char *name, const void *blob,
			   size_t len, struct sevmirror_blob *bytes)
{
	struct seal_data head;
	uint8_t *plain = NULL;
	uint64_t n = 0;
	int err;

	*bytes = (struct sevmirror_blob){ 0 };
	if (!label_of(name))
		return -EINVAL;
	err = check_data(seal, blob, len, &head);
	if (!err && head.label != label_of(name))
		err = seal_fail(seal, -EBADMSG, "the sealed data have another name than '%s'",
				name);
	if (!err)
		err = open_data(seal, &head, blob, &plain, &n);
	if (err || !plain)
		return err;
	memmove(plain, plain + sizeof(n), n);
	*bytes = (struct sevmirror_blob){ plain, n };
	return 0;
}

int sevmirror_seal_map(struct sevmirror_seal *seal, const struct sev_pagemap *map,
		       struct sevmirror_blob *blob)
{
	size_t room = sev_pagemap_save(map, NULL, 0), len;
	uint8_t *bytes;
	int err;

	*blob = (struct sevmirror_blob){ 0 };
	/* It may change while it is saved: try with the room that it said last. */
	for (bytes = NULL;; room = len) {
		free(bytes);
		bytes = malloc(room);
		if (!bytes)
			return seal_fail(seal, -ENOMEM, "out of memory for the sealed data");
		len = sev_pagemap_save(map, bytes, room);
		if (len <= room)
			break;
	}
	err = seal_data(seal, SEAL_LABEL_MAP | (uint64_t)++seal->maps_made << 8, bytes, len, blob);
	free(bytes);
	return err;
}

int sevmirror_seal_map_load(struct sevmirror_seal *seal, struct sev_pagemap *map, const void *blob,
			    size_t len)
{
	struct seal_data head;
	uint32_t number;
	uint8_t *plain = NULL;
	uint64_t n = 0;
	int err = check_data(seal, blob, len, &head);

	if (err)
		return err;
	number = (uint32_t)(head.label >> 8);
	if ((head.label & 0xff) != SEAL_LABEL_MAP || head.label >> 40 || number <= seal->map_seen)
		return seal_fail(
			seal, -EBADMSG,
			"the sealed data are not a map of shared pages, or they are an old one");
	err = open_data(seal, &head, blob, &plain, &n);
	if (err || !plain)
		return err;
	err = sev_pagemap_load(map, plain + sizeof(n), n);
	free(plain);
	if (err)
		return seal_fail(seal, err, "the map of shared pages is another guest's");
	seal->map_seen = number;
	return 0;
}

int sevmirror_seal_epochs(struct sevmirror_seal *seal, struct sevmirror_blob *blob)
{
	uint64_t npages = seal->plan.epoch_bytes / PAGE_BYTES;
	struct data_run run = { .op = HELPER_OP_EPOCHS_EXPORT, .npages = npages };
	struct seal_epochs head = { .npages = npages };
	size_t total = sizeof(head) + body_bytes(npages);
	uint8_t *out;
	int err;

	err = seal_begin_blob(seal, blob);
	if (err)
		return err;
	out = malloc(total);
	if (!out)
		return seal_fail(seal, -ENOMEM, "out of memory for the sealed data");
	head.blob = seal_blob_head(SEAL_EPOCHS, total);
	memcpy(out, &head, sizeof(head));
	err = seal_run(seal, &run, NULL, out + sizeof(head));
	if (err)
		free(out);
	else
		*blob = (struct sevmirror_blob){ out, total };
	return err;
}

int sevmirror_seal_epochs_load(struct sevmirror_seal *seal, const void *bytes, size_t len)
{
	const struct helper_request exact = { .op = HELPER_OP_EXACT };
	struct data_run run = { .op = HELPER_OP_EPOCHS_IMPORT,
				.npages = seal->plan.epoch_bytes / PAGE_BYTES };
	struct helper_completion c;
	struct seal_epochs head;
	int err = seal_take_blob(seal, bytes, len, SEAL_EPOCHS, &head, sizeof(head));

	if (err)
		return err;
	if (head.npages != run.npages || len != sizeof(head) + body_bytes(run.npages))
		return seal_fail(seal, -EPROTO, "the epoch table is another guest's");
	err = seal_drain(seal);
	if (!err)
		err = open_run(seal, &run, (const uint8_t *)bytes + sizeof(head), NULL);
	if (err == -EBADMSG)
		return seal_fail(seal, err, "the epoch table is not one that this session sealed");
	if (!err)
		err = rings_call(seal->rings, 0, &exact, &c, SEAL_PATIENCE_NS);
	if (!err && c.status != HELPER_OK)
		err = -EIO;
	return err ? seal_fail(seal, err, "the helper does not take the epoch table") : 0;
}
