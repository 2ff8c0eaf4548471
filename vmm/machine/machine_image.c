/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/machine_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util/file.h"
#include "launch/launch_helper.h"
#include "launch/launch_workload.h"

#define KERNEL_BYTES_MAX  (256u << 20)
#define INITRD_BYTES_MAX  (2047u << 20)
#define PAYLOAD_BYTES_MAX (16u << 20)

struct boot_files {
	void *kernel, *initrd, *payload, *mirror_payload;
	struct launch_blob kernel_blob, initrd_blob, payload_blob, mirror_payload_blob;
};

static int read_file(const char *path, const char *what, size_t max, void **bytes,
		     struct launch_blob *blob, struct why *why)
{
	int err;

	if (!path)
		return 0;
	err = util_read_file(path, max, bytes, &blob->len);
	if (err == -EFBIG)
		return why_set(why, err, "the %s %s is too large: more than %zu MiB", what, path,
			       max >> 20);
	if (err)
		return why_set(why, err, "the %s %s cannot be read: %s", what, path,
			       strerror(-err));
	if (!blob->len)
		return why_set(why, -ENOEXEC, "the %s %s is empty", what, path);
	blob->bytes = *bytes;
	return 0;
}

static int read_files(struct boot_files *files, const struct machine_boot *boot, struct why *why)
{
	int err = read_file(boot->kernel, "kernel", KERNEL_BYTES_MAX, &files->kernel,
			    &files->kernel_blob, why);

	if (!err)
		err = read_file(boot->initrd, "initrd", INITRD_BYTES_MAX, &files->initrd,
				&files->initrd_blob, why);
	if (!err)
		err = read_file(boot->payload, "payload", PAYLOAD_BYTES_MAX, &files->payload,
				&files->payload_blob, why);
	if (!err)
		err = read_file(boot->mirror_payload, "mirror payload", PAYLOAD_BYTES_MAX,
				&files->mirror_payload, &files->mirror_payload_blob, why);
	return err;
}

int machine_image_create(struct launch_image **image, struct workload_plan *plan,
			 const struct machine_image_config *config, const struct machine_boot *boot,
			 struct why *why)
{
	struct boot_files files = { 0 };
	struct launch_helper helper = { 0 };
	struct launch_workload workload = { 0 };
	struct launch_config launch = {
		.memory_bytes = config->memory_bytes,
		.cpus = config->cpus,
		.c_mask = config->c_mask,
		.cmdline = boot->cmdline,
		.payload_tsc_khz = boot->payload ? config->tsc_khz : 0,
	};
	int err = read_files(&files, boot, why);

	if (!err) {
		launch.kernel = files.kernel_blob;
		launch.initrd = files.initrd_blob;
		launch.payload = files.payload_blob;
		launch.mirror_payload = files.mirror_payload_blob;
		memcpy(launch.payload_args, boot->payload_args, sizeof(launch.payload_args));
		err = launch_helper_make(&helper, &launch, why);
	}
	if (!err && launch.mirror_payload.len)
		err = launch_workload_make(&workload, &launch, why);
	if (!err)
		err = launch_image_create(image, &launch, why);
	if (plan)
		*plan = workload.plan;
	launch_workload_free(&workload);
	launch_helper_free(&helper);
	free(files.kernel);
	free(files.initrd);
	free(files.payload);
	free(files.mirror_payload);
	return err;
}
