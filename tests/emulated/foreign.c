/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: foreign PID   A foreign VM on the same host: an SEV guest with a key of its own, whose
 *                      memory slot is the RAM of the VM that the
 * sevmirror process PID runs, read-only. It reads all of that, as private and as shared memory, and
 * shows the host what it has read. Looked for are a canary of the guest's private pages and one of
 * its shared pages (canary.h).
 *
 * Exit status 0: the private one is nowhere, the shared one is where it can be read without a key,
 * and the foreign VM reads its own memory.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/emulated/canary.h"
#include "tests/emulated/vm.h"

#define CHUNK_BYTES (1ull << 20)
#define WORDS	    512

struct found {
	size_t private; /* how often */
	bool shared;
};

/* The guest's RAM: a memfd of that name (vmm/memory.c). */
static int open_ram(const char *pid)
{
	char path[512], target[64];
	struct dirent *entry;
	int fd = -1;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && fd < 0 && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		if (!strncmp(target, "/memfd:guest-ram", 16))
			fd = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return fd;
}

/*
 * Through the foreign VM's view of the window, into its own shared pages, where the host reads them
 * as they came.
 */
static bool look(struct vm *vm, uint64_t view, struct found *found)
{
	struct outcome out;

	vm_call(vm, 0,
		&(struct call){ .function = guest_copy,
				.rdi = GVA_LOW_SHARED + GPA_FREE,
				.rsi = view,
				.rcx = CHUNK_BYTES },
		&out);
	if (out.reason != KVM_EXIT_HLT)
		return false;
	found->private += canary_count(&canary_private, vm->mem + GPA_FREE, CHUNK_BYTES);
	found->shared =
		found->shared || canary_is_in(&canary_shared, vm->mem + GPA_FREE, CHUNK_BYTES);
	return true;
}

/* Its own private memory it does read. */
static bool reads_its_own(struct vm *vm)
{
	const struct canary *c = &canary_told;

	return vm_do(vm, &(struct call){ .function = guest_fill,
					 .rdi = GPA_PRIVATE,
					 .rsi = c->half_a,
					 .rdx = c->half_b,
					 .rcx = WORDS }) &&
	       vm_ask(vm, &(struct call){ .function = guest_count,
					  .rdi = GPA_PRIVATE,
					  .rsi = c->half_a,
					  .rdx = c->half_b,
					  .rcx = WORDS }) == WORDS;
}

/*
 * From the top, where Linux has the bounce buffers, so that the shared canary need not be looked
 * for in all the rest.
 */
static bool look_at_all(struct vm *vm, uint8_t *ram, uint64_t bytes, struct found *with_key,
			struct found *without_key)
{
	for (uint64_t at = bytes; at >= CHUNK_BYTES;) {
		at -= CHUNK_BYTES;
		if (vm_slot(vm, 1, GUEST_WINDOW_GPA, ram + at, CHUNK_BYTES, KVM_MEM_READONLY) ||
		    !look(vm, GVA_WINDOW_PRIVATE, with_key) ||
		    !look(vm, GVA_WINDOW_SHARED, without_key) ||
		    vm_slot(vm, 1, GUEST_WINDOW_GPA, NULL, 0, 0)) {
			fprintf(stderr, "foreign: the foreign VM failed at %llu MiB\n",
				(unsigned long long)(at >> 20));
			return false;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open_ram(argv[1]) : -1;
	struct found with_key = { .shared = true /* not looked for */ }, without_key = { 0 };
	struct host host;
	struct stat st;
	struct vm vm;
	uint8_t *ram;
	bool own;

	if (fd < 0 || fstat(fd, &st)) {
		fprintf(stderr, "usage: foreign PID   PID is of a process that runs a VM\n");
		return 2;
	}
	ram = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	host_open(&host);
	if (ram == MAP_FAILED || !vm_start(&host, &vm, POLICY_NODBG | POLICY_NOKS, "foreign"))
		return 2;
	own = reads_its_own(&vm);
	if (!look_at_all(&vm, ram, (uint64_t)st.st_size, &with_key, &without_key))
		return 2;
	printf("foreign VM: %s; %lld MiB of the guest's RAM read:\n",
	       own ? "reads its own page" : "does not even read its own page",
	       (long long)st.st_size >> 20);
	printf("foreign VM: under its own key: the private canary %zu times\n", with_key.private);
	printf("foreign VM: without a key: the private canary %zu times, the shared canary %s\n",
	       without_key.private, without_key.shared ? "is there" : "NOT FOUND");
	vm_destroy(&vm);
	host_close(&host);
	return !own || with_key.private || without_key.private || !without_key.shared;
}
