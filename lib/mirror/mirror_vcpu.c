/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/mirror_vcpu.h"

#include <cpuid.h>
#include <errno.h>
#include <stdatomic.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Takes a vCPU out of KVM_RUN. It is blocked in the vCPU threads except inside KVM_RUN
 * (KVM_SET_SIGNAL_MASK), so it is never delivered: the embedding program needs no handler and loses
 * no signal of its own.
 */
#define KICK_SIGNAL SIGRTMAX

#define CPUID_ENTRIES_MAX 256

#define signature_HYGON_ebx 0x6f677948 /* "Hygo" */

/* Control registers of 64-bit mode with SSE and AVX (APM volume 2, 3.1). */
#define CR0_BITS    0x80050033ULL /* PG, AM, WP, NE, ET, MP, PE */
#define CR4_BITS    0x620ULL /* PAE, OSFXSR, OSXMMEXCPT */
#define CR4_OSXSAVE 0x40000ULL
#define EFER_BITS   0xd01ULL /* NXE, LMA, LME, SCE */
#define XCR0_AVX512 0xe7ULL
#define XCR0_AVX    0x7ULL
#define SELECTOR_CS 0x33
#define SELECTOR_SS 0x2b
#define SELECTOR_TR 0x40
#define TYPE_CODE   11
#define TYPE_DATA   3
#define TYPE_TSS    9
#define TYPE_BUSY   11

struct mirror_vcpu {
	int fd;
	unsigned int index;
	uint64_t cbit_mask;
	struct kvm_run *run;
	size_t run_bytes;
	void (*begins)(void *opaque);
	void *begins_opaque;
	mirror_handler handler;
	void *opaque;
	pthread_t thread;
	bool started; /* there is a thread to join; for the owner only */
	_Atomic uint64_t exits;
	atomic_bool stop;
	atomic_bool parked;
	pthread_mutex_t lock; /* with changed: sleeping and waking */
	pthread_cond_t changed;
};

/*
 * What KVM offers, as it is: on a SEV host that includes leaf 0x8000001F, from which KVM learns
 * that the C-bit in CR3 is no reserved bit. So this comes before KVM_SET_SREGS.
 */
static int set_cpuid(struct mirror_vcpu *v, int kvm_fd)
{
	struct kvm_cpuid2 *cpuid;
	int error = 0;

	cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES_MAX * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = CPUID_ENTRIES_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) || ioctl(v->fd, KVM_SET_CPUID2, cpuid))
		error = -errno;
	free(cpuid);
	return error;
}

static int set_signal_mask(struct mirror_vcpu *v)
{
	const uint64_t blocked = ~(1ULL << (KICK_SIGNAL - 1));
	struct kvm_signal_mask *mask = calloc(1, sizeof(*mask) + sizeof(blocked));
	int error;

	if (!mask)
		return -ENOMEM;
	mask->len = sizeof(blocked);
	memcpy(mask->sigset, &blocked, sizeof(blocked));
	error = ioctl(v->fd, KVM_SET_SIGNAL_MASK, mask) ? -errno : 0;
	free(mask);
	return error;
}

int mirror_vcpu_create(struct mirror_vcpu **vcpu, int kvm_fd, int vm_fd, unsigned int index,
		       uint64_t cbit_mask)
{
	struct mirror_vcpu *v = calloc(1, sizeof(*v));
	int error, bytes;
	void *run;

	if (!v)
		return -ENOMEM;
	v->index = index;
	v->cbit_mask = cbit_mask;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	v->fd = ioctl(vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (v->fd < 0) {
		error = -errno;
		goto fail;
	}
	error = set_cpuid(v, kvm_fd);
	if (!error)
		error = set_signal_mask(v);
	if (error)
		goto fail;
	bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	run = bytes < 0 ? MAP_FAILED :
			  mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED) {
		error = -errno;
		goto fail;
	}
	v->run = run;
	v->run_bytes = (size_t)bytes;
	*vcpu = v;
	return 0;
fail:
	mirror_vcpu_destroy(v);
	return error;
}

