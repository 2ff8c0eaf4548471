/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sevmirror/host.h>
#include <sevmirror/seal.h>

/* Bytes that follow the fixed part of a message whose body has a variable tail. */
#define PAGE_REQUESTS_MAX  (WIRE_MAX_REQUESTS * 8u)
#define MANIFEST_BYTES_MAX (32u + 65536u * 40)
#define BITMAP_BYTES_MAX   (1u << 28) /* two of 4 TiB of RAM */

static const struct {
	const char *name, *text;
	uint32_t limit;
} types[WIRE_TYPES] = {
	[WIRE_HELLO] = { "HELLO", "its greeting (HELLO)", WIRE_MAX_HELLO },
	[WIRE_CONFIG] = { "CONFIG", "the VM's configuration (CONFIG)", WIRE_MAX_SECTION },
	[WIRE_COMPAT] = { "COMPAT", "what the guest has seen of its CPUs (COMPAT)",
			  WIRE_MAX_SECTION },
	[WIRE_ACCEPT] = { "ACCEPT", "its acceptance (ACCEPT)", SEVMIRROR_OFFER_MAX },
	[WIRE_CORE] = { "CORE", "the helper's core (CORE)", SEVMIRROR_CORE_MAX },
	[WIRE_CORE_DONE] = { "CORE_DONE", "that the helper runs (CORE_DONE)", 0 },
	[WIRE_ROUND] = { "ROUND", "the end of a round (ROUND)", sizeof(struct wire_round) },
	[WIRE_STATE] = { "STATE", "the guest's state (STATE)", WIRE_MAX_SECTION },
	[WIRE_MANIFEST] = { "MANIFEST", "the manifest (MANIFEST)", MANIFEST_BYTES_MAX },
	[WIRE_READY] = { "READY", "that the guest can run (READY)", 0 },
	[WIRE_COMMIT] = { "COMMIT", "the hand-over (COMMIT)", 0 },
	[WIRE_RUNNING] = { "RUNNING", "that the guest runs (RUNNING)", 0 },
	[WIRE_MISSING] = { "MISSING", "the list of missing pages (MISSING)", BITMAP_BYTES_MAX },
	[WIRE_PAGE_REQUEST] = { "PAGE_REQUEST", "a request for pages (PAGE_REQUEST)",
				PAGE_REQUESTS_MAX },
	[WIRE_LAST_PAGE] = { "LAST_PAGE", "the end of post-copy (LAST_PAGE)",
			     sizeof(struct sevmirror_postcopy) },
	[WIRE_RECOVER] = { "RECOVER", "the proof for a recovery (RECOVER)",
			   sizeof(struct wire_recover) },
	[WIRE_ABORT] = { "ABORT", "why it gave up (ABORT)", WIRE_MAX_REASON },
	[WIRE_POSTCOPY] = { "POSTCOPY", "the begin of post-copy (POSTCOPY)", 0 },
	[WIRE_WORKING] = { "WORKING", "that it works (WORKING)", 0 },
};

uint32_t wire_limit(uint16_t type, bool *known)
{
	*known = type < WIRE_TYPES && types[type].name;
	return *known ? types[type].limit : 0;
}

const char *wire_type_name(uint16_t type)
{
	return type < WIRE_TYPES && types[type].name ? types[type].name : "unknown";
}

const char *wire_type_text(uint16_t type)
{
	return type < WIRE_TYPES && types[type].text ? types[type].text : "an unknown message";
}

/* How something begins that is not ours: what people can read as text is most telling. */
static void show_magic(uint32_t magic, char *out, size_t max)
{
	char text[sizeof(magic) + 1] = "";

	memcpy(text, &magic, sizeof(magic));
	for (unsigned int i = 0; i < sizeof(magic); i++)
		if (text[i] < 0x20 || text[i] > 0x7e) {
			snprintf(out, max, "%#x", magic);
			return;
		}
	snprintf(out, max, "'%s'", text);
}

int wire_check_header(const struct wire_header *header, struct why *why)
{
	bool known;
	uint32_t limit = wire_limit(header->type, &known);
	char begin[16];

	/* The record header of a TLS handshake: 22, version 3. */
	if ((header->magic & 0xffff) == 0x0316)
		return why_because(why, SEVMIRROR_REASON_AUTHENTICATION, -EPROTO,
				   "the peer speaks TLS, and this host runs with --insecure");
	if (header->magic != WIRE_MAGIC) {
		show_magic(header->magic, begin, sizeof(begin));
		return why_set(
			why, -EPROTO,
			"the peer sent something that is not a sevmirror control message (it "
			"begins with %s)",
			begin);
	}
	if (!known)
		return why_set(why, -EPROTO, "the peer sent a message of the unknown type %u",
			       header->type);
	if (header->reserved)
		return why_set(why, -EPROTO, "the peer sent a %s message with reserved bits set",
			       wire_type_name(header->type));
	if (header->bytes > limit)
		return why_set(why, -EPROTO,
			       "the peer sent a %s message of %u bytes, at most %u are allowed",
			       wire_type_name(header->type), header->bytes, limit);
	return 0;
}

int wire_check_frame(const struct wire_frame *frame, uint64_t expected_sequence, struct why *why)
{
	if (frame->magic != WIRE_MAGIC)
		return why_set(
			why, -EPROTO,
			"the source sent something that is not a frame of pages (it begins with "
			"%#x)",
			frame->magic);
	if (frame->type == 0 || frame->type >= WIRE_FRAME_TYPES)
		return why_set(why, -EPROTO, "the source sent a frame of the unknown type %u",
			       frame->type);
	if (frame->records == 0 || frame->records > WIRE_MAX_RECORDS)
		return why_set(why, -EPROTO,
			       "the source sent a frame with %u records, 1 to %u are allowed",
			       frame->records, WIRE_MAX_RECORDS);
	if (frame->directory_bytes > WIRE_MAX_DIRECTORY_BYTES + WIRE_MAX_PAYLOAD_BYTES ||
	    frame->payload_bytes > WIRE_MAX_PAYLOAD_BYTES)
		return why_set(
			why, -EPROTO,
			"the source sent a frame that is too large, with a directory of %u bytes "
			"and payloads of %u",
			frame->directory_bytes, frame->payload_bytes);
	if (frame->sequence != expected_sequence)
		return why_set(
			why, -EPROTO,
			"frame %llu came instead of frame %llu: records were dropped, repeated or "
			"reordered",
			(unsigned long long)frame->sequence, (unsigned long long)expected_sequence);
	return 0;
}
