/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/seal_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE	    4096ULL
#define RECORDS_AT  (4ULL << 20) /* head and blobs end below */
#define SLOTS_AT    (5ULL << 20)
#define RECORDS_MAX ((SLOTS_AT - RECORDS_AT) / sizeof(struct stored))

enum part { CORE, STATE, MAP, EPOCHS, MANIFEST, PARTS };

struct head {
	uint64_t at[PARTS], len[PARTS];
	uint64_t end; /* of the blobs so far */
};

/* Of a page: its record, and the salt of its batch. */
struct stored {
	uint8_t salt[24];
	struct sevmirror_page_record record;
};

uint64_t seal_file_slot(unsigned int i)
{
	return SLOTS_AT + i * PAGE;
}

static int put(int fd, const void *bytes, size_t len, uint64_t at)
{
	return pwrite(fd, bytes, len, (off_t)at) == (ssize_t)len ? 0 : -EIO;
}

static int get(int fd, void *bytes, size_t len, uint64_t at)
{
	return pread(fd, bytes, len, (off_t)at) == (ssize_t)len ? 0 : -EIO;
}

/* Takes the blob over. */
static int put_blob(const struct seal_file *file, struct head *head, enum part part,
		    struct sevmirror_blob *blob)
{
	int err = head->end + blob->len > RECORDS_AT ? -ENOSPC : 0;

	head->at[part] = head->end;
	head->len[part] = blob->len;
	if (!err)
		err = put(file->fd, blob->bytes, blob->len, head->end);
	head->end += blob->len;
	free(blob->bytes);
	return err;
}

static int get_blob(const struct seal_file *file, const struct head *head, enum part part,
		    struct sevmirror_blob *blob)
{
	blob->len = head->len[part];
	blob->bytes = malloc(blob->len + 1);
	return blob->bytes ? get(file->fd, blob->bytes, blob->len, head->at[part]) : -ENOMEM;
}

static int write_batch(const struct seal_file *file, struct sevmirror_seal *source,
		       unsigned int first, unsigned int *taken)
{
	const uint8_t *bodies = sevmirror_lane_bodies(source, 0, 0);
	struct sevmirror_batch batch;
	unsigned int i;
	int err = sevmirror_lane_seal_submit(source, 0, 0, file->gpas + first, file->npages - first,
					     false, taken);

	if (!err)
		err = sevmirror_lane_seal_finish(source, 0, 0, &batch);
	for (i = 0; i < *taken && !err; i++) {
		struct stored stored = { .record = batch.record[i] };

		memcpy(stored.salt, batch.salt, sizeof(stored.salt));
		err = put(file->fd, &stored, sizeof(stored),
			  RECORDS_AT + (first + i) * sizeof(stored));
		if (!err && batch.record[i].kind == SEVMIRROR_PAGE)
			err = put(file->fd, bodies + i * PAGE, PAGE, seal_file_slot(first + i));
	}
	return err;
}

int seal_file_write(struct seal_file *file, struct sevmirror_seal *source,
		    const struct sevmirror_blob *offer, const struct sev_pagemap *map,
		    const void *state, size_t len)
{
	struct head head = { .end = sizeof(head) };
	struct sevmirror_blob blob;
	unsigned int first, taken;
	int err;

	if (file->npages > RECORDS_MAX)
		return -E2BIG;
	file->step = "core";
	err = sevmirror_seal_core(source, offer->bytes, offer->len, &blob);
	if (!err)
		err = put_blob(file, &head, CORE, &blob);
	file->step = err ? file->step : "pages";
	for (first = 0; first < file->npages && !err; first += taken)
		err = write_batch(file, source, first, &taken);
	file->step = err ? file->step : "state";
	if (!err && !(err = sevmirror_seal_state(source, "state", state, len, &blob)))
		err = put_blob(file, &head, STATE, &blob);
	file->step = err ? file->step : "map";
	if (!err && !(err = sevmirror_seal_map(source, map, &blob)))
		err = put_blob(file, &head, MAP, &blob);
	file->step = err ? file->step : "epochs";
	if (!err && !(err = sevmirror_seal_epochs(source, &blob)))
		err = put_blob(file, &head, EPOCHS, &blob);
	file->step = err ? file->step : "manifest";
	if (!err && !(err = sevmirror_seal_manifest(source, &blob)))
		err = put_blob(file, &head, MANIFEST, &blob);
	file->step = err ? file->step : "head";
	return err ? err : put(file->fd, &head, sizeof(head), 0);
}

static int read_page(const struct seal_file *file, struct sevmirror_seal *target, unsigned int i)
{
	struct sevmirror_batch batch = { .count = 1 };
	struct stored stored;
	int err = get(file->fd, &stored, sizeof(stored), RECORDS_AT + i * sizeof(stored));

	memcpy(batch.salt, stored.salt, sizeof(batch.salt));
	batch.record[0] = stored.record;
	if (!err && batch.record[0].kind == SEVMIRROR_PAGE)
		err = get(file->fd, sevmirror_lane_bodies(target, 0, 0), PAGE, seal_file_slot(i));
	if (!err)
		err = sevmirror_lane_open_submit(target, 0, 0, &batch, false);
	return err ? err : sevmirror_lane_open_finish(target, 0, 0, NULL);
}

static int take(struct seal_file *file, struct sevmirror_seal *target, struct sev_pagemap *map,
		void *state, size_t len, const struct head *head, enum part part)
{
	static const char *const names[PARTS] = { "core", "state", "map", "epochs", "manifest" };
	struct sevmirror_blob blob = { 0 }, plain = { 0 };
	int err = get_blob(file, head, part, &blob);

	file->step = names[part];
	if (!err && part == CORE)
		err = sevmirror_seal_accept(target, blob.bytes, blob.len);
	else if (!err && part == STATE)
		err = sevmirror_unseal_state(target, "state", blob.bytes, blob.len, &plain);
	else if (!err && part == MAP)
		err = sevmirror_seal_map_load(target, map, blob.bytes, blob.len);
	else if (!err && part == EPOCHS)
		err = sevmirror_seal_epochs_load(target, blob.bytes, blob.len);
	else if (!err)
		err = sevmirror_seal_manifest_check(target, blob.bytes, blob.len);
	if (!err && part == STATE) {
		err = plain.len == len ? 0 : -EIO;
		if (!err)
			memcpy(state, plain.bytes, len);
	}
	free(plain.bytes);
	free(blob.bytes);
	return err;
}

int seal_file_read(struct seal_file *file, struct sevmirror_seal *target, struct sev_pagemap *map,
		   void *state, size_t len)
{
	struct head head;
	unsigned int i;
	enum part part;
	int err = get(file->fd, &head, sizeof(head), 0);

	for (part = CORE; part <= EPOCHS && !err; part++)
		err = take(file, target, map, state, len, &head, part);
	file->step = err ? file->step : "pages";
	for (i = file->npages; i-- > 0 && !err;)
		err = read_page(file, target, i);
	return err ? err : take(file, target, map, state, len, &head, MANIFEST);
}
