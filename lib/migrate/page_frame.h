/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * One data connection's cryptography: frames with a sealed directory (wire.h). The key of a stream
 * comes from the control connection's TLS exporter, so a stream needs no handshake of its own, and
 * the nonce is the frame's sequence number, so frames cannot be dropped, repeated, reordered or
 * moved to another stream unnoticed.
 */
#ifndef LIB_MIGRATE_PAGE_FRAME_H
#define LIB_MIGRATE_PAGE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "lib/net/channel.h"
#include "lib/migrate/wire.h"

#define FRAME_TAG_BYTES 16

struct frame_cipher;

/*
 * The cipher of stream number `stream` of a session, for one direction. label: "sevmirror stream"
 * for pages. 0, -ENOMEM or -EIO. frame_cipher_destroy() wipes the key; NULL is allowed.
 */
int frame_cipher_create(struct frame_cipher **cipher, struct channel *control,
			const uint8_t session[16], uint32_t stream);
void frame_cipher_destroy(struct frame_cipher *cipher);

/*
 * The hello that opens the stream's connection, and its check at the other side: 0 or -EPERM with
 * the reason in why.
 */
int frame_make_hello(struct frame_cipher *cipher, struct wire_stream_hello *hello);
int frame_check_hello(struct frame_cipher *cipher, const struct wire_stream_hello *hello,
		      struct why *why);

/*
 * Seal len bytes in place and write the tag behind them (room for FRAME_TAG_BYTES more). Fills in
 * header->magic, sequence and directory_bytes; type, records and payload_bytes are set before, as
 * they are authenticated too. 0, or -EIO.
 */
int frame_seal(struct frame_cipher *cipher, struct wire_frame *header, void *directory, size_t len);

/*
 * Check a header and open the directory in place; header->directory_bytes bytes of it have been
 * received. *len is its length without the tag. -EPROTO (bad header, or out of turn) or -EBADMSG
 * (not what the other host sealed), with the reason in why. Nothing may be used of a directory that
 * was refused.
 */
int frame_open(struct frame_cipher *cipher, const struct wire_frame *header, void *directory,
	       size_t *len, struct why *why);

/* Frames sealed or opened so far: the sequence number of the next one. */
uint64_t frame_count(const struct frame_cipher *cipher);

#endif
