/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The manifest: each helper's MAC over the epochs of its pages, span by span, so that the target
 * does not run a guest whose private memory is not, page for page, what the source sealed last.
 */
#include "lib/seal/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util/page.h"

_Static_assert(sizeof(((struct rings_manifest *)0)->span[0]) ==
		       sizeof(((struct seal_manifest *)0)->span[0]),
	       "spans travel as they are");

static size_t span_bytes(const struct sevmirror_seal *seal)
{
	return rings_manifest_spans(seal->rings) * sizeof(((struct seal_manifest *)0)->span[0]);
}

static struct rings_manifest *manifest_alloc(struct sevmirror_seal *seal)
{
	struct rings_manifest *manifest = calloc(1, sizeof(*manifest) + span_bytes(seal));

	if (!manifest)
		seal_fail(seal, -ENOMEM, "out of memory for the manifest");
	else
		manifest->nspans = rings_manifest_spans(seal->rings);
	return manifest;
}

int sevmirror_seal_manifest(struct sevmirror_seal *seal, struct sevmirror_blob *blob)
{
	struct rings_manifest *manifest;
	struct seal_manifest *out;
	size_t total;
	int err = seal_begin_blob(seal, blob);

	if (err)
		return err;
	total = sizeof(*out) + span_bytes(seal);
	manifest = manifest_alloc(seal);
	out = calloc(1, total);
	if (!manifest || !out) {
		free(manifest);
		free(out);
		return seal_fail(seal, -ENOMEM, "out of memory for the manifest");
	}
	err = rings_manifest_make(seal->rings, manifest);
	out->blob = seal_blob_head(SEAL_MANIFEST, total);
	out->nspans = manifest->nspans;
	memcpy(out->span, manifest->span, span_bytes(seal));
	free(manifest);
	if (err) {
		free(out);
		return seal_fail_because(seal, SEVMIRROR_REASON_HELPER, err,
					 "the helper cannot make the manifest on the source: %s",
					 rings_explain(seal->rings, err));
	}
	blob->bytes = out;
	blob->len = total;
	return 0;
}

/* The address of a page by its number in the epoch table. */
static uint64_t gpa_of(const struct region_plan *plan, uint64_t number)
{
	unsigned int i;

	for (i = 0; i < plan->nram; i++) {
		if (number < plan->ram[i].bytes / PAGE_BYTES)
			return plan->ram[i].gpa + number * PAGE_BYTES;
		number -= plan->ram[i].bytes / PAGE_BYTES;
	}
	return UINT64_MAX;
}

static int check(struct sevmirror_seal *seal, const struct rings_manifest *manifest)
{
	uint32_t differing, first;
	int err = rings_manifest_check(seal->rings, manifest, &differing, &first);

	if (err == -EBADMSG)
		return seal_fail_because(
			seal, SEVMIRROR_REASON_MANIFEST, err,
			"the guest's memory on the target is not what the source sealed last: %u "
			"ranges of 128 MiB differ, the first from %#llx on",
			differing,
			(unsigned long long)gpa_of(&seal->plan,
						   (uint64_t)first * HELPER_MANIFEST_SPAN));
	return err ? seal_fail_because(seal, SEVMIRROR_REASON_HELPER, err,
				       "the helper cannot check the manifest on the target: %s",
				       rings_explain(seal->rings, err)) :
		     0;
}

int sevmirror_seal_manifest_check(struct sevmirror_seal *seal, const void *bytes, size_t len)
{
	struct rings_manifest *manifest;
	struct seal_manifest head;
	int err = seal_take_blob(seal, bytes, len, SEAL_MANIFEST, &head, sizeof(head));

	if (err)
		return err;
	if (head.nspans != rings_manifest_spans(seal->rings) ||
	    len != sizeof(head) + span_bytes(seal))
		return seal_fail(seal, -EPROTO, "the manifest has %u ranges instead of %u",
				 head.nspans, rings_manifest_spans(seal->rings));
	err = seal_drain(seal);
	if (err)
		return err;
	manifest = manifest_alloc(seal);
	if (!manifest)
		return -ENOMEM;
	memcpy(manifest->span, (const uint8_t *)bytes + sizeof(head), span_bytes(seal));
	err = check(seal, manifest);
	free(manifest);
	return err;
}
