/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many guests at once, the end of the ASIDs, their reuse; and a guest of several vCPUs on a host of
 * several CPUs.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/emulated/vm.h"

#define ASIDS 15 /* CPUID 8000001F ECX of the emulated host */
#define WORDS 512
#define VCPUS 4

static bool put(struct vm *vm, uint64_t seed)
{
	return vm_do(vm, &(struct call){ .function = guest_sequence,
					 .rdi = GPA_PRIVATE,
					 .rsi = seed,
					 .rcx = WORDS });
}

static uint32_t get(struct vm *vm, uint64_t gva, uint64_t seed)
{
	return vm_ask(vm, &(struct call){ .function = guest_sequence_count,
					  .rdi = gva,
					  .rsi = seed,
					  .rcx = WORDS });
}

static int start_all(struct host *host, struct vm *vms)
{
	int n = 0;

	while (n < ASIDS && vm_start(host, &vms[n], 0, "x") && put(&vms[n], n + 1))
		n++;
	return n;
}

static void test_full(struct tap *tap, struct host *host, struct vm *vms)
{
	struct sev_user_data_status status;
	struct vm vm, mirror;
	int good = 0;

	tap_ok(tap, start_all(host, vms) == ASIDS, "%d guests at once", ASIDS);
	for (int i = 0; i < ASIDS; i++)
		good += get(&vms[i], GPA_PRIVATE, i + 1) == WORDS;
	tap_ok(tap, good == ASIDS, "each reads its own page: %d", good);
	sev_platform_cmd(host->sev_fd, SEV_PLATFORM_STATUS, &status);
	tap_ok(tap, status.guest_count == ASIDS, "the firmware counts %u", status.guest_count);
	if (vm_create(host, &vm, NULL)) {
		tap_sev_errno(tap, vm_sev(&vm, KVM_SEV_INIT, NULL), EBUSY, "one more");
		tap_ok(tap, !vm_add_vcpu(&vm), "which is left a plain VM");
		vm_destroy(&vm);
	}
	tap_ok(tap, vm_start_mirror(&mirror, &vms[3]) && get(&mirror, GPA_PRIVATE, 4) == WORDS,
	       "a mirror needs no ASID");
	vm_destroy(&mirror);
}

/*
 * Each ASID comes round again, with another key: the memory of its last guest is garbage to the
 * next.
 */
static void test_reuse(struct tap *tap, struct host *host, struct vm *vms)
{
	static uint8_t *old[ASIDS];
	struct vm again[ASIDS];
	int good = 0, leaks = 0;

	for (int i = 0; i < ASIDS; i++) {
		old[i] = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, vms[i].mem_fd,
			      0);
		vm_destroy(&vms[i]);
	}
	tap_ok(tap, start_all(host, again) == ASIDS, "%d new guests after the old: DF_FLUSH, reuse",
	       ASIDS);
	for (int i = 0; i < ASIDS; i++) {
		good += get(&again[i], GPA_PRIVATE, i + 1) == WORDS;
		for (int k = 0; k < ASIDS; k++) {
			vm_slot(&again[i], 1, GUEST_WINDOW_GPA, old[k], 2 << 20, 0);
			leaks += get(&again[i], GVA_WINDOW_PRIVATE + GPA_PRIVATE, k + 1) != 0;
			vm_slot(&again[i], 1, GUEST_WINDOW_GPA, old[k], 0, 0);
		}
	}
	tap_ok(tap, good == ASIDS, "each reads its own page: %d", good);
	tap_ok(tap, leaks == 0, "none reads a page of any old guest (%d pairs)", ASIDS * ASIDS);
	for (int i = 0; i < ASIDS; i++) {
		vm_destroy(&again[i]);
		munmap(old[i], GUEST_BYTES);
	}
}

static void test_churn(struct tap *tap, struct host *host)
{
	int good = 0;

	for (int i = 0; i < 40; i++) {
		struct vm vm;

		good += vm_start(host, &vm, 0, "x") && put(&vm, i) &&
			get(&vm, GPA_PRIVATE, i) == WORDS;
		vm_destroy(&vm);
	}
	tap_ok(tap, good == 40, "40 guests one after the other: %d", good);
}

struct worker {
	struct vm *vm;
	int index;
	struct call call;
	struct outcome outcome;
};

