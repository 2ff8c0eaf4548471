/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device of the host reads and writes a guest's private pages by DMA: virtio-blk with O_DIRECT,
 * straight from and to the memory of the guest. The disk sees ciphertext; ciphertext read back to
 * its page is the guest's plaintext again. usage: dma DEVICE
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/emulated/canary.h"
#include "tests/emulated/vm.h"

#define WORDS 512
#define PAGES 64
#define BYTES (PAGES * PAGE_BYTES)

static bool fill(struct vm *vm, uint64_t gva, uint64_t words)
{
	return vm_do(vm, &(struct call){ .function = guest_fill,
					 .rdi = gva,
					 .rsi = canary_told.half_a,
					 .rdx = canary_told.half_b,
					 .rcx = words });
}

static uint32_t count(struct vm *vm, uint64_t gva, uint64_t words)
{
	return vm_ask(vm, &(struct call){ .function = guest_count,
					  .rdi = gva,
					  .rsi = canary_told.half_a,
					  .rdx = canary_told.half_b,
					  .rcx = words });
}

static void test_round_trip(struct tap *tap, struct vm *vm, int disk)
{
	uint8_t *guest = vm->mem + GPA_FREE, *buf = aligned_alloc(PAGE_BYTES, BYTES);

	if (!buf)
		return;
	fill(vm, GPA_FREE, PAGES * WORDS);
	tap_ok(tap, pwrite(disk, guest, BYTES, 0) == (ssize_t)BYTES,
	       "%d private pages written to the disk by DMA", PAGES);
	tap_ok(tap, count(vm, GPA_FREE, PAGES * WORDS) == PAGES * WORDS,
	       "the guest's pages are not changed by it");
	tap_ok(tap,
	       pread(disk, buf, BYTES, 0) == (ssize_t)BYTES &&
		       canary_count(&canary_told, buf, BYTES) == 0,
	       "the disk has ciphertext");
	tap_ok(tap, !memcmp(buf, guest, BYTES), "the same that the CPU sees");
	memset(guest, 0x5a, BYTES);
	tap_ok(tap, count(vm, GPA_FREE, PAGES * WORDS) == 0, "the pages overwritten by the host");
	tap_ok(tap,
	       pread(disk, guest, BYTES, 0) == (ssize_t)BYTES &&
		       count(vm, GPA_FREE, PAGES * WORDS) == PAGES * WORDS,
	       "read back by DMA to where they were: right");
	tap_ok(tap,
	       pread(disk, guest, PAGE_BYTES, PAGE_BYTES) == (ssize_t)PAGE_BYTES &&
		       count(vm, GPA_FREE, WORDS) == 0,
	       "another page's ciphertext read there by DMA: garbage");
	tap_ok(tap,
	       pread(disk, guest + 512, 512, 512) == 512 && pread(disk, guest, 512, 0) == 512 &&
		       count(vm, GPA_FREE, 128) == 128 &&
		       count(vm, GPA_FREE + 1024, WORDS - 128) == 0,
	       "single sectors of a page by DMA");
	tap_ok(tap,
	       pread(disk, guest, PAGE_BYTES, 0) == (ssize_t)PAGE_BYTES &&
		       count(vm, GPA_FREE, WORDS) == WORDS,
	       "and the whole page again");
	free(buf);
}

/* From a shared page the device takes, and to it it brings, plaintext. */
static void test_shared(struct tap *tap, struct vm *vm, int disk)
{
	uint8_t *page = vm->mem + GPA_SHARED;

	fill(vm, GPA_SHARED, WORDS);
	tap_ok(tap, pwrite(disk, page, PAGE_BYTES, BYTES) == (ssize_t)PAGE_BYTES, "a shared page");
	memset(page, 0, PAGE_BYTES);
	tap_ok(tap,
	       pread(disk, page, PAGE_BYTES, BYTES) == (ssize_t)PAGE_BYTES &&
		       count(vm, GPA_SHARED, WORDS) == WORDS &&
		       canary_count(&canary_told, page, PAGE_BYTES) == WORDS,
	       "comes back in clear to guest and host");
}

struct ticker {
	struct vm *vm;
	struct outcome outcome;
	atomic_bool done;
};

static void *tick(void *arg)
{
	struct ticker *ticker = arg;

	vm_call(ticker->vm, 0,
		&(struct call){ .function = guest_tick,
				.rdi = GPA_FREE + PAGE_BYTES - 8,
				.rsi = GPA_SHARED },
		&ticker->outcome);
	ticker->done = true;
	return NULL;
}

/* The device reads a page all the while the guest writes to it: its form changes under both. */
static void test_while_running(struct tap *tap, struct vm *vm, int disk)
{
	volatile uint8_t *stop = vm->mem + GPA_SHARED;
	struct ticker ticker = { .vm = vm };
	uint64_t ticks[2] = { 0 };
	pthread_t thread;
	int good = 0;

	*stop = 0;
	fill(vm, GPA_FREE, WORDS);
	vm_do(vm,
	      &(struct call){ .function = guest_fill, .rdi = GPA_FREE + PAGE_BYTES - 8, .rcx = 1 });
	if (pthread_create(&thread, NULL, tick, &ticker))
		return;
	for (int i = 0; i < 300; i++)
		good += pwrite(disk, vm->mem + GPA_FREE, PAGE_BYTES, 2 * BYTES) ==
			(ssize_t)PAGE_BYTES;
	tap_ok(tap, good == 300 && !ticker.done,
	       "300 DMA reads of a page that the guest writes to");
	*stop = 1;
	pthread_join(thread, NULL);
	tap_ok(tap, ticker.outcome.reason == KVM_EXIT_HLT, "the guest ends well");
	tap_ok(tap, count(vm, GPA_FREE, WORDS) == WORDS - 1, "its page is whole");
	vm_read(vm, GPA_FREE + PAGE_BYTES - 8, &ticks[0], 8);
	tap_ok(tap, ticks[0] > 300, "it has counted on: %llu", (unsigned long long)ticks[0]);
}

int main(int argc, char **argv)
{
	struct tap tap = { .program = "dma" };
	int disk = argc == 2 ? open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC) : -1;
	struct host host;
	struct vm vm;

	host_open(&host);
	if (tap_ok(&tap, disk >= 0, "a disk") &&
	    tap_ok(&tap, vm_start(&host, &vm, POLICY_NODBG, "x"), "a guest")) {
		test_round_trip(&tap, &vm, disk);
		test_shared(&tap, &vm, disk);
		test_while_running(&tap, &vm, disk);
		vm_destroy(&vm);
	}
	host_close(&host);
	return tap_done(&tap);
}
