/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The page of this tree: guest memory, records, dirty bitmaps and SEV packets are counted in it. */
#ifndef LIB_UTIL_PAGE_H
#define LIB_UTIL_PAGE_H

#include <stdint.h>

#include <sevmirror/host.h>

#define PAGE_BYTES SEVMIRROR_PAGE_BYTES
#define PAGE_SHIFT 12

#define WORD_BITS 64 /* pages in a word of a bitmap */

_Static_assert(PAGE_BYTES == 1ULL << PAGE_SHIFT, "one size of a page");

#endif
