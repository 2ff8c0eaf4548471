/* SPDX-License-Identifier: Apache-2.0 */
/* A command that the agent runs for a client: its process group, its three pipes, its end. */
#ifndef EMULATOR_HOST_COMMAND_H
#define EMULATOR_HOST_COMMAND_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "buf.h"
#include "frame.h"

/* Between the polite signal and SIGKILL. */
#define COMMAND_GRACE_MS 2000

struct command;

/*
 * Starts argv[0] (looked up in PATH) as leader of a new session in $HOME. @timeout_ms of 0 is no
 * limit. Returns NULL with errno when it could not be started at all; a failing execve is reported
 * by the command's FRAME_EXIT.
 */
struct command *command_start(uint32_t channel, char **argv, uint32_t timeout_ms, uint64_t now_ms);
/* Kills what is left of a command that has not ended. */
void command_destroy(struct command *c);

uint32_t command_channel(const struct command *c);

/* What the client sent. -EPROTO if it broke the rules of flow. */
int command_input(struct command *c, const uint8_t *data, size_t length);
int command_credit(struct command *c, uint32_t stream, uint32_t bytes);
void command_signal(struct command *c, int signo);
/* Nobody listens any more: end it, throw its output away. */
void command_cancel(struct command *c, uint64_t now_ms);

/* True if @pid was this command's leader. */
bool command_reaped(struct command *c, pid_t pid, int wait_status);

/* Fills at most 3 entries; returns how many. With @may_send false the command's output waits. */
unsigned int command_poll(const struct command *c, struct pollfd *fds, bool may_send);

/*
 * Moves what can be moved without blocking, enforces the timeout and puts frames into @out. Returns
 * true when the command is over and forgotten by everybody; destroy it then.
 */
bool command_run(struct command *c, struct buf *out, bool may_send, uint64_t now_ms);

/* When command_run wants to be called at the latest; UINT64_MAX for never. */
uint64_t command_deadline(const struct command *c);

#endif
