/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/vmm_rig.h"

#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/util/file.h"

void rig_need_kvm(void)
{
	if (access("/dev/kvm", R_OK | W_OK) == 0)
		return;
	print_message("# SKIP no usable /dev/kvm\n");
	skip();
}

struct vm *rig_vm(unsigned int cpus, uint64_t memory_bytes)
{
	const struct vm_config config = { .memory_bytes = memory_bytes,
					  .cpus = cpus,
					  .payload = true };
	struct why why = { "" };
	struct vm *vm;

	if (vm_create(&vm, &config, &why))
		fail_msg("%s", why.text);
	return vm;
}

struct launch_blob rig_read(const char *variable)
{
	const char *path = getenv(variable);
	void *bytes;
	size_t len;

	assert_non_null(path);
	assert_int_equal(util_read_file(path, 16 << 20, &bytes, &len), 0);
	return (struct launch_blob){ bytes, len };
}

void rig_launch(struct vm *vm, unsigned int cpus, struct launch_blob elf,
		const uint64_t args[PAYLOAD_ARGS])
{
	struct launch_config config = { .memory_bytes = RIG_MEMORY,
					.cpus = cpus,
					.payload = elf,
					.payload_tsc_khz = vm_tsc_khz(vm) };
	uint8_t measurement[SEV_MEASUREMENT_BYTES];
	struct launch_image *image;
	struct why why = { "" };

	if (args)
		memcpy(config.payload_args, args, sizeof(config.payload_args));
	if (launch_image_create(&image, &config, &why) ||
	    vm_launch(vm, image, NULL, 0, NULL, measurement, &why) || vm_launch_finish(vm, &why) ||
	    vm_start(vm, &why))
		fail_msg("%s", why.text);
	launch_image_destroy(image);
}

struct vm *rig_payload(const char *variable, unsigned int cpus, const uint64_t args[PAYLOAD_ARGS])
{
	struct launch_blob elf = rig_read(variable);
	struct vm *vm = rig_vm(cpus, RIG_MEMORY);

	rig_launch(vm, cpus, elf, args);
	free((void *)elf.bytes);
	return vm;
}

enum vm_end rig_end(struct vm *vm)
{
	struct pollfd fd = { .fd = vm_end_fd(vm), .events = POLLIN };

	while (poll(&fd, 1, -1) != 1)
		;
	return vm_end(vm);
}

void rig_wait_heartbeats(struct vm *vm, unsigned int cpu, uint64_t n)
{
	struct payload_shared *shared = vm_payload_shared(vm);
	uint64_t from = __atomic_load_n(&shared->vcpu[cpu].heartbeat, __ATOMIC_RELAXED);

	while (__atomic_load_n(&shared->vcpu[cpu].heartbeat, __ATOMIC_RELAXED) - from < n) {
		if (vm_end(vm) != VM_RUNS)
			fail_msg("the guest has ended (%d): %s", vm_end(vm), vm_end_report(vm));
		sched_yield();
	}
}

void rig_tell_stop(struct vm *vm)
{
	__atomic_store_n(&vm_payload_shared(vm)->command, PAYLOAD_CMD_STOP, __ATOMIC_RELEASE);
}
