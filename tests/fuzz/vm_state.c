/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile source's state of a whole VM: vCPUs, MSRs, interrupt controllers, clock, page map. KVM
 * is not there: its ioctls are answered here, so what is tested is what this program does with the
 * bytes before KVM judges them, and that KVM gets as many as it reads.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <sevmirror/pagemap.h>

#include "launch/guest_layout.h"
#include "vmm/bus.h"
#include "vmm/memory.h"
#include "vmm/vm/vm_private.h"
#include "vmm/vm/vm_state.h"

#define RAM_BYTES   (4ULL << 20)
#define CPUS	    2
#define XSAVE_BYTES 5000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int __wrap_ioctl(int fd, unsigned long request, ...);

static struct vcpu vcpus[CPUS];
static struct vm vm;
static unsigned int refused; /* one MSR in so many is not taken; 0: all are */

static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

/* What KVM would copy from user space: the sanitizer says if it is not there. */
static int read_all(const void *bytes, size_t len)
{
	volatile uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)bytes)[i]);
	return 0;
}

static int set_msrs(const struct kvm_msrs *msrs)
{
	need(msrs->nmsrs == 1, "MSRs one by one");
	return refused && msrs->entries[0].index % refused == 0 ? 0 : 1;
}

static int list_msrs(struct kvm_msr_list *list)
{
	static const uint32_t known[] = { 0x10, 0x3b, 0x174, 0x6e0, 0x4b564d00, 0x4b564d02 };

	need(list->nmsrs >= sizeof(known) / sizeof(known[0]), "room for the MSRs' list");
	list->nmsrs = sizeof(known) / sizeof(known[0]);
	memcpy(list->indices, known, sizeof(known));
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return (uintptr_t)arg == KVM_CAP_XSAVE2 ? XSAVE_BYTES : 1;
	case KVM_GET_MSR_INDEX_LIST:
		return list_msrs(arg);
	case KVM_GET_MSRS:
		return 1;
	case KVM_SET_MSRS:
		return set_msrs(arg);
	case KVM_SET_XSAVE:
		return read_all(arg, XSAVE_BYTES);
	case KVM_GET_DEVICE_ATTR:
	case KVM_SET_DEVICE_ATTR:
		return 0;
	default:
		return _IOC_DIR(request) & _IOC_WRITE ? read_all(arg, _IOC_SIZE(request)) : 0;
	}
}

/* An honest state, to begin with: SEVMIRROR_FUZZ_SEED names the file that it is written to. */
static void write_seed(const char *path)
{
	struct why why = { "" };
	uint8_t *state;
	size_t len;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || vm_state_save(&vm, &state, &len, &why) || write(fd, "", 1) != 1 ||
	    write(fd, state, len) != (ssize_t)len)
		abort();
	close(fd);
	free(state);
	exit(0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	vm.config = (struct vm_config){ .memory_bytes = RAM_BYTES, .cpus = CPUS, .payload = true };
	vm.kvm_fd = vm.vm_fd = vm.sev_fd = -1;
	vm.quiet = true;
	vm.nvcpus = CPUS;
	vm.vcpus = vcpus;
	vm.tsc_khz = 2000000;
	vm.payload_shared_gpa = LAYOUT_PAYLOAD_SHARED_GPA;
	vm.bus = bus_create();
	for (unsigned int i = 0; i < CPUS; i++)
		vcpus[i] = (struct vcpu){ .vm = &vm, .index = i, .fd = -1 };
	if (!vm.bus || guest_memory_create(&vm.memory, RAM_BYTES, false) ||
	    sev_pagemap_create(&vm.pagemap, RAM_BYTES / 4096))
		abort();
	bus_quiesce(vm.bus);
	if (getenv("SEVMIRROR_FUZZ_SEED"))
		write_seed(getenv("SEVMIRROR_FUZZ_SEED"));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct why why = { "" };
	uint8_t *again;
	size_t len;

	if (!size)
		return 0;
	refused = data[0];
	if (vm_state_load(&vm, data + 1, size - 1, &why)) {
		need(why.text[0], "a refusal without a reason");
		return 0;
	}
	need(!vm.payload_shared_gpa || vm_payload_shared(&vm), "the shared area is in RAM");
	need(vm_state_save(&vm, &again, &len, &why) == 0, "what was loaded is saved");
	free(again);
	return 0;
}
