/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A mirror VM: a second KVM VM over a primary's memory, with vCPUs of its own that run code of the
 * guest in ring 3. On a SEV host it shares the primary's encryption context
 * (KVM_CAP_VM_COPY_ENC_CONTEXT_FROM, virt/kvm/api.rst 7.24), so it sees the guest's pages in clear;
 * without SEV it is a plain VM over the same memory. It has memslots that the primary has not: the
 * window, through which it talks to the host, and the helper region if it runs the helper.
 *
 * It never touches the primary: what goes wrong in it ends it alone. The two may be destroyed in
 * any order (KVM keeps the encryption context alive as long as a mirror lives). Exits of a vCPU are
 * handled on that vCPU's own thread.
 */
#ifndef LIB_MIRROR_MIRROR_H
#define LIB_MIRROR_MIRROR_H

#include "lib/mirror/region.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util/why.h"

#define MIRROR_VCPUS_MAX 16

struct mirror;

struct mirror_config {
	int kvm_fd; /* /dev/kvm, or -1: mirror_create() opens it */
	/* VM fd of a SEV primary past LAUNCH_START or RECEIVE_START; -1: without SEV */
	int primary_fd;
	/*
	 * As the primary's memslots. A file is mapped a second time and not kept; with fd -1 the
	 * mirror has the memory at hva itself.
	 */
	const struct sevmirror_ram_range *ram;
	unsigned int nram;
	/* the helper region: [offset, offset + bytes) of its file at gpa; bytes 0: none */
	struct sevmirror_ram_range region;
	uint64_t window_bytes; /* a multiple of 2 MiB */
	unsigned int nvcpus;
	uint64_t cbit_mask; /* goes into CR3 */
	bool read_only; /* RAM memslots: a write by the mirror is an exit that ends it */
	/*
	 * But not those of [writable_gpa, writable_gpa + writable_bytes), multiples of 2 MiB in one
	 * part of ram; 0 bytes: none.
	 */
	uint64_t writable_gpa, writable_bytes;
	bool log_dirty; /* log what the mirror writes: mirror_dirty_fetch() */
	/* called on each vCPU's thread, first of all; may be NULL */
	void (*thread_begins)(void *opaque);
	void *thread_opaque;
};

/*
 * Errors of mirror_create(): what /dev/kvm, the capability (EINVAL: not a SEV VM, or itself a
 * mirror; EBADF: not a KVM VM), mmap and the vCPUs say, negative. why, which may be NULL, names the
 * step (static text).
 */
int mirror_create(struct mirror **mirror, const struct mirror_config *config, struct why *why);
/* Stops the vCPUs wherever they are. NULL is allowed. */
void mirror_destroy(struct mirror *mirror);

int mirror_vm_fd(const struct mirror *mirror);
uint64_t mirror_window_gpa(const struct mirror *mirror);
/*
 * The window as the host sees it: mirror_config.window_bytes, zeroed. The vCPUs may change it at
 * any time.
 */
void *mirror_window(const struct mirror *mirror);
/*
 * The mirror's mapping of guest RAM (its own where RAM has a file): the address of [gpa, gpa +
 * bytes), or NULL if any of it is not RAM (the helper region is not). Unlike the primary's it is
 * never registered with userfaultfd, so RECEIVE_UPDATE_DATA and the like are given addresses in it.
 */
void *mirror_hva(const struct mirror *mirror, uint64_t gpa, uint64_t bytes);
/*
 * Have the host's page tables of that mapping filled for [gpa, gpa + bytes), so that the mirror's
 * first touch of a page is not a fault of the host too. Allocates what the memory file lacks.
 * Advice: errors are of no consequence.
 */
void mirror_populate(struct mirror *mirror, uint64_t gpa, uint64_t bytes);
/*
 * OR into bitmap (one bit a page, counted through ram[] in order) what the mirror wrote since the
 * last call. Needs log_dirty.
 */
int mirror_dirty_fetch(struct mirror *mirror, uint64_t *bitmap, size_t npages);

/* Where and how ring 3 is entered, in 64-bit mode. */
struct mirror_entry {
	uint64_t cr3; /* gpa; the C-bit is added */
	uint64_t tss; /* address of a TSS whose I/O bitmap allows the ports used, and its limit */
	uint32_t tss_limit;
	uint64_t rip, rsp;
	uint64_t rdi, rsi, rdx;
};

enum mirror_exit_kind {
	MIRROR_EXIT_OUT, /* a port was written */
	MIRROR_EXIT_STOPPED, /* by mirror_vcpu_stop() or mirror_destroy() */
	MIRROR_EXIT_CRASHED, /* triple fault: the code in the mirror did what it must not */
	MIRROR_EXIT_FAILED, /* anything else; detail is KVM's exit reason, or errno from 256 on */
};

struct mirror_exit {
	enum mirror_exit_kind kind;
	uint16_t port;
	uint32_t value;
	uint32_t detail;
};

/* Set a vCPU that does not run to an entry. */
int mirror_vcpu_enter(struct mirror *mirror, unsigned int vcpu, const struct mirror_entry *entry);

/*
 * Called on the vCPU's thread at each exit; true: run on. After anything but MIRROR_EXIT_OUT the
 * thread ends whatever it says. It may block, but only in mirror_park(), which ends when the vCPU
 * is to stop.
 */
typedef bool (*mirror_handler)(void *opaque, unsigned int vcpu, const struct mirror_exit *exit);

/* Run a vCPU on a thread of its own. -EBUSY if it runs. */
int mirror_vcpu_start(struct mirror *mirror, unsigned int vcpu, mirror_handler handler,
		      void *opaque);
/*
 * Take the vCPU out of the guest, even from an endless loop, and end its thread. Idempotent. Not
 * from a handler.
 */
void mirror_vcpu_stop(struct mirror *mirror, unsigned int vcpu);
/* Wait for the thread to end by itself. */
void mirror_vcpu_join(struct mirror *mirror, unsigned int vcpu);

/*
 * For handlers: sleep until mirror_wake() or mirror_vcpu_stop(), unless work says true (asked again
 * after each wake). false: the vCPU is to stop. A wake that comes between work's last answer and
 * the sleep is not lost.
 */
bool mirror_park(struct mirror *mirror, unsigned int vcpu, bool (*work)(void *opaque),
		 void *opaque);
/* Cheap when the vCPU is not parked. Any thread, after it published the work. */
void mirror_wake(struct mirror *mirror, unsigned int vcpu);

/* Returns to user space since the beginning: KVM_RUN calls that came back. */
uint64_t mirror_exits(const struct mirror *mirror);
/*
 * All VM exits, also those that KVM handled itself (page faults, ioeventfds), by KVM's own count.
 * -ENOENT or -ENOTTY where KVM does not count them.
 */
int mirror_kvm_exits(const struct mirror *mirror, uint64_t *exits);

/*
 * Let KVM signal eventfd when vCPUs write value to port, without leaving the kernel. -errno where
 * KVM cannot; then the write comes as an exit.
 */
int mirror_ioeventfd(struct mirror *mirror, uint16_t port, uint32_t value, int eventfd);

#endif
