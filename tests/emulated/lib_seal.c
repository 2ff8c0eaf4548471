/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sealing session by its public headers, on a host with SEV: one guest's private pages go into a
 * file and come back in another VM, of the same platform, with the firmware as the only link. The
 * VMM's part (KVM_SEV_INIT, launch, registration) is the test's, as it is QEMU's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sevmirror/sev.h>

#include "emulator/psp/vendor.h"
#include "lib/sev/sev_cpuid.h"
#include "tests/emulated/tap.h"
#include "tests/kvm/seal_file.h"

#define PAGE   4096ULL
#define LOW    (4ULL << 20)
#define FLASH  0x84000ULL
#define BYTES  (LOW + FLASH)
#define NPAGES (BYTES / PAGE)
#define POLICY (1u | 2u | 32u) /* NODBG, NOKS, SEV */

static struct tap tap = { .program = "lib_seal" };

struct guest {
	struct sevmirror_seal_vm vm;
	struct sevmirror_helper_region region;
	struct sev_guest *sev;
	uint8_t *memory; /* without a file, as QEMU's */
	uint64_t gpas[NPAGES];
};

static struct sev_error error;

static bool check(bool good, const char *what, const char *why)
{
	if (!why || !*why)
		why = error.message;
	tap_ok(&tap, good, "%s%s%s", what, good ? "" : ": ", good ? "" : why);
	memset(&error, 0, sizeof(error));
	return good;
}

static uint64_t word_of(uint64_t page, uint64_t word)
{
	return (page * 512 + word + 1) * 0x9e3779b97f4a7c15ULL ^ 0x3c6ef372u;
}

static bool guest_make(struct guest *g, int sev_fd, uint64_t cbit_mask)
{
	static const uint64_t gpa[] = { 0, (4ULL << 30) - FLASH }, bytes[] = { LOW, FLASH };
	uint64_t at = 0, i;
	unsigned int n = 0, r;

	memset(g, 0, sizeof(*g));
	g->vm.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	g->vm.vm_fd = ioctl(g->vm.kvm_fd, KVM_CREATE_VM, 0);
	g->vm.sev_fd = sev_fd;
	g->vm.cbit_mask = cbit_mask;
	g->vm.nranges = 2;
	g->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (g->vm.vm_fd < 0 || g->memory == MAP_FAILED)
		return false;
	for (r = 0; r < 2; at += bytes[r++]) {
		struct kvm_userspace_memory_region slot = { .slot = r,
							    .guest_phys_addr = gpa[r],
							    .memory_size = bytes[r],
							    .userspace_addr =
								    (uintptr_t)g->memory + at };

		g->vm.ranges[r] = (struct sevmirror_ram_range){
			.gpa = gpa[r], .bytes = bytes[r], .fd = -1, .hva = g->memory + at
		};
		if (ioctl(g->vm.vm_fd, KVM_SET_USER_MEMORY_REGION, &slot))
			return false;
		for (i = 0; i < bytes[r]; i += PAGE)
			g->gpas[n++] = gpa[r] + i;
	}
	return !sevmirror_helper_place(&g->region, g->vm.ranges, 2, cbit_mask) &&
	       !sevmirror_helper_memory_create(&g->vm.helper, &g->region) &&
	       !sev_guest_create(&g->sev, g->vm.vm_fd, sev_fd, &error) &&
	       !sev_guest_register_memory(g->sev, g->memory, BYTES, &error) &&
	       !sev_guest_register_memory(g->sev, g->vm.helper.hva, g->region.bytes, &error);
}

/* All of memory, the helper last; no memslot of this VM has the helper's. */
static bool guest_launch(struct guest *g)
{
	uint8_t measurement[SEV_MEASUREMENT_BYTES];
	uint64_t i;

	for (i = 0; i < BYTES / 8; i++)
		((uint64_t *)g->memory)[i] = word_of(i / 512, i % 512);
	return !sevmirror_helper_build(g->vm.ranges, 2, g->vm.cbit_mask, g->vm.helper.hva,
				       g->region.bytes) &&
	       !sev_guest_launch_start(g->sev, POLICY, NULL, &error) &&
	       !sev_guest_launch_update_data(g->sev, g->memory, BYTES, &error) &&
	       !sev_guest_launch_update_data(g->sev, g->vm.helper.hva, g->region.core_bytes,
					     &error) &&
	       !sev_guest_launch_measure(g->sev, measurement, &error) &&
	       !sev_guest_launch_finish(g->sev, &error);
}

static void guest_drop(struct guest *g)
{
	sev_guest_destroy(g->sev);
	close(g->vm.vm_fd);
	close(g->vm.kvm_fd);
	munmap(g->memory, BYTES);
	sevmirror_helper_memory_destroy(&g->vm.helper, &g->region);
}

static struct sevmirror_seal *session_of(const struct guest *g, bool source)
{
	const struct sevmirror_seal_config config = { .source = source,
						      .rings = 1,
						      .lanes = 1,
						      .depth = 1,
						      .vendor_chain = psp_vendor_ask_ark,
						      .vendor_chain_bytes =
							      PSP_VENDOR_CERTS_BYTES };
	struct sevmirror_seal *seal = NULL;

