/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Races and odd calls that were bugs of KVM's SEV code once, each under a name of its own: the
 * kernel either does what is asked or says no, and in the end the firmware keeps no guest and every
 * ASID can be used again. What the kernel says of itself (an oops, a hung task) the driver looks
 * for in its log. What ends by SIGKILL is in t_orphans.c.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>

#include "tests/emulated/races.h"

#define ROUNDS 60

/* Two threads that begin each round together. */
struct duel {
	void (*run[2])(struct duel *duel);
	struct vm *a, *b;
	int result[2];
};

static pthread_barrier_t line;

struct duelist {
	struct duel *duel;
	int side;
};

static void *fight(void *arg)
{
	struct duelist *duelist = arg;

	pthread_barrier_wait(&line);
	duelist->duel->run[duelist->side](duelist->duel);
	return NULL;
}

static void fight_once(struct duel *duel)
{
	struct duelist duelists[2] = { { duel, 0 }, { duel, 1 } };
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, fight, &duelists[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

/* A VM that is SEV, without a launch. */
static bool start_empty(struct host *host, struct vm *vm)
{
	return vm_create(host, vm, NULL) && !vm_sev(vm, KVM_SEV_INIT, NULL).errnum;
}

static void init_a(struct duel *duel)
{
	duel->result[0] = vm_sev(duel->a, KVM_SEV_INIT, NULL).errnum;
}

static void pin_a(struct duel *duel)
{
	duel->result[1] = vm_pin(duel->a, true);
}

static void copy_a_to_b(struct duel *duel)
{
	duel->result[1] = vm_mirror_of(duel->b, duel->a->fd);
}

static void move_a_to_b(struct duel *duel)
{
	duel->result[1] = vm_move_from(duel->b, duel->a->fd);
}

static void vcpu_a(struct duel *duel)
{
	duel->result[0] = vm_add_vcpu(duel->a);
}

static void vcpu_b(struct duel *duel)
{
	duel->result[0] = vm_add_vcpu(duel->b);
}

/*
 * CVE-2026-31592: REG_REGION asked whether the VM is SEV before it took the lock, and an INIT that
 * fails leaves a VM that is not. All ASIDs are in use, so that INIT fails.
 */
static void failed_init(struct tap *tap, struct host *host)
{
	static struct vm full[ASIDS];
	int started = 0, inits = 0, pins = 0, copies = 0;

	while (started < ASIDS && start_empty(host, &full[started]))
		started++;
	tap_ok(tap, started == ASIDS, "failed_init: all %d ASIDs are in use", ASIDS);
	for (int i = 0; i < ROUNDS; i++) {
		struct duel duel = { .run = { init_a, i & 1 ? pin_a : copy_a_to_b } };
		struct vm a, b;

		if (!vm_create(host, &a, NULL) || !vm_create(host, &b, NULL))
			break;
		duel.a = &a;
		duel.b = &b;
		fight_once(&duel);
		inits += duel.result[0] == EBUSY;
		if (i & 1)
			pins += duel.result[1] == ENOTTY || duel.result[1] == EINVAL;
		else
			copies += duel.result[1] == EINVAL;
		/* afterwards, too */
		pins += vm_pin(&a, true) == ENOTTY || vm_pin(&a, true) == EINVAL;
		vm_destroy(&a);
		vm_destroy(&b);
	}
	tap_ok(tap, inits == ROUNDS, "failed_init: INIT says EBUSY %d times", inits);
	tap_ok(tap, pins == ROUNDS + ROUNDS / 2,
	       "failed_init: REG_REGION meanwhile and afterwards is refused %d times", pins);
	tap_ok(tap, copies == ROUNDS / 2, "failed_init: and COPY from it %d times", copies);
	for (int i = 0; i < started; i++)
		vm_destroy(&full[i]);
}

/* REG_REGION and COPY against an INIT that succeeds: before it or after it, never half of it. */
static void good_init(struct tap *tap, struct host *host)
{
	int inits = 0, others = 0;

	for (int i = 0; i < ROUNDS; i++) {
		struct duel duel = { .run = { init_a, i & 1 ? pin_a : copy_a_to_b } };
		struct vm a, b;

		if (!vm_create(host, &a, NULL) || !vm_create(host, &b, NULL))
			break;
		duel.a = &a;
		duel.b = &b;
		fight_once(&duel);
		inits += !duel.result[0];
		others += !duel.result[1] || duel.result[1] == EINVAL || duel.result[1] == ENOTTY;
		vm_destroy(&a);
		vm_destroy(&b);
	}
	tap_ok(tap, inits == ROUNDS, "good_init: INIT succeeds %d times", inits);
	tap_ok(tap, others == ROUNDS, "good_init: REG_REGION and COPY are done or refused %d times",
	       others);
	races_no_guests(tap, host, "good_init");
}

/*
 * 79b111427637: COPY into a VM that has a vCPU, or gets one at this moment. A vCPU of a VM that is
 * a mirror has the primary's ASID: it reads the primary's secret.
 */
static void copy_after_vcpu(struct tap *tap, struct host *host)
{
	int copied = 0, refused = 0, sees = 0;
	struct vm primary;

	if (!tap_ok(tap, vm_start(host, &primary, 0, SECRET), "copy_after_vcpu: a primary"))
		return;
	for (int i = 0; i < ROUNDS; i++) {
		struct duel duel = { .run = { vcpu_b, copy_a_to_b }, .a = &primary };
		struct vm b;

		if (!vm_create(host, &b, &primary))
			break;
		duel.b = &b;
		fight_once(&duel);
		copied += !duel.result[1];
		refused += duel.result[1] == EINVAL;
		if (!duel.result[1] && !duel.result[0])
			sees += races_reads_secret(&b);
		vm_destroy(&b);
	}
	tap_ok(tap, copied + refused == ROUNDS,
	       "copy_after_vcpu: %d times a mirror, %d times refused", copied, refused);
	tap_ok(tap, sees == copied, "copy_after_vcpu: each mirror's vCPU reads the secret: %d",
	       sees);
	tap_ok(tap, races_reads_secret(&primary), "copy_after_vcpu: the primary is as it was");
	vm_destroy(&primary);
	races_no_guests(tap, host, "copy_after_vcpu");
}

/* ecf371f8b02d: MOVE while the source or the target gets a vCPU. */
static void move_and_vcpu(struct tap *tap, struct host *host)
{
	int moved = 0, refused = 0, whole = 0;

	for (int i = 0; i < ROUNDS; i++) {
		struct duel duel = { .run = { i & 1 ? vcpu_a : vcpu_b, move_a_to_b } };
		struct kvm_sev_guest_status status;
		struct vm a, b;

		if (!start_empty(host, &a) || !vm_create(host, &b, NULL))
			break;
		duel.a = &a;
		duel.b = &b;
		fight_once(&duel);
		moved += !duel.result[1];
		refused += duel.result[1] == EBUSY || duel.result[1] == EINVAL;
		/* what is left of the source is dead; a target that was refused is a plain VM */
		whole += vm_sev(duel.result[1] ? &b : &a, KVM_SEV_GUEST_STATUS, &status).errnum ==
			 (duel.result[1] ? ENOTTY : EIO);
		vm_destroy(&a);
		vm_destroy(&b);
	}
	tap_ok(tap, moved + refused == ROUNDS, "move_and_vcpu: %d times moved, %d times refused",
	       moved, refused);
	tap_ok(tap, whole == ROUNDS, "move_and_vcpu: the other VM is dead or plain: %d", whole);
	races_no_guests(tap, host, "move_and_vcpu");
}

/* A running guest moves, with a mirror: both continue with the same key. */
static void move_with_mirror(struct tap *tap, struct host *host)
{
	struct kvm_sev_guest_status status;
	struct vm a, b, mirror;

	if (!tap_ok(tap, vm_start(host, &a, 0, SECRET) && vm_start_mirror(&mirror, &a),
		    "move_with_mirror: a primary and a mirror") ||
	    !vm_create(host, &b, &a))
		return;
	tap_ok(tap, !vm_move_from(&b, a.fd), "move_with_mirror: MOVE to another VM");
	tap_ok(tap, !vm_add_vcpu(&b) && races_reads_secret(&b), "move_with_mirror: it runs there");
	tap_ok(tap, races_reads_secret(&mirror), "move_with_mirror: the mirror still does");
	tap_ok(tap, vm_move_from(&b, a.fd) == EINVAL,
	       "move_with_mirror: a second time there is nothing to move");
	tap_ok(tap, vm_sev(&a, KVM_SEV_GUEST_STATUS, &status).errnum == EIO,
	       "move_with_mirror: the old VM is dead");
	vm_destroy(&a);
	tap_ok(tap, races_reads_secret(&b) && races_reads_secret(&mirror),
	       "move_with_mirror: nor is it missed");
	vm_destroy(&mirror);
	vm_destroy(&b);
	races_no_guests(tap, host, "move_with_mirror");
}

/* CVE-2026-31590 and its like: sizes and addresses that overflow, are odd, or are not mapped. */
static void odd_regions(struct tap *tap, struct host *host)
{
	struct vm vm;
	uint64_t mem, refused = 0;

	if (!tap_ok(tap, start_empty(host, &vm), "odd_regions: a VM"))
		return;
	mem = (uintptr_t)vm.mem;
	const struct kvm_enc_region bad[] = {
		{ mem, 0 },
		{ mem, UINT64_MAX },
		{ mem, 1ull << 63 },
		{ mem, (1ull << 63) - 1 },
		{ mem, 1ull << 52 },
		{ mem, 1ull << 44 },
		{ mem, -mem },
		{ mem, -mem - 1 },
		{ mem + 1, UINT64_MAX - mem },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX, UINT64_MAX },
		{ -4096ull, 8192 },
		{ 0, 4096 },
		{ 1ull << 47, 4096 },
		{ 0xffff888000000000ull, 4096 },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct kvm_enc_region region = bad[i];

		refused += ioctl(vm.fd, KVM_MEMORY_ENCRYPT_REG_REGION, &region) != 0;
		region = bad[i];
		refused += ioctl(vm.fd, KVM_MEMORY_ENCRYPT_UNREG_REGION, &region) != 0;
	}
	tap_ok(tap, refused == 2 * sizeof(bad) / sizeof(bad[0]), "odd_regions: %llu are refused",
	       (unsigned long long)refused);
	/* not aligned, but all of it is there */
	struct kvm_enc_region odd = { mem + 5, 4097 };

	tap_ok(tap, !ioctl(vm.fd, KVM_MEMORY_ENCRYPT_REG_REGION, &odd),
	       "odd_regions: 4097 bytes at an odd address are taken");
	tap_ok(tap, !ioctl(vm.fd, KVM_MEMORY_ENCRYPT_UNREG_REGION, &odd),
	       "odd_regions: and given back");
	tap_ok(tap, !vm_pin(&vm, true), "odd_regions: all of memory");
	tap_ok(tap, !vm_pin(&vm, true), "odd_regions: and once more over it");
	vm_destroy(&vm);
	races_no_guests(tap, host, "odd_regions");
}

static void update_a(struct duel *duel)
{
	duel->result[0] = vm_launch_update(duel->a).errnum;
}

static void update_a_too(struct duel *duel)
{
	duel->result[1] = vm_launch_update(duel->a).errnum;
}

/* LAUNCH_UPDATE_DATA of the same pages by two threads: encrypted twice, measured twice, no more. */
static void double_update(struct tap *tap, struct host *host)
{
	uint8_t measure[SEV_MEASURE_BYTES];
	struct duel duel = { .run = { update_a, update_a_too } };
	struct vm vm;

	if (!vm_create(host, &vm, NULL))
		return;
	duel.a = &vm;
	vm_load(&vm, true, SECRET);
	tap_sev_good(tap, vm_launch_begin(&vm, 0), "double_update: LAUNCH_START");
	fight_once(&duel);
	tap_ok(tap, !duel.result[0] && !duel.result[1],
	       "double_update: LAUNCH_UPDATE_DATA by two threads");
	tap_sev_good(tap, vm_launch_measure(&vm, measure), "double_update: LAUNCH_MEASURE");
	tap_ok(tap, vm_launch_update(&vm).errnum == EIO,
	       "double_update: LAUNCH_UPDATE_DATA after it is refused");
	tap_sev_good(tap, vm_sev(&vm, KVM_SEV_LAUNCH_FINISH, NULL), "double_update: LAUNCH_FINISH");
	vm_destroy(&vm);
	races_no_guests(tap, host, "double_update");
}

/* A guest at every step of its launch is closed; 200 times, and all ASIDs are there afterwards. */
static void churn(struct tap *tap, struct host *host)
{
	static struct vm full[ASIDS];
	int good = 0, started = 0;

	for (int i = 0; i < 200; i++) {
		uint8_t measure[SEV_MEASURE_BYTES];
		bool fine;
		struct vm vm;

		if (!vm_create(host, &vm, NULL))
			break;
		vm_load(&vm, true, SECRET);
		fine = i % 5 == 0 ? !vm_sev(&vm, KVM_SEV_INIT, NULL).errnum :
				    !vm_launch_begin(&vm, 0).errnum;
		if (fine && i % 5 > 1)
			fine = !vm_launch_update(&vm).errnum;
		if (fine && i % 5 > 2)
			fine = !vm_launch_measure(&vm, measure).errnum;
		if (fine && i % 5 > 3)
			fine = !vm_sev(&vm, KVM_SEV_LAUNCH_FINISH, NULL).errnum;
		good += fine;
		vm_destroy(&vm);
	}
	tap_ok(tap, good == 200, "churn: 200 launches, ended at every step: %d", good);
	races_no_guests(tap, host, "churn");
	while (started < ASIDS && vm_start(host, &full[started], 0, SECRET))
		started++;
	tap_ok(tap, started == ASIDS, "churn: all %d ASIDs work afterwards: %d", ASIDS, started);
	for (int i = 0; i < started; i++)
		vm_destroy(&full[i]);
	races_no_guests(tap, host, "churn");
}

int main(void)
{
	struct tap tap = { .program = "races" };
	struct host host;

	pthread_barrier_init(&line, NULL, 2);
	host_open(&host);
	failed_init(&tap, &host);
	good_init(&tap, &host);
	copy_after_vcpu(&tap, &host);
	move_and_vcpu(&tap, &host);
	move_with_mirror(&tap, &host);
	odd_regions(&tap, &host);
	double_update(&tap, &host);
	churn(&tap, &host);
	host_close(&host);
	return tap_done(&tap);
}
