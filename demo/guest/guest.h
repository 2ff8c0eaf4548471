/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest does to show that it was moved whole. Each kind of work has its file and its
 * threads; it counts what it did and tells every error on the console.
 */
#ifndef DEMO_GUEST_GUEST_H
#define DEMO_GUEST_GUEST_H

#include <stdbool.h>
#include <stdint.h>

/* Says "demo: ERROR ..." and counts it. */
void guest_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t guest_errors(void);

/* True once the guest is to end: every thread leaves soon. */
bool guest_ends(void);

void guest_sleep_ms(unsigned int ms);

/*
 * Memory: each thread has its part, verifies every page of it again and again and, unless it is
 * idle, writes new versions.
 */
struct memory_options {
	unsigned int mib, threads;
	unsigned int rest_ms; /* after each 64 pages, while it writes */
	bool idle;
};
void memory_start(const struct memory_options *options);
void memory_rest(bool idle);
void memory_end(void); /* waits for the threads and verifies all once more */
uint64_t memory_written(void);
uint64_t memory_sweeps(void); /* how often every page has been verified */

/* A conversation with peer, as guest (IPv4 addresses), over eth0. */
void talk_start(const char *guest, const char *peer);
void talk_end(void);
uint64_t talk_messages(void); /* that were answered rightly */

/* Blocks of /dev/vda: written, flushed, read back from the medium. */
void disk_start(void);
void disk_end(void); /* reads all of them once more */
uint64_t disk_flushes(void);

/* Lines on a terminal: "KIB,DEVICE", so many KiB of them a second. */
void chat_start(char *words);

/* A file whose SHA-256 must stay what it was. */
void file_make(const char *path);
void file_check(const char *path);
const char *file_digest(void); /* its beginning, in hexadecimal */
uint64_t file_checks(void);

#endif
