/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host sees of a guest's memory, and what it can do to it. The guest works on words, 512
 * to a page.
 */
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/emulated/canary.h"
#include "tests/emulated/vm.h"

#define WORDS	  512
#define CHUNK	  (1u << 20)
#define PAGES	  64 /* private pages full of canaries, from GPA_FREE */
#define GPA_OTHER (GPA_FREE + PAGES * PAGE_BYTES)

static bool fill(struct vm *vm, uint64_t gva, const struct canary *canary, uint64_t words)
{
	return vm_do(vm, &(struct call){ .function = guest_fill,
					 .rdi = gva,
					 .rsi = canary->half_a,
					 .rdx = canary->half_b,
					 .rcx = words });
}

/* How many of the words the guest sees as the canary. */
static uint32_t count(struct vm *vm, uint64_t gva, const struct canary *canary, uint64_t words)
{
	return vm_ask(vm, &(struct call){ .function = guest_count,
					  .rdi = gva,
					  .rsi = canary->half_a,
					  .rdx = canary->half_b,
					  .rcx = words });
}

/* Two canaries, counted in the same pass. */
struct found {
	size_t private, shared, bytes;
};

static bool scan_range(int fd, uint64_t offset, uint64_t bytes, struct found *found)
{
	static uint8_t buf[CHUNK];

	while (bytes) {
		size_t want = bytes < sizeof(buf) ? bytes : sizeof(buf);
		ssize_t n = pread(fd, buf, want, (off_t)offset);

		if (n <= 0)
			return false;
		found->private += canary_count(&canary_private, buf, n);
		found->shared += canary_count(&canary_shared, buf, n);
		found->bytes += n;
		offset += n;
		bytes -= n;
	}
	explicit_bzero(buf, sizeof(buf));
	return true;
}

/*
 * All RAM of the emulated host through /proc/kcore: the segments of the kernel's direct map, which
 * have a physical address.
 */
static bool scan_host(struct found *found)
{
	Elf64_Ehdr ehdr;
	int fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);

	memset(found, 0, sizeof(*found));
	if (fd < 0 || pread(fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr))
		return false;
	for (int i = 0; i < ehdr.e_phnum; i++) {
		Elf64_Phdr phdr;

		if (pread(fd, &phdr, sizeof(phdr), (off_t)(ehdr.e_phoff + i * sizeof(phdr))) !=
		    sizeof(phdr))
			return false;
		if (phdr.p_type == PT_LOAD && phdr.p_paddr != UINT64_MAX &&
		    phdr.p_vaddr < 0xffffffff80000000ull &&
		    !scan_range(fd, phdr.p_offset, phdr.p_filesz, found))
			return false;
	}
	close(fd);
	return true;
}

/* Everything that is mapped in this process, the VM's memory and vCPU pages included. */
static bool scan_process(struct found *found)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	char line[512];

	memset(found, 0, sizeof(*found));
	if (!maps || fd < 0)
		return false;
	while (fgets(line, sizeof(line), maps)) {
		char *at, *mode;
		uint64_t start = strtoull(line, &at, 16), end = strtoull(at + 1, &mode, 16);

		if (mode[1] == 'r' && !strstr(line, "[v"))
			scan_range(fd, start, end - start, found);
	}
	close(fd);
	fclose(maps);
	return true;
}

