/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the subcommands of `sevmirror owner` share: reading certificates, keys and measurements from
 * files.
 */
#ifndef CLI_OWNER_H
#define CLI_OWNER_H

#include <stdint.h>

#include "cli/cli.h"
#include "lib/sev/chain.h"
#include "lib/sev/format.h"
#include "lib/sev/root.h"

extern const struct cli_command owner_verify_platform;
extern const struct cli_command owner_session;
extern const struct cli_command owner_measure;
extern const struct cli_command owner_verify;
extern const struct cli_command owner_secret;

/* Of the commands that verify a host's chain. */
#define OWNER_ROOTS "emulation milan genoa turin @file"
extern const struct cli_status_text owner_chain_statuses[];

/*
 * The functions below print what is wrong themselves and return enum cli_exit.
 */

/*
 * The trust anchor that --root names: "emulation", a built-in one, or a file. *emulation says that
 * it protects nothing.
 */
int owner_load_root(const char *name, struct sev_root *root, bool *emulation);

/*
 * Read certificates from files and folders, in this order. In a folder: the files that sevctl and
 * sev-tool write (pdh.cert, cert_chain.cert, pek.cert, oca.cert, cek.cert, ask_ark.cert, ask.cert,
 * ark.cert), as far as they exist. With emulation the emulated chips' ASK and ARK are added where
 * the files have none.
 */
int owner_load_chain(char *const *paths, int npaths, bool emulation, struct sev_chain *chain);

/* TIK or TEK: a file of 16 bytes. */
int owner_load_key(const char *path, uint8_t key[SEV_KEY_BYTES]);

/*
 * A launch measurement: 48 bytes as base64 on the command line, or a file with them as base64 or
 * raw ("-": standard input).
 */
int owner_load_measurement(const char *arg, uint8_t measurement[SEV_MEASUREMENT_BYTES]);

/* A policy as people write it, with warnings for a loose one. */
int owner_parse_policy(const char *command, const char *text, uint32_t *policy);

/* CLI_OK; CLI_USAGE, and the reason is printed: a weak policy, which --allow-weak-policy was not
 * given for. */
int owner_check_policy(const char *command, uint32_t policy, bool allow_weak);

#endif