static void *work(void *arg)
{
	struct worker *worker = arg;

	vm_call(worker->vm, worker->index, &worker->call, &worker->outcome);
	return NULL;
}

/* Run the calls on vCPUs 0 to n-1 at the same time. True when all halted. */
static bool together(struct vm *vm, struct worker *workers, int n)
{
	pthread_t threads[VCPUS];
	bool good = true;

	for (int i = 0; i < n; i++) {
		workers[i].vm = vm;
		workers[i].index = i;
		if (pthread_create(&threads[i], NULL, work, &workers[i]))
			return false;
	}
	for (int i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		good = good && workers[i].outcome.reason == KVM_EXIT_HLT;
	}
	return good;
}

static void test_smp(struct tap *tap, struct host *host, uint32_t policy, const char *kind)
{
	struct worker workers[VCPUS] = { 0 };
	uint64_t sum = 0;
	struct vm vm;

	if (!tap_ok(tap, vm_start(host, &vm, policy, "x"), "%s", kind))
		return;
	for (int i = 1; i < VCPUS; i++)
		vm_add_vcpu(&vm);
	tap_ok(tap, vm.nvcpus == VCPUS, "%s with %d vCPUs", kind, vm.nvcpus);
	vm_do(&vm, &(struct call){ .function = guest_fill, .rdi = GPA_PRIVATE, .rcx = WORDS });
	for (int i = 0; i < VCPUS; i++)
		workers[i].call = (struct call){ .function = guest_add,
						 .rdi = GPA_PRIVATE,
						 .rsi = 20000,
						 .rdx = GPA_PRIVATE + 64,
						 .rcx = VCPUS };
	tap_ok(tap, together(&vm, workers, VCPUS), "%s: they meet, then all count", kind);
	vm_read(&vm, GPA_PRIVATE, &sum, sizeof(sum));
	tap_ok(tap, sum == 20000ull * VCPUS, "%s: no count is lost: %llu", kind,
	       (unsigned long long)sum);
	for (int i = 0; i < 2; i++)
		workers[i].call = (struct call){
			.function = guest_pong, .rdi = GPA_PRIVATE + 128, .rsi = i, .rdx = 20
		};
	tap_ok(tap, together(&vm, workers, 2), "%s: two of them take turns", kind);
	vm_read(&vm, GPA_PRIVATE + 128, &sum, sizeof(sum));
	tap_ok(tap, sum == 40, "%s: 40 turns: %llu", kind, (unsigned long long)sum);
	vm_destroy(&vm);
}

/* A vCPU of the primary and one of the mirror count in the same word. */
static void test_primary_and_mirror(struct tap *tap, struct host *host)
{
	struct worker workers[2] = { 0 };
	struct vm primary, mirror;
	pthread_t threads[2];
	uint64_t sum = 0;

	if (!vm_start(host, &primary, 0, "x") || !vm_start_mirror(&mirror, &primary))
		return;
	vm_do(&primary, &(struct call){ .function = guest_fill, .rdi = GPA_PRIVATE, .rcx = WORDS });
	for (int i = 0; i < 2; i++) {
		workers[i].vm = i ? &mirror : &primary;
		workers[i].call = (struct call){ .function = guest_add,
						 .rdi = GPA_PRIVATE,
						 .rsi = 20000,
						 .rdx = GPA_PRIVATE + 64,
						 .rcx = 2 };
	}
	/* they run the same function, so they must not share the stack; guest_add uses none */
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, work, &workers[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	vm_read(&primary, GPA_PRIVATE, &sum, sizeof(sum));
	tap_ok(tap, sum == 40000, "primary and mirror at once in one private word: %llu",
	       (unsigned long long)sum);
	vm_destroy(&mirror);
	vm_destroy(&primary);
}

int main(void)
{
	struct tap tap = { .program = "guests" };
	struct vm vms[ASIDS];
	struct host host;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	host_open(&host);
	test_full(&tap, &host, vms);
	test_reuse(&tap, &host, vms);
	test_churn(&tap, &host);
	tap_ok(&tap, cpus >= 1, "the host has %ld CPUs", cpus);
	test_smp(&tap, &host, 0, "SEV guest");
	test_smp(&tap, &host, VM_PLAIN, "plain guest");
	test_primary_and_mirror(&tap, &host);
	host_close(&host);
	return tap_done(&tap);
}
