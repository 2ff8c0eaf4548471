/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host for the migration engine that needs no KVM: 4 MiB of memory, a VM that counts what is done to it, and a stand-in for the
 * Migration Helper that checks what it is asked and answers as the fuzzer says. It takes the place of lib/mirror in the link.
 */
#ifndef TESTS_FUZZ_MIGRATE_RIG_H
#define TESTS_FUZZ_MIGRATE_RIG_H

#include <stddef.h>
#include <stdint.h>

#include <sevmirror/migrate.h>

#define RIG_RAM_BYTES	 (4ULL << 20)
#define RIG_HELPER_GPA	 (2ULL << 20) /* from there on all is the helper's */
#define RIG_CORE_PAGES	 2
#define RIG_STREAMS	 2
#define RIG_MANIFEST_TAG 0x5a

struct rig {
	/* what the VM went through */
	unsigned int built, loaded, paused, resumed, released, acquired, handed_over;
	/* what the helper answers with, in turn for each ring; 0 is the honest answer */
	const uint8_t *answers;
	size_t nanswers;
};

extern const struct sevmirror_host_ops rig_ops;

/* Begin anew. answers is borrowed. */
void rig_reset(struct rig *rig, const uint8_t *answers, size_t nanswers);

/* Abort, with the sentence, unless it is so. */
void rig_need(bool good, const char *what);

/* A consumer of the fuzzer's bytes; past the end they read as zeros. */
struct rig_bytes {
	const uint8_t *data;
	size_t left;
};

uint8_t rig_byte(struct rig_bytes *in);
/* Up to max bytes, as many as a byte of the input says. */
size_t rig_take(struct rig_bytes *in, void *out, size_t max);

#endif
