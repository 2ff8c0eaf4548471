/* SPDX-License-Identifier: Apache-2.0 */
/* The memory scanner's side of `sevmirror mirror attach`: which ranges, and their hashes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/mirror.h"
#include "lib/util/number.h"
#include "lib/util/text.h"

#define SHA256_BYTES 32

static int parse_size(const char *text, uint64_t *value)
{
	return util_parse_size(text, 0, UINT64_MAX, value) &&
	       util_parse_number(text, 0, UINT64_MAX, value);
}

static int push(struct memscan_request *request, uint64_t gpa, uint64_t bytes)
{
	if (request->nranges == MEMSCAN_RANGES_MAX)
		return -1;
	request->range[request->nranges++] = (struct memscan_range){ .gpa = gpa, .bytes = bytes };
	return 0;
}

int memscan_add(struct memscan_request *request, const char *command, const char *text)
{
	char *first = strdup(text);
	char *plus = first ? strchr(first, '+') : NULL;
	uint64_t gpa = 0, bytes = 0;
	bool good = plus != NULL;

	if (good) {
		*plus = '\0';
		good = !parse_size(first, &gpa) && !parse_size(plus + 1, &bytes);
	}
	free(first);
	if (!good)
		return cli_usage(command, "--range %s: expected ADDRESS+SIZE, as in 0x1000000+2M",
				 text);
	if (!bytes || gpa % MEMSCAN_PAGE_BYTES || bytes % MEMSCAN_PAGE_BYTES || gpa + bytes < gpa)
		return cli_usage(command, "--range %s: a range is whole pages of 4096 bytes", text);
	if (push(request, gpa, bytes))
		return cli_usage(command, "at most %d ranges at a time", MEMSCAN_RANGES_MAX);
	return CLI_OK;
}

/* One run of the memory map. */
struct map_run {
	uint64_t gpa, end;
	const char *kind;
	bool shared;
};

static bool get_run(const json_t *map, size_t i, struct map_run *run)
{
	json_t *entry = json_array_get(map, i);

	if (!entry)
		return false;
	run->gpa = (uint64_t)json_integer_value(json_object_get(entry, "gpa"));
	run->end = run->gpa + (uint64_t)json_integer_value(json_object_get(entry, "bytes"));
	run->kind = json_string_value(json_object_get(entry, "kind"));
	run->kind = run->kind ? run->kind : "?";
	run->shared = json_is_true(json_object_get(entry, "shared"));
	return true;
}

static int check_one(const struct memscan_range *range, const json_t *map, bool sev)
{
	uint64_t at = range->gpa, end = range->gpa + range->bytes;
	struct map_run run;

	for (size_t i = 0; at < end && get_run(map, i, &run); i++) {
		if (at < run.gpa || at >= run.end)
			continue;
		if (strcmp(run.kind, "ram") != 0) {
			cli_error("--range 0x%" PRIx64 "+0x%" PRIx64 ": at 0x%" PRIx64
				  " is the guest's %s, which is not scanned",
				  range->gpa, range->bytes, at, run.kind);
			return CLI_USAGE;
		}
		if (sev && run.shared) {
			cli_error("--range 0x%" PRIx64 "+0x%" PRIx64 ": at 0x%" PRIx64
				  " the guest shares its memory with the host, which can read it "
				  "without a mirror",
				  range->gpa, range->bytes, at);
			return CLI_USAGE;
		}
		at = run.end;
	}
	if (at >= end)
		return CLI_OK;
	cli_error("--range 0x%" PRIx64 "+0x%" PRIx64 ": at 0x%" PRIx64 " the guest has no memory",
		  range->gpa, range->bytes, at);
	return CLI_USAGE;
}

int memscan_check(struct memscan_request *request, const json_t *map, bool sev)
{
	struct map_run run;
	int code = CLI_OK;

	for (unsigned int i = 0; !code && i < request->nranges; i++)
		code = check_one(&request->range[i], map, sev);
	if (request->nranges)
		return code;
	for (size_t i = 0; get_run(map, i, &run); i++) {
		if (strcmp(run.kind, "ram") != 0 || (sev && run.shared))
			continue;
		if (push(request, run.gpa, run.end - run.gpa)) {
			cli_error("the guest's private memory consists of more than %d pieces: "
				  "give a --range",
				  MEMSCAN_RANGES_MAX);
			return CLI_FAILURE;
		}
	}
	return CLI_OK;
}

void memscan_fill(const struct memscan_request *request, struct memscan_mailbox *mailbox)
{
	memcpy(mailbox->range, request->range, request->nranges * sizeof(mailbox->range[0]));
	__atomic_store_n(&mailbox->nranges, request->nranges, __ATOMIC_RELEASE);
}

/* The hash of range i as text, or why there is none. */
static const char *result(const struct memscan_mailbox *mailbox, unsigned int i,
			  char text[2 * SHA256_BYTES + 1], bool *good)
{
	uint32_t status = __atomic_load_n(&mailbox->range[i].status, __ATOMIC_ACQUIRE);

	*good = status == MEMSCAN_GOOD;
	if (*good)
		return util_hex_encode(mailbox->range[i].sha256, SHA256_BYTES, text);
	return status == MEMSCAN_REFUSED ? "refused" : "not scanned";
}

void memscan_print(const struct memscan_request *request, const struct memscan_mailbox *mailbox,
		   unsigned int *missing)
{
	char text[2 * SHA256_BYTES + 1];
	bool good;

	*missing = 0;
	for (unsigned int i = 0; i < request->nranges; i++) {
		printf("%-64s  0x%" PRIx64 "+0x%" PRIx64 "\n", result(mailbox, i, text, &good),
		       request->range[i].gpa, request->range[i].bytes);
		*missing += !good;
	}
}

json_t *memscan_json(const struct memscan_request *request, const struct memscan_mailbox *mailbox,
		     unsigned int *missing)
{
	char text[2 * SHA256_BYTES + 1];
	json_t *list = json_array();
	bool good;

	*missing = 0;
	for (unsigned int i = 0; i < request->nranges; i++) {
		const char *said = result(mailbox, i, text, &good);

		json_array_append_new(list, json_pack("{s:I, s:I, s:s}", "gpa",
						      (json_int_t)request->range[i].gpa, "bytes",
						      (json_int_t)request->range[i].bytes,
						      good ? "sha256" : "error", said));
		*missing += !good;
	}
	return list;
}
