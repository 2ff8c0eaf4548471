/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a payload and the program that runs it agree on. A payload is a small freestanding program
 * that runs in ring 3 of a guest, with no kernel under it: as a guest of its own, or as a workload
 * in a mirror of another guest. Included by both sides.
 *
 * Image: ELF64, ET_EXEC, x86-64, static, no interpreter, no relocations, linked at PAYLOAD_BASE.
 * The loader copies the PT_LOAD segments to p_paddr (equal to p_vaddr) and zeroes p_memsz -
 * p_filesz. All segments are in [PAYLOAD_BASE, PAYLOAD_BASE + PAYLOAD_IMAGE_MAX).
 *
 * Entry, on each vCPU: 64-bit ring 3, RIP = e_entry, RDI = address of struct payload_params, RSI =
 * the vCPU's index, RFLAGS = 2, SSE usable (CR4.OSFXSR), the TSS's I/O bitmap allows every port.
 * RSP is undefined: the SDK's start-up code has a stack for each vCPU.
 *
 * In a guest of its own a payload has all of memory at its guest-physical address, open for
 * everything, under SEV with C=1; the shared area with C=0.
 *
 * In a mirror (PAYLOAD_IN_MIRROR) the addresses are the same, but of pages in a region that the
 * guest's memory map reserves: the program, its parameters and its work area, written as the ELF
 * file's flags say; the shared area is the mirror's window. The guest's memory is at params.ram_va,
 * C=1 under SEV, to be read only, unless the payload's note (PAYLOAD_NOTE in runtime.h, which makes
 * it a workload for mirrors) asks for writing. A workload is entered again each time that a mirror
 * is made, over the memory that the last run left: so it has no variables with initial values other
 * than zero, and the SDK's start-up code zeroes the others.
 *
 * Talking: the payload and its host read and write struct payload_shared; a payload rings by a
 * 32-bit `out` to PAYLOAD_DOORBELL_PORT with an enum payload_bell. Whatever is in the shared area
 * is the host's word and the host's to read: a payload must not depend on it for its own
 * correctness, nor put a secret there.
 */
#ifndef PAYLOADS_SDK_PAYLOAD_H
#define PAYLOADS_SDK_PAYLOAD_H

#ifdef __ASSEMBLER__
#define PAYLOAD_U64(x) x
#else
#include <stdint.h>
#define PAYLOAD_U64(x) x##ULL
#endif

#define PAYLOAD_BASE		PAYLOAD_U64(0x400000)
#define PAYLOAD_IMAGE_MAX	PAYLOAD_U64(0x400000)
#define PAYLOAD_DOORBELL_PORT	0x600
#define PAYLOAD_MAX_VCPUS	16
#define PAYLOAD_BELL_EXIT_VALUE 4 /* enum payload_bell, for assembly */
#define PAYLOAD_PARAMS_FLAGS	56 /* offset in struct payload_params, for assembly */
#define PAYLOAD_IN_MIRROR	1 /* of payload_params.flags */
#define PAYLOAD_STACK_BYTES	16384

#ifndef __ASSEMBLER__

#define PAYLOAD_PARAMS_MAGIC 0x31306d7261706d73ULL /* "smparm01" */
#define PAYLOAD_SHARED_MAGIC 0x3130726168736d73ULL /* "smshar01" */
#define PAYLOAD_VERSION	     2
#define PAYLOAD_ARGS	     16
#define PAYLOAD_RAM_MAX	     4
#define PAYLOAD_COUNTERS     12
#define PAYLOAD_LOG_BYTES    1024

/* A part of guest memory, guest-physical. */
struct payload_ram {
	uint64_t gpa;
	uint64_t bytes;
};

/*
 * Written by the host before the first vCPU runs; in a page of the guest's private memory (part of
 * the launch image, so measured). The payload only reads it. Addresses are the payload's; in a
 * guest of its own they are guest-physical, too.
 */
