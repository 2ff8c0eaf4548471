/* SPDX-License-Identifier: Apache-2.0 */
/* `sevmirror mirror`: what its subcommands share. */
#ifndef CLI_MIRROR_H
#define CLI_MIRROR_H

#include "cli/cli.h"
#include "payloads/memscan.h"

extern const struct cli_command mirror_attach;

/* Ranges for the memory scanner. */
struct memscan_request {
	unsigned int nranges;
	struct memscan_range range[MEMSCAN_RANGES_MAX];
};

/* Add "GPA+SIZE". CLI_OK, or CLI_USAGE after it has said why. */
int memscan_add(struct memscan_request *request, const char *command, const char *text);

/*
 * Hold the ranges against the VM's memory map (query-memory-map), or without any take all private
 * memory. sev: the VM is encrypted. CLI_OK, CLI_USAGE or CLI_FAILURE after it has said why.
 */
int memscan_check(struct memscan_request *request, const json_t *map, bool sev);

void memscan_fill(const struct memscan_request *request, struct memscan_mailbox *mailbox);

/*
 * What the scanner answered, as lines or as an array of objects. *missing: ranges that have no
 * hash, because it refused them or did not come to them.
 */
void memscan_print(const struct memscan_request *request, const struct memscan_mailbox *mailbox,
		   unsigned int *missing);
json_t *memscan_json(const struct memscan_request *request, const struct memscan_mailbox *mailbox,
		     unsigned int *missing);

#endif
