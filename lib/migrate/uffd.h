/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * userfaultfd over the primary's mapping of guest RAM, for post-copy: a page that is not mapped
 * there stops each thread that touches it (vCPU, KVM, device, VMM) until it is continued. The page
 * itself is filled through another mapping of the same memory file (minor faults,
 * Documentation/admin-guide/mm/userfaultfd.rst), so nothing is copied and a pinned page stays where
 * it is.
 */
#ifndef LIB_MIGRATE_UFFD_H
#define LIB_MIGRATE_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util/why.h"

/*
 * A non-blocking userfaultfd that reports faults from the kernel too (KVM's are), with minor faults
 * on shared memory. A negative errno with what to do about it in why: the
 * caller may lack the right (-EPERM, -EACCES) or the kernel the feature (-EINVAL). device:
 * /dev/userfaultfd, opened by somebody who might; 0 or -1: none.
 */
int uffd_open(int device, struct why *why);

/*
 * Arm [addr, addr + bytes), a shared mapping of a memfd that nobody uses at the moment: what is
 * mapped there is taken out of the page tables (not out of the file), and from then on each access
 * of an unmapped page is a fault to be read here. 0 or a negative errno.
 */
int uffd_arm(int fd, void *addr, uint64_t bytes);

/* Undo that: all waiters continue, unmapped pages are the kernel's business again. */
int uffd_disarm(int fd, void *addr, uint64_t bytes);

/*
 * The pages of [addr, addr + bytes) are in the file as they should be: map them and wake the
 * waiters. Pages that are mapped already are passed over. 0, -EFAULT when one is not in the file at
 * all, or another negative errno.
 */
int uffd_continue(int fd, void *addr, uint64_t bytes);

/* The addresses of up to max faults: how many, 0 when there is none, or a negative errno. */
int uffd_read(int fd, void **addrs, unsigned int max);

#endif
