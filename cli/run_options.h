/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of `sevmirror run`.
 */
#ifndef CLI_RUN_OPTIONS_H
#define CLI_RUN_OPTIONS_H

#include <stdbool.h>

#include "cli/cli.h"
#include "cli/confine.h"
#include "cli/console_options.h"
#include "vmm/machine/machine.h"

/* What `owner measure` has to assume like `run`. */
#define RUN_MEMORY_DEFAULT  (256ULL << 20)
#define RUN_MEMORY_UNIT	    (2ULL << 20)
#define RUN_MEMORY_MAX	    (64ULL << 40)
#define RUN_CMDLINE_DEFAULT "console=ttyS0"

struct run_options {
	const char *name; /* NULL: none given */
	struct machine_config machine;
	struct machine_boot boot;
	bool sev_off; /* the guest is to run in the clear */
	bool allow_weak_policy;
	bool hold; /* wait between measurement and start */
	struct confine confine;
	struct console_choice console;
	const char *session, *dh_cert; /* the owner's files, or NULL */
};

extern const struct cli_option run_option_list[];

/*
 * Read argv (argv[0] is the command). True: continue. False: all is said, *code is what to exit
 * with. Strings stay where they are in argv.
 */
bool run_options_parse(struct run_options *options, int argc, char **argv, int *code);

#endif