void mirror_vcpu_destroy(struct mirror_vcpu *v)
{
	mirror_vcpu_end(v);
	if (v->run)
		munmap(v->run, v->run_bytes);
	if (v->fd >= 0)
		close(v->fd);
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

/*
 * VMX enters with a busy TSS only (SDM volume 3, 27.3.1.2). AMD's hidden TR is not busy (KVM's
 * svm_get_segment adds the bit on reading), and QEMU's model of it finds the I/O bitmap of no
 * other.
 */
static uint8_t tss_type(void)
{
	unsigned int eax, ebx = 0, ecx, edx;

	__get_cpuid(0, &eax, &ebx, &ecx, &edx);
	return ebx == signature_AMD_ebx || ebx == signature_HYGON_ebx ? TYPE_TSS : TYPE_BUSY;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool system)
{
	struct kvm_segment s = {
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.dpl = system ? 0 : 3,
		.s = !system,
		.l = !system && type == TYPE_CODE,
		.db = !system && type == TYPE_DATA,
		.g = !system,
	};

	return s;
}

static int set_sregs(struct mirror_vcpu *v, const struct mirror_entry *entry)
{
	struct kvm_sregs sregs;

	if (ioctl(v->fd, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs = segment(SELECTOR_CS, TYPE_CODE, false);
	sregs.ss = segment(SELECTOR_SS, TYPE_DATA, false);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss;
	sregs.tr = segment(SELECTOR_TR, tss_type(), true);
	sregs.tr.base = entry->tss;
	sregs.tr.limit = entry->tss_limit;
	/* No IDT: any exception is a triple fault, which ends the mirror and nothing else. */
	memset(&sregs.idt, 0, sizeof(sregs.idt));
	memset(&sregs.gdt, 0, sizeof(sregs.gdt));
	sregs.cr0 = CR0_BITS;
	sregs.cr3 = entry->cr3 | v->cbit_mask;
	sregs.efer = EFER_BITS;
	/*
	 * Paravirtual KVMs leave XSAVE out of their CPUID and have it nevertheless: try, and do
	 * without where it is refused.
	 */
	sregs.cr4 = CR4_BITS | CR4_OSXSAVE;
	if (ioctl(v->fd, KVM_SET_SREGS, &sregs) == 0)
		return 0;
	sregs.cr4 = CR4_BITS;
	return ioctl(v->fd, KVM_SET_SREGS, &sregs) ? -errno : 0;
}

/*
 * The helper looks at XCR0 and takes the kernels that it allows, so less than asked for is no
 * error.
 */
static void set_xcr0(struct mirror_vcpu *v)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };

	xcrs.xcrs[0].value = XCR0_AVX512;
	if (ioctl(v->fd, KVM_SET_XCRS, &xcrs) == 0)
		return;
	xcrs.xcrs[0].value = XCR0_AVX;
	(void)ioctl(v->fd, KVM_SET_XCRS, &xcrs);
}

int mirror_vcpu_set(struct mirror_vcpu *v, const struct mirror_entry *entry)
{
	struct kvm_regs regs = {
		.rip = entry->rip,
		.rsp = entry->rsp,
		.rdi = entry->rdi,
		.rsi = entry->rsi,
		.rdx = entry->rdx,
		.rflags = 2,
	};
	int error;

	if (v->started)
		return -EBUSY;
	error = set_sregs(v, entry);
	if (error)
		return error;
	set_xcr0(v);
	return ioctl(v->fd, KVM_SET_REGS, &regs) ? -errno : 0;
}

static void decode(const struct mirror_vcpu *v, struct mirror_exit *exit)
{
	const struct kvm_run *run = v->run;

	*exit = (struct mirror_exit){ .kind = MIRROR_EXIT_FAILED, .detail = run->exit_reason };
	if (run->exit_reason == KVM_EXIT_SHUTDOWN)
		exit->kind = MIRROR_EXIT_CRASHED;
	if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT ||
	    run->io.size != 4 || run->io.count != 1)
		return;
	exit->kind = MIRROR_EXIT_OUT;
	exit->port = run->io.port;
	memcpy(&exit->value, (const uint8_t *)run + run->io.data_offset, sizeof(exit->value));
}

