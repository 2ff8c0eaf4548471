/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One whole sealing session through a file, by the public headers alone: what a VMM's save and
 * restore would do. Pages are in fixed slots of their own size; their records, with the tags, are
 * elsewhere; the epoch table, the map and the VMM's state come before them.
 */
#ifndef TESTS_KVM_SEAL_FILE_H
#define TESTS_KVM_SEAL_FILE_H

#include <sevmirror/pagemap.h>
#include <sevmirror/seal.h>

struct seal_file {
	int fd;
	const uint64_t *gpas; /* which pages, each once */
	unsigned int npages;
	const char *step; /* the last one begun, for people */
};

/* offer: who may read it. state: some bytes of the VMM's. 0 or a negative errno. */
int seal_file_write(struct seal_file *file, struct sevmirror_seal *source,
		    const struct sevmirror_blob *offer, const struct sev_pagemap *map,
		    const void *state, size_t len);

/*
 * Read it, the pages in the opposite order; state gets len bytes. Then every page is checked, by
 * its own epoch and by the manifest.
 */
int seal_file_read(struct seal_file *file, struct sevmirror_seal *target, struct sev_pagemap *map,
		   void *state, size_t len);

/* Offset of a page's ciphertext in the file. */
uint64_t seal_file_slot(unsigned int i);

#endif
