/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/mirror_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#define TIMEOUT 30000000000ULL

void rig_need_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, KVM_GET_API_VERSION, 0) == KVM_API_VERSION) {
		close(fd);
		return;
	}
	printf("ok 1 - the mirror on this machine's /dev/kvm # SKIP /dev/kvm: %s\n",
	       strerror(errno));
	exit(77);
}

static void fill(struct rig *rig, unsigned int seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;
	uint64_t *word = (uint64_t *)rig->memory;
	uint64_t i;

	for (i = 0; i < rig->bytes / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		word[i] = x;
	}
}

void rig_init_ranges(struct rig *rig, const struct sevmirror_ram_range *ranges, unsigned int n,
		     unsigned int seed)
{
	void *memory;

	memset(rig, 0, sizeof(*rig));
	rig->memfd = memfd_create("rig", MFD_CLOEXEC);
	assert_true(rig->memfd >= 0);
	for (; rig->nram < n; rig->nram++) {
		rig->ram[rig->nram] =
			(struct sevmirror_ram_range){ .gpa = ranges[rig->nram].gpa,
						      .bytes = ranges[rig->nram].bytes,
						      .fd = rig->memfd,
						      .offset = rig->bytes };
		rig->bytes += ranges[rig->nram].bytes;
	}
	assert_int_equal(ftruncate(rig->memfd, (off_t)rig->bytes), 0);
	memory = mmap(NULL, rig->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, rig->memfd, 0);
	assert_true(memory != MAP_FAILED);
	rig->memory = memory;
	fill(rig, seed);
	assert_int_equal(region_plan(&rig->plan, rig->ram, rig->nram, 0), 0);
	assert_int_equal(region_memory_create(&rig->region, &rig->plan), 0);
	assert_int_equal(region_build(&rig->plan, rig->region.hva, rig->plan.bytes), 0);
}

void rig_init(struct rig *rig, uint64_t low, uint64_t high, unsigned int seed)
{
	const struct sevmirror_ram_range ranges[2] = { { .gpa = 0, .bytes = low },
						       { .gpa = 1ULL << 32, .bytes = high } };

	rig_init_ranges(rig, ranges, high ? 2 : 1, seed);
}

void rig_start(struct rig *rig, unsigned int nrings)
{
	struct rings_config config = {
		.kvm_fd = -1,
		.primary_fd = -1,
		.plan = &rig->plan,
		.region_fd = rig->region.fd,
		.ram = rig->ram,
		.nram = rig->nram,
		.nrings = nrings,
		.data_pages = RIG_DATA_PAGES,
	};
	struct why why;
	int error = rings_create(&rig->rings, &config, &why);

	if (error)
		print_error("%s\n", why.text);
	assert_int_equal(error, 0);
}

void rig_fini(struct rig *rig)
{
	rings_destroy(rig->rings);
	munmap(rig->memory, rig->bytes);
	region_memory_destroy(&rig->region);
	close(rig->memfd);
	memset(rig, 0, sizeof(*rig));
}

uint8_t *rig_at(const struct rig *rig, uint64_t gpa)
{
	unsigned int i;

	for (i = 0; i < rig->nram; i++)
		if (gpa >= rig->ram[i].gpa && gpa - rig->ram[i].gpa < rig->ram[i].bytes)
			return rig->memory + rig->ram[i].offset + (gpa - rig->ram[i].gpa);
	fail_msg("no RAM at %#llx", (unsigned long long)gpa);
	return NULL;
}

void rig_connect(struct rig *source, struct rig *target)
{
	uint8_t session[16], there[16];
	enum helper_state state;

	assert_int_equal(rings_session_make(source->rings, 0, session), 0);
	memcpy(target->region.hva, source->region.hva, source->plan.core_bytes);
	rig_start(target, rings_count(source->rings));
	assert_int_equal(rings_hello(target->rings, &state, there), 0);
	assert_int_equal(state, HELPER_TARGET);
	assert_memory_equal(session, there, sizeof(session));
}

uint32_t rig_batch_page(const struct rig *rig, unsigned int ring)
{
	uint32_t npages;

	return rings_data(rig->rings, ring, &npages) + 1;
}

uint32_t rig_slot(const struct rig *rig, unsigned int ring, unsigned int i)
{
	return rig_batch_page(rig, ring) + 1 + i;
}

unsigned int rig_seal(struct rig *rig, const uint64_t *gpa, unsigned int n,
		      struct helper_batch *batch)
{
	unsigned int ring = rings_of(rig->rings, gpa[0]);
	struct helper_request request = { .op = HELPER_OP_SEAL,
					  .count = n,
					  .page = rig_batch_page(rig, ring) };
	struct helper_batch *there = rings_page(rig->rings, request.page);
	struct helper_completion c;
	unsigned int i;

	memset(there, 0, sizeof(*there));
	for (i = 0; i < n; i++) {
		there->record[i].gpa = gpa[i];
		there->record[i].slot = rig_slot(rig, ring, i);
	}
	assert_int_equal(rings_call(rig->rings, ring, &request, &c, TIMEOUT), 0);
	*batch = *there;
	return c.status;
}

void rig_carry(struct rig *source, struct rig *target, const struct helper_batch *batch,
	       unsigned int n)
{
	unsigned int ring = rings_of(source->rings, batch->record[0].gpa);
	unsigned int i;

	memcpy(rings_page(target->rings, rig_batch_page(target, ring)), batch, sizeof(*batch));
	for (i = 0; i < n; i++)
		memcpy(rings_page(target->rings, rig_slot(target, ring, i)),
		       rings_page(source->rings, rig_slot(source, ring, i)), 4096);
}

unsigned int rig_open(struct rig *rig, unsigned int ring, unsigned int n,
		      struct helper_batch *batch)
{
	struct helper_request request = { .op = HELPER_OP_OPEN,
					  .count = n,
					  .page = rig_batch_page(rig, ring) };
	struct helper_completion c;

	assert_int_equal(rings_call(rig->rings, ring, &request, &c, TIMEOUT), 0);
	memcpy(batch, rings_page(rig->rings, request.page), sizeof(*batch));
	return c.status;
}
