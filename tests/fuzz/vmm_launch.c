/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel, a payload or a workload for mirrors from a stranger. The first byte chooses which, and
 * the guest's memory; a header that says what a bzImage says is put before the rest when its second
 * bit is set, so that the fuzzer gets behind the magic numbers.
 */
#include <asm/bootparam.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "launch/launch_helper.h"
#include "launch/image.h"
#include "launch/launch_workload.h"

#define KERNEL	   1
#define FIX_MAGIC  2
#define MEMORY	   4
#define WORKLOAD   8 /* a payload is also what runs in the guest's mirrors */
#define MAGIC_FROM 0x1f1

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/*
 * The bytes between image and the sizes that the header gives are what the checks are about; these
 * get it past the first ones.
 */
static void fix_magic(uint8_t *image, size_t len)
{
	struct setup_header header;

	if (len < MAGIC_FROM + sizeof(header))
		return;
	memcpy(&header, image + MAGIC_FROM, sizeof(header));
	header.boot_flag = 0xaa55;
	header.header = 0x53726448;
	header.version = 0x020f;
	header.loadflags |= LOADED_HIGH;
	header.xloadflags |= XLF_KERNEL_64;
	header.relocatable_kernel = 1;
	memcpy(image + MAGIC_FROM, &header, sizeof(header));
}

/* The workload's region at the end of RAM, or a reason why not. */
static void make_workload(struct launch_config config)
{
	struct launch_workload workload;
	struct launch_helper helper;
	struct why why = { "" };

	config.mirror_payload = config.payload;
	if (launch_helper_make(&helper, &config, &why))
		abort();
	if (launch_workload_make(&workload, &config, &why) == 0) {
		if (!workload_plan_ok(&workload.plan, config.memory_bytes) ||
		    workload.len > workload.plan.bytes)
			abort();
		launch_workload_free(&workload);
	} else if (!*why.text) {
		abort();
	}
	launch_helper_free(&helper);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct launch_config config = { .cpus = 1, .cmdline = "x" };
	struct launch_image *image;
	struct why why = { "" };
	uint8_t *copy;
	unsigned int i;

	if (len < 2)
		return 0;
	copy = malloc(len - 1);
	if (!copy)
		return 0;
	memcpy(copy, data + 1, len - 1);
	config.memory_bytes = data[0] & MEMORY ? 16 << 20 : 64 << 20;
	if (data[0] & KERNEL) {
		if (data[0] & FIX_MAGIC)
			fix_magic(copy, len - 1);
		config.kernel = (struct launch_blob){ copy, len - 1 };
	} else {
		config.payload = (struct launch_blob){ copy, len - 1 };
		if (data[0] & WORKLOAD)
			make_workload(config);
	}
	if (launch_image_create(&image, &config, &why) == 0) {
		for (i = 0; i < image->nsegments; i++) {
			const struct launch_segment *segment = &image->segments[i];

			if (segment->gpa + segment->len > config.memory_bytes)
				abort();
		}
		launch_image_destroy(image);
	} else if (!*why.text) {
		abort();
	}
	free(copy);
	return 0;
}
