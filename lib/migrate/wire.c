/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/migrate/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sevmirror/host.h>

/* Bytes that follow the fixed part of a message whose body has a variable tail. */
#define CERT_BYTES_MAX	   (2084u + 3 * 2084u + 2 * 1600u)
#define PSP_SESSION_MAX	   4096u
#define PSP_HEADER_MAX	   256u
#define PAGE_REQUESTS_MAX  (WIRE_MAX_REQUESTS * 8u)
#define MANIFEST_SPANS_MAX 65536u
#define BITMAP_BYTES_MAX   (1u << 28) /* two of 4 TiB of RAM */

static const struct {
	const char *name;
	uint32_t limit;
} types[WIRE_TYPES] = {
	[WIRE_HELLO] = { "HELLO", WIRE_MAX_HELLO },
	[WIRE_CONFIG] = { "CONFIG", WIRE_MAX_SECTION },
	[WIRE_COMPAT] = { "COMPAT", WIRE_MAX_SECTION },
	[WIRE_ACCEPT] = { "ACCEPT", sizeof(struct wire_accept) + CERT_BYTES_MAX },
	[WIRE_PSP_START] = { "PSP_START",
			     sizeof(struct wire_psp_start) + CERT_BYTES_MAX + PSP_SESSION_MAX },
	[WIRE_PSP_PACKET] = { "PSP_PACKET",
			      sizeof(struct wire_psp_packet) + PSP_HEADER_MAX + 4096 },
	[WIRE_CORE_SECRET] = { "CORE_SECRET", 4 + 4096 },
	[WIRE_CORE_DONE] = { "CORE_DONE", 0 },
	[WIRE_ROUND] = { "ROUND", sizeof(struct wire_round) },
	[WIRE_STATE] = { "STATE", WIRE_MAX_SECTION },
	[WIRE_MANIFEST] = { "MANIFEST", MANIFEST_SPANS_MAX * sizeof(struct wire_manifest) },
	[WIRE_READY] = { "READY", 0 },
	[WIRE_COMMIT] = { "COMMIT", 0 },
	[WIRE_RUNNING] = { "RUNNING", 0 },
	[WIRE_MISSING] = { "MISSING", BITMAP_BYTES_MAX },
	[WIRE_PAGE_REQUEST] = { "PAGE_REQUEST", PAGE_REQUESTS_MAX },
	[WIRE_LAST_PAGE] = { "LAST_PAGE", sizeof(struct sevmirror_postcopy) },
	[WIRE_RECOVER] = { "RECOVER", sizeof(struct wire_recover) },
	[WIRE_ABORT] = { "ABORT", WIRE_MAX_REASON },
	[WIRE_POSTCOPY] = { "POSTCOPY", 0 },
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

/* How something begins that is none of ours: what people can read as text is most telling. */
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

int wire_check_header(const struct wire_header *header, char *why, size_t max)
{
	bool known;
	uint32_t limit = wire_limit(header->type, &known);
	char begin[16];

	if (header->magic != WIRE_MAGIC) {
		show_magic(header->magic, begin, sizeof(begin));
		snprintf(why, max, "not a sevmirror control message (it begins with %s)", begin);
	} else if (!known) {
		snprintf(why, max, "message type %u is unknown", header->type);
	} else if (header->reserved) {
		snprintf(why, max, "%s message with reserved bits set",
			 wire_type_name(header->type));
	} else if (header->bytes > limit) {
		snprintf(why, max, "%s message of %u bytes, at most %u are allowed",
			 wire_type_name(header->type), header->bytes, limit);
	} else {
		return 0;
	}
	return -EPROTO;
}

int wire_check_frame(const struct wire_frame *frame, uint64_t expected_sequence, char *why,
		     size_t max)
{
	if (frame->magic != WIRE_MAGIC) {
		snprintf(why, max, "not a frame of pages (it begins with %#x)", frame->magic);
	} else if (frame->type == 0 || frame->type >= WIRE_FRAME_TYPES) {
		snprintf(why, max, "frame type %u is unknown", frame->type);
	} else if (frame->records == 0 || frame->records > WIRE_MAX_RECORDS) {
		snprintf(why, max, "frame with %u records, 1 to %u are allowed", frame->records,
			 WIRE_MAX_RECORDS);
	} else if (frame->directory_bytes > WIRE_MAX_DIRECTORY_BYTES + WIRE_MAX_PAYLOAD_BYTES ||
		   frame->payload_bytes > WIRE_MAX_PAYLOAD_BYTES) {
		snprintf(why, max,
			 "frame with a directory of %u and payloads of %u bytes is too large",
			 frame->directory_bytes, frame->payload_bytes);
	} else if (frame->sequence != expected_sequence) {
		snprintf(
			why, max,
			"frame %llu came where frame %llu was due: records were dropped, repeated or reordered",
			(unsigned long long)frame->sequence, (unsigned long long)expected_sequence);
	} else {
		return 0;
	}
	return -EPROTO;
}