static bool stopping(struct mirror_vcpu *v)
{
	return atomic_load_explicit(&v->stop, memory_order_acquire);
}

static void *run_thread(void *arg)
{
	struct mirror_vcpu *v = arg;
	struct mirror_exit exit;
	bool on = true;

	if (v->begins)
		v->begins(v->begins_opaque);
	while (on) {
		int error = ioctl(v->fd, KVM_RUN, 0) ? errno : 0;

		atomic_fetch_add_explicit(&v->exits, 1, memory_order_relaxed);
		if (error == EINTR || error == EAGAIN) {
			if (!stopping(v))
				continue;
			exit = (struct mirror_exit){ .kind = MIRROR_EXIT_STOPPED };
		} else if (error) {
			exit = (struct mirror_exit){ .kind = MIRROR_EXIT_FAILED,
						     .detail = 256 + (uint32_t)error };
		} else {
			decode(v, &exit);
		}
		on = v->handler(v->opaque, v->index, &exit) && exit.kind == MIRROR_EXIT_OUT;
		if (on && stopping(v)) {
			exit = (struct mirror_exit){ .kind = MIRROR_EXIT_STOPPED };
			v->handler(v->opaque, v->index, &exit);
			on = false;
		}
	}
	return NULL;
}

int mirror_vcpu_thread(struct mirror_vcpu *v, void (*begins)(void *opaque), void *begins_opaque,
		       mirror_handler handler, void *opaque)
{
	sigset_t all, before;
	int error;

	if (v->started)
		return -EBUSY;
	v->begins = begins;
	v->begins_opaque = begins_opaque;
	v->handler = handler;
	v->opaque = opaque;
	v->stop = false;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	error = pthread_create(&v->thread, NULL, run_thread, v);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	v->started = !error;
	return -error;
}

void mirror_vcpu_end(struct mirror_vcpu *v)
{
	if (!v->started)
		return;
	pthread_mutex_lock(&v->lock);
	atomic_store_explicit(&v->stop, true, memory_order_release);
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
	pthread_kill(v->thread, KICK_SIGNAL);
	mirror_vcpu_wait(v);
}

void mirror_vcpu_wait(struct mirror_vcpu *v)
{
	if (v->started)
		pthread_join(v->thread, NULL);
	v->started = false;
}

bool mirror_vcpu_park(struct mirror_vcpu *v, bool (*work)(void *opaque), void *opaque)
{
	pthread_mutex_lock(&v->lock);
	for (;;) {
		/* Whoever wakes it publishes the work, then takes parked: one sees the other. */
		atomic_store(&v->parked, true);
		if (stopping(v) || work(opaque))
			break;
		pthread_cond_wait(&v->changed, &v->lock);
	}
	atomic_store_explicit(&v->parked, false, memory_order_relaxed);
	pthread_mutex_unlock(&v->lock);
	return !stopping(v);
}

void mirror_vcpu_wake(struct mirror_vcpu *v)
{
	atomic_thread_fence(memory_order_seq_cst);
	/* Once for each sleep: a thread on its way to a CPU needs no second call. */
	if (!atomic_load(&v->parked) || !atomic_exchange(&v->parked, false))
		return;
	/* By then it is inside pthread_cond_wait(), and does not wake up into a held lock. */
	pthread_mutex_lock(&v->lock);
	pthread_mutex_unlock(&v->lock);
	pthread_cond_broadcast(&v->changed);
}

uint64_t mirror_vcpu_exits(const struct mirror_vcpu *v)
{
	return atomic_load_explicit(&v->exits, memory_order_relaxed);
}

int mirror_vcpu_fd(const struct mirror_vcpu *v)
{
	return v->fd;
}
