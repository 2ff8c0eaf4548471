/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which keys a migration has, derived by another process from what is known of it: the pre-shared
 * key, TLS's exporter secret (from its key log), the labels and contexts that keys are made for,
 * and the session's secret in the helper's key page. The derivation is written again from RFC 8446
 * and docs/protocol.md, without OpenSSL's KDFs and without the library.
 */
#ifndef TESTS_KVM_KEY_WATCH_H
#define TESTS_KVM_KEY_WATCH_H

/* Before the migration's processes part. Makes a pre-shared key and writes it to the file. */
void key_watch_start(const char *psk_file);
void key_watch_end(void);

/* The session in the helper's key page is one to watch from now on, if there is one. */
void key_watch_session(const void *key_page);

/* Copies in this process's memory of keys whose name begins so, of all for "". */
unsigned int key_watch_find(const char *name, int loud);

#endif
