/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The page of this tree: guest memory, records, dirty bitmaps and SEV packets are counted in it. */
#ifndef LIB_UTIL_PAGE_H
#define LIB_UTIL_PAGE_H

#include <stdint.h>

#include <sevmirror/host.h>

#define PAGE_BYTES SEVMIRROR_PAGE_BYTES

#endif