	(void)sevmirror_seal_create(&seal, g ? &g->vm : NULL, &config);
	return seal;
}

static uint32_t state_of(struct guest *g)
{
	struct sev_guest_status status = { 0 };

	return sev_guest_status(g->sev, &status, &error) ? UINT32_MAX : status.state;
}

/* A third guest takes all pages from the second: it can only if they are there in clear, inside. */
static void forwarded(struct guest *from, int sev_fd, struct seal_file *file)
{
	struct sev_pagemap *map = NULL;
	struct sevmirror_seal *seal;
	struct sevmirror_blob offer = { 0 };
	struct guest third;
	char state[4] = "vmm", back[4];
	int err;

	sev_pagemap_create(&map, 1 << 20);
	if (!check(guest_make(&third, sev_fd, from->vm.cbit_mask), "a third VM", NULL))
		return;
	seal = session_of(&third, false);
	sevmirror_seal_offer(seal, &offer);
	sevmirror_seal_destroy(seal);
	seal = session_of(from, true);
	err = seal_file_write(file, seal, &offer, map, state, sizeof(state));
	check(err == 0, "the guest that came is saved again", sevmirror_seal_why(seal));
	sevmirror_seal_abort(seal);
	sevmirror_seal_destroy(seal);
	check(state_of(from) == SEV_GUEST_RUNNING, "an aborted source runs on", NULL);
	seal = session_of(&third, false);
	err = seal_file_read(file, seal, map, back, sizeof(back));
	check(err == 0 && !memcmp(state, back, sizeof(state)), "and restored",
	      sevmirror_seal_why(seal));
	sevmirror_seal_destroy(seal);
	free(offer.bytes);
	sev_pagemap_destroy(map);
	guest_drop(&third);
}

/* The guest's bytes in clear, anywhere in the file? */
static bool in_clear(int fd)
{
	uint64_t word[4] = { word_of(9, 8), word_of(9, 9), word_of(9, 10), word_of(9, 11) };
	off_t bytes = lseek(fd, 0, SEEK_END);
	void *at = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, fd, 0);
	bool found = at == MAP_FAILED || memmem(at, (size_t)bytes, word, sizeof(word));

	munmap(at, (size_t)bytes);
	return found;
}

int main(void)
{
	int sev_fd = sev_device_open(&error), err;
	struct seal_file file = { .npages = NPAGES };
	struct sevmirror_blob offer = { 0 };
	struct sev_pagemap *map, *got;
	struct guest source, target;
	struct sevmirror_seal *seal;
	struct sev_cpuid cpuid;
	char state[] = "the VMM's state", back[sizeof(state)];

	sev_cpuid_host(&cpuid);
	if (!check(sev_fd >= 0, "the host has SEV", NULL) ||
	    !check(guest_make(&source, sev_fd, sev_cpuid_c_mask(&cpuid)) && guest_launch(&source),
		   "a guest whose helper is in no memslot of its", NULL))
		return tap_done(&tap);
	file.fd = memfd_create("session", MFD_CLOEXEC);
	file.gpas = source.gpas;
	sev_pagemap_create(&map, 1 << 20);
	sev_pagemap_create(&got, 1 << 20);
	sev_pagemap_hypercall(map, (const uint64_t[3]){ 0x5000, 3, 0 });

	seal = session_of(NULL, false);
	check(sevmirror_seal_offer(seal, &offer) == 0, "an offer before there is a VM",
	      sevmirror_seal_why(seal));
	sevmirror_seal_destroy(seal);
	seal = session_of(&source, true);
	err = seal_file_write(&file, seal, &offer, map, state, sizeof(state));
	check(err == 0, "the guest is saved to a file", sevmirror_seal_why(seal));
	check(!in_clear(file.fd), "nothing of it is in clear there", NULL);
	check(sevmirror_seal_commit(seal) == 0 && state_of(&source) == SEV_GUEST_SENT,
	      "the source is sent", sevmirror_seal_why(seal));
	sevmirror_seal_destroy(seal);

	if (!check(guest_make(&target, sev_fd, source.vm.cbit_mask), "another VM", NULL))
		return tap_done(&tap);
	seal = session_of(&target, false);
	err = seal_file_read(&file, seal, got, back, sizeof(back));
	check(err == 0, "each page is opened there in its version, and the manifest holds",
	      sevmirror_seal_why(seal));
	if (err)
		printf("# at: %s\n", file.step);
	check(!memcmp(state, back, sizeof(state)) && sev_pagemap_count_shared(got) == 3,
	      "state and map are the source's", NULL);
	check(sevmirror_seal_commit(seal) == 0, "commit", sevmirror_seal_why(seal));
	sevmirror_seal_destroy(seal);
	check(memcmp(source.memory, target.memory, BYTES) != 0 &&
		      *(uint64_t *)target.memory != word_of(0, 0),
	      "the host sees ciphertext of the target's own", NULL);
	forwarded(&target, sev_fd, &file);

	free(offer.bytes);
	sev_pagemap_destroy(map);
	sev_pagemap_destroy(got);
	guest_drop(&source);
	guest_drop(&target);
	return tap_done(&tap);
}