struct payload_params {
	uint64_t magic;
	uint32_t version;
	uint32_t vcpus; /* how many enter the payload, 1 to PAYLOAD_MAX_VCPUS */
	uint64_t shared_va; /* struct payload_shared; page-aligned */
	/*
	 * of the shared area, at least sizeof(struct payload_shared); what is behind it is the
	 * payload's
	 */
	uint64_t shared_bytes;
	/*
	 * RAM that the payload may use as it likes: page-aligned, disjoint from all else. Zeroed at
	 * launch; in a mirror it is what there is to the region's end, maybe nothing, and as the
	 * last run left it.
	 */
	uint64_t work_va;
	uint64_t work_bytes;
	uint64_t tsc_khz; /* of the guest's TSC; 0: unknown, then a payload does not pace itself */
	uint64_t flags; /* PAYLOAD_IN_MIRROR */
	uint64_t args[PAYLOAD_ARGS]; /* the payload's own: dirtier.h, counter.h */
	/*
	 * In a mirror: where gpa 0 of the guest's memory is, and the parts of it that are mapped
	 * (all but the reserved regions).
	 */
	uint64_t ram_va;
	uint64_t nram;
	struct payload_ram ram[PAYLOAD_RAM_MAX];
};

/*
 * What a workload for mirrors says of itself: an ELF note (owner PAYLOAD_NOTE_OWNER, type
 * PAYLOAD_NOTE_TYPE) with this in it.
 */
#define PAYLOAD_NOTE_OWNER "sevmirror"
#define PAYLOAD_NOTE_TYPE  1
#define PAYLOAD_NAME_BYTES 16

enum payload_note_flags {
	PAYLOAD_WRITES_MEMORY = 1, /* map the guest's memory for writing */
};

struct payload_note {
	uint32_t version; /* PAYLOAD_VERSION */
	uint32_t flags; /* enum payload_note_flags */
	char name[PAYLOAD_NAME_BYTES]; /* ends with a NUL */
};

enum payload_state {
	PAYLOAD_STARTING = 0,
	PAYLOAD_RUNNING = 1,
	PAYLOAD_DONE = 2, /* finished what it was asked for, or was told to stop */
	PAYLOAD_FAILED = 3, /* found an error; error and the log say which */
};

/* Host to payload, polled at least every few milliseconds. */
enum payload_command {
	PAYLOAD_CMD_RUN = 0,
	/* finish (a self-verifying payload verifies everything once more), then exit */
	PAYLOAD_CMD_STOP = 1,
};

/*
 * The value of the `out`, in EAX; RDI carries an argument (the host reads it from the vCPU's
 * registers).
 */
enum payload_bell {
	PAYLOAD_BELL_LOG = 1, /* there is new text in the log; continue at once */
	PAYLOAD_BELL_STATE = 2, /* state changed; continue at once */
	/*
	 * nothing to do for RDI microseconds: continue after that or earlier, and a pause must not
	 * wait for it
	 */
	PAYLOAD_BELL_SLEEP = 3,
	/* this vCPU is finished and must not be run again */
	PAYLOAD_BELL_EXIT = PAYLOAD_BELL_EXIT_VALUE,
};

/* One writer each: vCPU i writes vcpu[i]. A cache line pair, so that no two vCPUs share a line. */
struct payload_vcpu {
	uint64_t heartbeat; /* goes up all the time */
	uint64_t errors;
	/*
	 * the longest time that passed between two heartbeats: what a pause looks like from inside
	 */
	uint64_t max_gap_tsc;
	uint64_t last_tsc;
	uint64_t counters[PAYLOAD_COUNTERS]; /* the payload's own */
};

/*
 * The shared area (C=0 under SEV). Zeroed by the host, which then sets magic and version; the rest
 * is as commented.
 */
struct payload_shared {
	uint64_t magic;
	uint32_t version;
	uint32_t command; /* enum payload_command: host writes */
	/*
	 * enum payload_state: DONE when all vCPUs are, FAILED as soon as one found an error, and it
	 * stays
	 */
	uint32_t state;
	uint32_t error; /* the payload's own number of the first error, 0: none */
	uint64_t error_info[4]; /* what goes with it, for instance address, expected, found */
	/* total bytes ever logged; the log holds the last PAYLOAD_LOG_BYTES of them, a ring */
	uint64_t log_written;
	char log[PAYLOAD_LOG_BYTES];
	struct payload_vcpu vcpu[PAYLOAD_MAX_VCPUS] __attribute__((aligned(128)));
};

_Static_assert(sizeof(struct payload_params) == 272, "the parameter block's layout is fixed");
_Static_assert(__builtin_offsetof(struct payload_params, flags) == PAYLOAD_PARAMS_FLAGS,
	       "and known to assembly");
_Static_assert(sizeof(struct payload_vcpu) == 128, "a vCPU's counters fill two cache lines");
_Static_assert(sizeof(struct payload_shared) <= 4096, "the shared structure fits into one page");

#endif
#endif
