/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/manifest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/migrate/message.h"
#include "lib/mirror/calls.h"
#include "lib/mirror/rings.h"
#include "lib/util/page.h"

static struct rings_manifest *manifest_alloc(struct sevmirror_migration *m, size_t *bytes)
{
	struct rings_manifest *manifest;

	*bytes = rings_manifest_spans(m->rings) * sizeof(struct wire_manifest);
	manifest = calloc(1, sizeof(*manifest) + *bytes);
	if (!manifest)
		session_fail(m, -ENOMEM, "out of memory for the manifest");
	else
		manifest->nspans = rings_manifest_spans(m->rings);
	return manifest;
}

_Static_assert(sizeof(((struct rings_manifest *)0)->span[0]) == sizeof(struct wire_manifest),
	       "spans travel as they are");

int manifest_send(struct sevmirror_migration *m)
{
	size_t bytes;
	struct rings_manifest *manifest = manifest_alloc(m, &bytes);
	int err;

	if (!manifest)
		return -ENOMEM;
	err = rings_manifest_make(m->rings, manifest);
	if (err)
		session_fail_because(m, SEVMIRROR_REASON_HELPER, err,
				     "the helper cannot make the manifest at the source: %s",
				     rings_explain(m->rings, err));
	else
		err = session_send(m, WIRE_MANIFEST, manifest->span, bytes);
	free(manifest);
	return err;
}

static int check(struct sevmirror_migration *m, const struct rings_manifest *manifest)
{
	uint32_t differing, first;
	int err = rings_manifest_check(m->rings, manifest, &differing, &first);

	if (err == -EBADMSG)
		return session_fail_because(
			m, SEVMIRROR_REASON_MANIFEST, err,
			"the guest's memory at the target is not what the source sealed last: %u "
			"ranges of 128 MiB differ, the first from %#llx on",
			differing,
			(unsigned long long)(page_gfn(&m->numbering,
						      (uint64_t)first * HELPER_MANIFEST_SPAN) *
					     PAGE_BYTES));
	return err ? session_fail_because(m, SEVMIRROR_REASON_HELPER, err,
					  "the helper cannot check the manifest at the target: %s",
					  rings_explain(m->rings, err)) :
		     0;
}

int manifest_check(struct sevmirror_migration *m, const void *spans, size_t len)
{
	size_t bytes;
	struct rings_manifest *manifest = manifest_alloc(m, &bytes);
	int err;

	if (!manifest)
		return -ENOMEM;
	if (len != bytes) {
		err = session_fail(m, -EPROTO,
				   "the source sent a MANIFEST message of %zu bytes instead of %zu",
				   len, bytes);
	} else {
		memcpy(manifest->span, spans, bytes);
		err = check(m, manifest);
	}
	free(manifest);
	return err;
}

int manifest_receive(struct sevmirror_migration *m)
{
	void *spans;
	size_t len;
	int err = session_recv_alloc(m, WIRE_MANIFEST, &spans, &len);

	if (!err)
		err = manifest_check(m, spans, len);
	free(spans);
	return err;
}
