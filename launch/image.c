/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mirror/region.h"
#include "launch/image_private.h"
#include "launch/guest_layout.h"
#include "launch/launch_workload.h"

void launch_ram(struct launch_ram *ram, const struct launch_config *config)
{
	uint64_t low = config->memory_bytes;

	if (low > GUEST_LOW_RAM_MAX)
		low = GUEST_LOW_RAM_MAX;
	ram->low_end = low;
	ram->high_bytes = config->memory_bytes - low;
	ram->usable_end = config->workload ? config->workload->plan.gpa : low;
}

uint8_t *launch_segment_add(struct launch_image *image, const char *what, uint64_t gpa,
			    uint64_t len, int *err, struct why *why)
{
	struct launch_segment *segment = &image->segments[image->nsegments];

	if (image->nsegments == LAUNCH_MAX_SEGMENTS) {
		*err = why_set(why, -E2BIG, "the %s is one segment too many", what);
		return NULL;
	}
	len = (len + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	segment->bytes = calloc(1, len);
	if (!segment->bytes) {
		*err = why_set(why, -ENOMEM, "out of memory for the %s, %llu bytes", what,
			       (unsigned long long)len);
		return NULL;
	}
	segment->what = what;
	segment->gpa = gpa;
	segment->len = len;
	image->nsegments++;
	return segment->bytes;
}

int launch_segment_copy(struct launch_image *image, const char *what, uint64_t gpa,
			struct launch_blob blob, struct why *why)
{
	int err = 0;
	uint8_t *bytes = launch_segment_add(image, what, gpa, blob.len, &err, why);

	if (bytes)
		memcpy(bytes, blob.bytes, blob.len);
	return err;
}

static int check_config(const struct launch_config *config, struct why *why)
{
	const struct region_plan *helper = config->helper;
	struct launch_ram ram;

	if (config->cpus < 1 || config->cpus > LAUNCH_MAX_CPUS)
		return why_set(why, -EINVAL, "a guest has 1 to %d CPUs, not %u", LAUNCH_MAX_CPUS,
			       config->cpus);
	if (!config->memory_bytes || config->memory_bytes % (2 << 20))
		return why_set(why, -EINVAL, "the guest's memory must be a multiple of 2 MiB");
	if (!config->kernel.len == !config->payload.len)
		return why_set(why, -EINVAL, "a guest starts from a kernel or from a payload: %s",
			       config->kernel.len ? "give one of the two" : "neither has content");
	if (config->payload.len && config->initrd.len)
		return why_set(why, -EINVAL, "a payload has no initrd");
	launch_ram(&ram, config);
	if (helper &&
	    (helper->gpa < ram.low_end || helper->gpa < GUEST_HIGH_RAM_GPA + ram.high_bytes))
		return why_set(why, -EINVAL, "the helper region is not above the guest's memory");
	if (config->workload && (!workload_plan_ok(&config->workload->plan, ram.low_end) ||
				 config->workload->len > config->workload->plan.bytes))
		return why_set(why, -EINVAL,
			       "the mirror payload's region is not at the end of RAM below 4 GiB");
	return 0;
}

static int by_gpa(const void *a, const void *b)
{
	const struct launch_segment *left = a, *right = b;

	return (left->gpa > right->gpa) - (left->gpa < right->gpa);
}

static int put_in_order(struct launch_image *image, const struct launch_config *config,
			struct why *why)
{
	struct launch_segment *segments = image->segments;
	struct launch_ram ram;
	uint64_t end = 0;
	unsigned int i;

	qsort(segments, image->nsegments, sizeof(*segments), by_gpa);
	launch_ram(&ram, config);
	for (i = 0; i < image->nsegments; i++) {
		if (segments[i].gpa < end)
			return why_set(why, -ENOSPC,
				       "%s and %s overlap at 0x%llx: more memory is needed",
				       segments[i - 1].what, segments[i].what,
				       (unsigned long long)segments[i].gpa);
		end = segments[i].gpa + segments[i].len;
		if (end > ram.low_end || end < segments[i].gpa)
			return why_set(why, -ENOSPC,
				       "the %s ends at 0x%llx, outside of the guest's RAM",
				       segments[i].what, (unsigned long long)end);
	}
	return 0;
}

static int add_helper(struct launch_image *image, const struct launch_config *config,
		      struct why *why)
{
	struct launch_segment *helper = &image->helper;

	helper->bytes = malloc(config->helper->core_bytes);
	if (!helper->bytes)
		return why_set(why, -ENOMEM, "out of memory for the Migration Helper");
	memcpy(helper->bytes, config->helper_core, config->helper->core_bytes);
	helper->what = "helper core";
	helper->gpa = config->helper->gpa;
	helper->len = config->helper->core_bytes;
	return 0;
}

int launch_image_create(struct launch_image **imagep, const struct launch_config *config,
			struct why *why)
{
	struct launch_image *image;
	int err;

	err = check_config(config, why);
	if (err)
		return err;
	image = calloc(1, sizeof(*image));
	if (!image)
		return why_set(why, -ENOMEM, "out of memory for the launch image");
	err = config->kernel.len ? launch_linux(image, config, why) :
				   launch_payload(image, config, why);
	if (!err && config->helper)
		err = add_helper(image, config, why);
	if (!err && config->workload) {
		struct launch_blob region = { config->workload->bytes, config->workload->len };

		err = launch_segment_copy(image, "mirror payload", config->workload->plan.gpa,
					  region, why);
	}
	if (!err)
		err = put_in_order(image, config, why);
	if (err) {
		launch_image_destroy(image);
		return err;
	}
	*imagep = image;
	return 0;
}

void launch_image_destroy(struct launch_image *image)
{
	unsigned int i;

	if (!image)
		return;
	for (i = 0; i < image->nsegments; i++)
		free(image->segments[i].bytes);
	free(image->helper.bytes);
	free(image);
}

const struct launch_segment *launch_image_measured(const struct launch_image *image, unsigned int i)
{
	if (i < image->nsegments)
		return &image->segments[i];
	return i == image->nsegments && image->helper.len ? &image->helper : NULL;
}
