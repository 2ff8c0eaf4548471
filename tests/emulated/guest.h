/* SPDX-License-Identifier: Apache-2.0 */
/* The functions in guest.S, and where everything is in a test guest's memory. */
#ifndef TESTS_EMULATED_GUEST_H
#define TESTS_EMULATED_GUEST_H

#include <stdint.h>

#define GUEST_PORT_BYTE 0x3f8
#define GUEST_PORT_WORD 0x3fa

/*
 * Guest-physical layout of the first 2 MiB. The launch image is GPA_CODE up to GPA_LAUNCH_END:
 * code, page tables and the secret. Pages above belong to the test.
 */
#define PAGE_BYTES	 4096ull
#define GPA_CODE	 0x1000ull
#define GPA_TABLES	 0x2000ull /* PML4, PDPT, PD, PT: a page each */
#define GPA_PT		 0x5000ull
#define GPA_SECRET	 0x6000ull
#define GPA_LAUNCH_END	 0x7000ull
#define GPA_PRIVATE	 0x7000ull
#define GPA_STACKS	 0x8000ull /* 8 stacks of 512 bytes */
#define GPA_SHARED	 0x9000ull /* the one page of the low 2 MiB mapped with C = 0 */
#define GPA_SCRATCH	 0xa000ull
#define GPA_FREE	 0x10000ull
#define GUEST_BYTES	 (4ull << 20)
#define GUEST_MMIO_GPA	 0xd0000000ull
#define GUEST_WINDOW_GPA 0x400000ull /* a test's second memslot */

/* Guest-virtual: the low 4 MiB are identity-mapped (private), the rest are views. */
#define GVA_MMIO	   0x400000ull
#define GVA_LOW_SHARED	   0x600000ull /* GPA 0 to 2 MiB again, with C = 0 */
#define GVA_WINDOW_PRIVATE 0x800000ull
#define GVA_WINDOW_SHARED  0xa00000ull

extern const unsigned char guest_code[], guest_code_end[];
extern const unsigned char guest_hello[], guest_dump[], guest_fill[], guest_count[],
	guest_sequence[];
extern const unsigned char guest_sequence_count[], guest_copy[], guest_probe[], guest_tick[],
	guest_add[];
extern const unsigned char guest_pong[], guest_codegen[], guest_convert[];

#endif