static size_t total_ram(void)
{
	return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_ciphertext(struct tap *tap, struct vm *vm)
{
	const uint8_t *page = vm->mem + GPA_FREE;
	size_t repeats = 0, ram = total_ram();
	struct found found;
	bool scanned;

	tap_ok(tap, fill(vm, GPA_FREE, &canary_private, PAGES * WORDS),
	       "the guest writes canaries");
	tap_ok(tap, fill(vm, GPA_SHARED, &canary_shared, WORDS), "and others to a shared page");
	tap_ok(tap, count(vm, GPA_FREE, &canary_private, PAGES * WORDS) == PAGES * WORDS,
	       "the guest reads its private canaries");
	tap_ok(tap, canary_count(&canary_shared, vm->mem + GPA_SHARED, PAGE_BYTES) == WORDS,
	       "the host reads the shared page in clear");
	tap_ok(tap, canary_count(&canary_private, vm->mem, GUEST_BYTES) == 0,
	       "the host finds no private canary in the guest's memory");
	for (size_t i = 16; i < PAGE_BYTES; i += 16)
		repeats += !memcmp(page, page + i, 16);
	tap_ok(tap, repeats == 0, "equal blocks of a page have different ciphertext");
	tap_ok(tap, memcmp(page, page + PAGE_BYTES, PAGE_BYTES) != 0,
	       "equal pages have different ciphertext");
	scanned = scan_process(&found);
	tap_ok(tap, scanned && found.private == 0 && found.shared >= WORDS,
	       "the VM process: no private canary, %zu shared ones in %zu MiB", found.shared,
	       found.bytes >> 20);
	scanned = scan_host(&found);
	tap_ok(tap, scanned && found.private == 0 && found.shared >= WORDS && found.bytes >= ram,
	       "all of the host's RAM: no private canary, %zu shared ones in %zu MiB (of %zu)",
	       found.shared, found.bytes >> 20, ram >> 20);
	tap_ok(tap, count(vm, GPA_FREE, &canary_private, PAGES * WORDS) == PAGES * WORDS,
	       "the guest reads its canaries after the search");
}

static void test_moved(struct tap *tap, struct vm *vm)
{
	uint8_t *page = vm->mem + GPA_FREE, *other = vm->mem + GPA_OTHER;
	uint8_t saved[PAGE_BYTES];

	memcpy(saved, page, PAGE_BYTES);
	memcpy(other, saved, PAGE_BYTES);
	tap_ok(tap, count(vm, GPA_OTHER, &canary_private, WORDS) == 0,
	       "ciphertext moved to another page is garbage");
	memset(page, 0, PAGE_BYTES);
	tap_ok(tap, count(vm, GPA_FREE, &canary_private, WORDS) == 0,
	       "a page the host zeroed is garbage");
	memcpy(page, saved, PAGE_BYTES);
	tap_ok(tap, count(vm, GPA_FREE, &canary_private, WORDS) == WORDS,
	       "ciphertext restored in place is right");
	memcpy(page, page + PAGE_BYTES, PAGE_BYTES);
	memcpy(page + PAGE_BYTES, saved, PAGE_BYTES);
	tap_ok(tap, count(vm, GPA_FREE, &canary_private, 2 * WORDS) == 0,
	       "two pages exchanged are garbage");
	memcpy(page + PAGE_BYTES, page, PAGE_BYTES);
	memcpy(page, saved, PAGE_BYTES);
	fill(vm, GPA_FREE + PAGE_BYTES, &canary_private, WORDS);
	memmove(page, page + 16, 16);
	tap_ok(tap, count(vm, GPA_FREE, &canary_private, WORDS) == WORDS - 2,
	       "a block moved within its page spoils that block only");
	memcpy(page, saved, PAGE_BYTES);
	page[32] ^= 1;
	tap_ok(tap, count(vm, GPA_FREE, &canary_private, WORDS) == WORDS - 2,
	       "a flipped bit spoils its 16 bytes and no more");
	memcpy(page, saved, PAGE_BYTES);
	tap_ok(tap, count(vm, GPA_FREE, &canary_private, WORDS) == WORDS, "all restored");
}

/*
 * Old ciphertext at its own place is old plaintext: plain SEV has no integrity, and the model must
 * not either.
 */
static void test_replay(struct tap *tap, struct vm *vm)
{
	uint8_t *page = vm->mem + GPA_OTHER;
	uint8_t saved[PAGE_BYTES];

	vm_do(vm, &(struct call){
			  .function = guest_sequence, .rdi = GPA_OTHER, .rsi = 1, .rcx = WORDS });
	memcpy(saved, page, PAGE_BYTES);
	vm_do(vm, &(struct call){
			  .function = guest_sequence, .rdi = GPA_OTHER, .rsi = 2, .rcx = WORDS });
	tap_ok(tap, memcmp(saved, page, PAGE_BYTES) != 0, "other plaintext, other ciphertext");
	memcpy(page, saved, PAGE_BYTES);
	tap_ok(tap,
	       vm_ask(vm, &(struct call){ .function = guest_sequence_count,
					  .rdi = GPA_OTHER,
					  .rsi = 1,
					  .rcx = WORDS }) == WORDS,
	       "old ciphertext put back is the old plaintext");
}

/*
 * One page seen through two mappings of the guest, C = 1 and C = 0: the latter shows what the host
 * sees.
 */
static void test_views(struct tap *tap, struct vm *vm)
{
	uint8_t seen[PAGE_BYTES];

	fill(vm, GPA_OTHER, &canary_told, WORDS);
	tap_ok(tap,
	       vm_read(vm, GVA_LOW_SHARED + GPA_OTHER, seen, sizeof(seen)) &&
		       !memcmp(seen, vm->mem + GPA_OTHER, PAGE_BYTES),
	       "the guest's C = 0 view of a private page is the host's view");
	vm_do(vm, &(struct call){ .function = guest_copy,
				  .rdi = GPA_OTHER + PAGE_BYTES,
				  .rsi = GVA_LOW_SHARED + GPA_OTHER,
				  .rcx = PAGE_BYTES });
	vm_do(vm, &(struct call){ .function = guest_copy,
				  .rdi = GVA_LOW_SHARED + GPA_OTHER,
				  .rsi = GPA_OTHER + PAGE_BYTES,
				  .rcx = PAGE_BYTES });
	tap_ok(tap, count(vm, GPA_OTHER, &canary_told, WORDS) == WORDS,
	       "ciphertext written back through the C = 0 view is right in the C = 1 view");
	/* one access over both kinds: the page before GPA_SHARED is private */
	vm_do(vm, &(struct call){ .function = guest_fill,
				  .rdi = GPA_SHARED - 4,
				  .rsi = canary_told.half_a,
				  .rdx = canary_told.half_b,
				  .rcx = 1 });
	tap_ok(tap, count(vm, GPA_SHARED - 4, &canary_told, 1) == 1,
	       "a word across a private and a shared page");
}

/* A page changes its kind and back, as Linux does it for its bounce buffers. */
static void test_convert(struct tap *tap, struct vm *vm)
{
	uint64_t pte = GPA_OTHER | 7;
	struct call convert = { .function = guest_convert,
				.rdi = GPA_PT + 8 * (GPA_OTHER / PAGE_BYTES),
				.rsi = GPA_OTHER,
				.rdx = pte,
				.r8 = GPA_SCRATCH };
	int good = 0;

	fill(vm, GPA_OTHER, &canary_told, WORDS);
	for (int i = 0; i < 10; i++) {
		convert.rdx = pte;
		good += vm_do(vm, &convert) &&
			canary_count(&canary_told, vm->mem + GPA_OTHER, PAGE_BYTES) == WORDS &&
			count(vm, GPA_OTHER, &canary_told, WORDS) == WORDS;
		convert.rdx = pte | vm->c_mask;
		good += vm_do(vm, &convert) &&
			canary_count(&canary_told, vm->mem + GPA_OTHER, PAGE_BYTES) == 0 &&
			count(vm, GPA_OTHER, &canary_told, WORDS) == WORDS;
	}
	tap_ok(tap, good == 20, "a page made shared and private again, ten times: %d of 20", good);
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
				.rdi = GPA_FREE - PAGE_BYTES + 8,
				.rsi = GPA_SHARED },
		&ticker->outcome);
	ticker->done = true;
	return NULL;
}

