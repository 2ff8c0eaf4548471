/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes a guest starts from. A pure function of the configuration: the VMM writes them into
 * guest RAM (and has the firmware encrypt and measure them, segment by segment, in this order, the
 * Migration Helper's core last), and
 * the guest owner computes the same bytes, so the same launch digest, on a machine of his own. What
 * the guest reads before it has written it must be in here; all other memory reads as noise under
 * SEV.
 */
#ifndef LAUNCH_IMAGE_H
#define LAUNCH_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/util/why.h"

struct region_plan;
struct launch_workload;

/* A file's content. bytes may be NULL when len is 0. */
struct launch_blob {
	const void *bytes;
	size_t len;
};

#define LAUNCH_PAYLOAD_ARGS 16
#define LAUNCH_MAX_CPUS	    64

/* All pointers are borrowed and only read while launch_image_create() runs. */
struct launch_config {
	uint64_t memory_bytes; /* as for guest_memory_create() */
	unsigned int cpus; /* 1 to LAUNCH_MAX_CPUS */
	uint64_t c_mask; /* the C-bit as a mask, 0 without SEV */

	/* Either a Linux kernel ... */
	struct launch_blob kernel; /* bzImage */
	struct launch_blob initrd; /* may be empty */
	const char *cmdline; /* NULL: empty */

	/* ... or a payload: an ELF program for ring 3 (payloads/sdk/payload.h). */
	struct launch_blob payload;
	uint64_t payload_tsc_khz; /* 0: the payload is not told */
	uint64_t payload_args[LAUNCH_PAYLOAD_ARGS];

	/*
	 * The Migration Helper's region and the bytes of its core (lib/mirror/region.h), or NULL: a
	 * guest that cannot have one.
	 */
	const struct region_plan *helper;
	const void *helper_core; /* helper->core_bytes */

	/*
	 * Run in the guest's mirrors: an ELF program with a note (payloads/sdk/payload.h), for
	 * launch_workload_make() (launch_workload.h).
	 */
	struct launch_blob mirror_payload; /* empty: none */
	const struct launch_workload *workload; /* what that made of it, or NULL */
};

struct launch_segment {
	const char *what; /* "kernel", "initrd", ... for people */
	uint64_t gpa; /* page-aligned */
	size_t len; /* a multiple of the page size; what a file does not fill is zeros */
	uint8_t *bytes;
};

enum launch_mode {
	LAUNCH_LINUX, /* the first vCPU enters in ring 0, the others wait for INIT and SIPI */
	LAUNCH_PAYLOAD, /* every vCPU enters in ring 3 */
};

/* What the vCPUs' registers are at the start; not measured by plain SEV. */
struct launch_entry {
	enum launch_mode mode;
	uint64_t rip;
	uint64_t rdi; /* payload: its parameters */
	uint64_t rsi; /* Linux: boot_params; payload: the vCPU's index goes here */
	uint64_t rsp; /* Linux only */
	uint64_t cr3; /* with the C-bit */
	uint64_t gdt_gpa, gdt_limit;
	uint64_t tss_gpa, tss_limit; /* payload only */
	uint64_t shared_gpa, shared_bytes; /* payload only: its area shared with the host */
};

#define LAUNCH_MAX_SEGMENTS 16

struct launch_image {
	unsigned int nsegments;
	struct launch_segment segments[LAUNCH_MAX_SEGMENTS]; /* ascending, no overlap, all in RAM */
	/*
	 * The helper's core, launched and measured after them; it is in the helper region, which
	 * is no RAM. len 0: none
	 */
	struct launch_segment helper;
	struct launch_entry entry;
};

/*
 * Build the image. 0, or a negative errno with the reason in why: -EINVAL (the configuration),
 * -ENOEXEC (the kernel or payload),
 * -ENOSPC (it does not fit into the memory), -ENOMEM. launch_image_destroy() frees it; NULL is
 *   allowed.
 */
int launch_image_create(struct launch_image **image, const struct launch_config *config,
			struct why *why);
void launch_image_destroy(struct launch_image *image);

/*
 * Segment i in the order in which they are launched and measured: the helper's core is the last.
 * NULL when there are no more.
 */
const struct launch_segment *launch_image_measured(const struct launch_image *image,
						   unsigned int i);

#endif
