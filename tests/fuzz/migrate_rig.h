/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host for the migration engine that needs no KVM: 6 MiB of memory, a VM that counts what is done
 * to it, and (rig_helper.c) a stand-in for the Migration Helper that checks what it is asked and
 * answers as the fuzzer says. It takes the place of lib/mirror in the link.
 *
 * Memory is mapped twice, as it is in a VMM: for the VM, which post-copy arms with a real
 * userfaultfd, and for the helper.
 */
#ifndef TESTS_FUZZ_MIGRATE_RIG_H
#define TESTS_FUZZ_MIGRATE_RIG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sevmirror/migrate.h>

#define RIG_RAM_BYTES	 (6ULL << 20)
#define RIG_PAGES	 (RIG_RAM_BYTES / SEVMIRROR_PAGE_BYTES)
#define RIG_CORE_PAGES	 2
#define RIG_STREAMS	 2
#define RIG_MANIFEST_TAG 0x5a
#define RIG_LATE	 0x20 /* an answer of the helper: none yet */
#define RIG_REFUSES	 0x21 /* another one: something of the batch is not what it should be */
#define RIG_TOUCHES	 6

struct rig {
	/* what the VM went through */
	unsigned int built, loaded, paused, resumed, released, acquired, handed_over;
	/* what the helper answers with, in turn for each ring; 0 is the honest answer */
	const uint8_t *answers;
	size_t nanswers;
	/*
	 * Pages that are touched: the first while the state is loaded, the second while the guest
	 * is started, the others when it runs. 0: none.
	 */
	uint16_t touches[RIG_TOUCHES];
	bool refuses; /* starting the guest fails */
	unsigned int throttle; /* per cent, the last that was said */
	bool load_blind, guest_blind; /* an access continued although its page never came */
	pthread_t vcpu;
	bool vcpu_runs;
	/* told of each progress() */
	void (*progress)(void *opaque, enum sevmirror_phase phase);
	void *progress_opaque;
};

extern const struct sevmirror_host_ops rig_ops;

/* Begin again. answers is borrowed. */
void rig_reset(struct rig *rig, const uint8_t *answers, size_t nanswers);

/* After the migration is destroyed: wait for the vCPU, which waits for no page any more. */
void rig_end(struct rig *rig);

/* The helper's part of rig_reset(). */
void rig_helper_reset(const struct rig *rig);

/*
 * What an honest host says of its sealing session, without SEV: how many bytes of out, which has
 * room for max, it takes.
 */
size_t rig_offer(void *out, size_t max);
size_t rig_core(void *out, size_t max);
size_t rig_manifest(void *out, size_t max);

/* The helper's next answer on a ring. */
uint8_t rig_next_answer(unsigned int ring);

/* The helper's mapping of memory. */
uint8_t *rig_ram(void);

/*
 * Post-copy: whether the page was named as private and missing, and has not been opened yet; how
 * many there are of these.
 */
bool rig_lacks(uint64_t gfn);
uint64_t rig_lacking(void);

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
