/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox of a process that runs a guest or a mirror, as the command lines of `run`, `receive`
 * and `mirror attach` have it.
 */
#ifndef CLI_CONFINE_H
#define CLI_CONFINE_H

#include "cli/cli.h"
#include "service/sandbox/sandbox.h"

enum {
	CONFINE_OPT_USER = 0x400,
	CONFINE_OPT_OFF,
	CONFINE_OPT_UNIX,
};

struct confine {
	const char *user;
	bool off;
	bool unix_sockets;
};

#define CONFINE_TITLE	     "What the process of the guest may do:"
#define CONFINE_MIRROR_TITLE "What the process of the mirror may do:"
extern const struct cli_option confine_options[];
extern const struct cli_option confine_mirror_options[];

/* 0, or -EINVAL: not one of the ids above. arg is borrowed. */
int confine_take(struct confine *confine, int id, const char *arg);

/* 0 or -EINVAL with the sentence: options that contradict each other. */
int confine_check(const struct confine *confine, struct why *why);

/*
 * Enter the sandbox (or say that it is off), with what every guest needs besides writable
 * (NULL-terminated; files of disks, or their directory). listen: the address that the process
 * listens at, or NULL; the socket file of a unix: one may be removed. Everything that needs
 * privileges is open.
 */
int confine_enter(const struct confine *confine, const char *const *writable, const char *listen,
		  struct why *why);

/*
 * As confine_enter(), for a process that has opened all it will ever need: it writes no file and
 * removes none.
 */
int confine_enter_closed(const struct confine *confine, struct why *why);

#endif
