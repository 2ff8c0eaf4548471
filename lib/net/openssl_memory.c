/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * OpenSSL frees an SSL object with TLS's exporter secret, from which all stream keys follow, still
 * in it (3.0: ssl_lib.c, SSL_free()). The only way to get at it is the allocator.
 */
#include <sevmirror/migrate.h>

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

static void *allocate(size_t bytes, const char *file, int line)
{
	return bytes ? malloc(bytes) : NULL;
}

static void release(void *at, const char *file, int line)
{
	if (at)
		explicit_bzero(at, malloc_usable_size(at));
	free(at);
}

/* realloc() would leave a copy where it was. */
static void *reallocate(void *at, size_t bytes, const char *file, int line)
{
	size_t had = at ? malloc_usable_size(at) : 0;
	void *grown = allocate(bytes, file, line);

	if (grown && had)
		memcpy(grown, at, had < bytes ? had : bytes);
	if (grown || !bytes)
		release(at, file, line);
	return grown;
}

int sevmirror_wipe_openssl_memory(void)
{
	return CRYPTO_set_mem_functions(allocate, reallocate, release) ? 0 : -EBUSY;
}