/* The host reads the page in which the guest counts, all the while. */
static void test_running(struct tap *tap, struct vm *vm)
{
	volatile uint8_t *stop = vm->mem + GPA_SHARED;
	uint8_t *page = vm->mem + GPA_FREE - PAGE_BYTES;
	struct ticker ticker = { .vm = vm };
	uint64_t low = 0, seen[2] = { 0 };
	int changed = 0, reads = 0;
	pthread_t thread;

	*stop = 0;
	fill(vm, GPA_FREE - PAGE_BYTES, &canary_told, WORDS);
	vm_do(vm,
	      &(struct call){ .function = guest_fill, .rdi = GPA_FREE - PAGE_BYTES + 8, .rcx = 1 });
	if (pthread_create(&thread, NULL, tick, &ticker))
		return;
	for (; reads < 1000000 && changed < 50; reads++) {
		uint64_t now[2];

		memcpy(now, page, sizeof(now));
		changed += memcmp(now, seen, sizeof(now)) != 0;
		memcpy(seen, now, sizeof(now));
		low += canary_count(&canary_told, page, PAGE_BYTES);
		sched_yield();
	}
	tap_ok(tap, low == 0, "a running guest's page read %d times: only ciphertext", reads);
	tap_ok(tap, !ticker.done && changed == 50, "which changed under the reader %d times",
	       changed);
	*stop = 1;
	pthread_join(thread, NULL);
	tap_ok(tap, ticker.outcome.reason == KVM_EXIT_HLT, "the guest stops when it is told to");
	tap_ok(tap, count(vm, GPA_FREE - PAGE_BYTES, &canary_told, WORDS) == WORDS - 1,
	       "and its page is whole");
}

/*
 * With --hold FILE: stay with the canaries in place, creating FILE, until FILE is gone, so that all
 * RAM can be dumped outside.
 */
static void hold(const char *path)
{
	if (file_write(path, "", 0))
		return;
	while (!access(path, F_OK))
		usleep(100000);
}

int main(int argc, char **argv)
{
	struct tap tap = { .program = "memory" };
	struct host host;
	struct vm vm;

	host_open(&host);
	if (tap_ok(&tap, vm_start(&host, &vm, POLICY_NODBG | POLICY_NOKS, "x"), "a guest")) {
		test_ciphertext(&tap, &vm);
		if (argc == 3 && !strcmp(argv[1], "--hold"))
			hold(argv[2]);
		test_moved(&tap, &vm);
		test_replay(&tap, &vm);
		test_views(&tap, &vm);
		test_convert(&tap, &vm);
		test_running(&tap, &vm);
	}
	vm_destroy(&vm);
	host_close(&host);
	return tap_done(&tap);
}
