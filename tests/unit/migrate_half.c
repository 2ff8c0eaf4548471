/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/migrate_half.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/message.h"
#include "lib/migrate/sealing.h"
#include "lib/migrate/uffd.h"
#include "lib/net/address.h"
#include "lib/seal/seal_private.h"
#include "tests/fuzz/rig_frames.h"

void half_open(struct half *half, bool is_source, uint32_t flags)
{
	struct sevmirror_migration *m = &half->m;
	struct why why;

	memset(half, 0, sizeof(*half));
	rig_reset(&half->rig, NULL, 0);
	memset(rig_ram(), 0, RIG_RAM_BYTES);
	channel_pair_open(&half->control);
	half->listen_fd = address_listen("127.0.0.1:0", &why);
	assert_true(half->listen_fd >= 0);
	assert_int_equal(address_of(half->listen_fd, half->address, sizeof(half->address)), 0);
	half->ops = rig_ops;
	m->is_source = is_source;
	m->life = is_source ? &source_life : &target_life;
	m->ops = &half->ops;
	m->opaque = &half->rig;
	m->summary = &half->summary;
	m->source.address = half->address;
	m->target.listen_fd = half->listen_fd;
	m->uffd = -1;
	m->timeout_ms = HALF_PATIENCE_MS;
	m->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(m->cancel_fd >= 0);
	pthread_mutex_init(&m->cancel_lock, NULL);
	m->control = is_source ? half->control.source : half->control.target;
	half->peer = is_source ? half->control.target : half->control.source;
	m->hello = (struct wire_hello){ .streams = RIG_STREAMS,
					.flags = flags,
					.ram_bytes = RIG_RAM_BYTES };
	memset(m->hello.session, 's', sizeof(m->hello.session));
	memcpy(m->stream_session, m->hello.session, sizeof(m->stream_session));
	assert_int_equal(m->ops->describe(m->opaque, &m->vm), 0);
	assert_int_equal(page_numbering_init(&m->numbering, &m->vm), 0);
	assert_int_equal(page_set_create(&half->set, &m->numbering), 0);
	assert_int_equal(sealing_create(m), 0);
	assert_int_equal(seal_start_helper(m->seal, m->hello.streams), 0);
}

void half_close(struct half *half)
{
	streams_out_destroy(half->out);
	streams_in_destroy(half->in);
	for (unsigned int i = 0; i <= WIRE_MAX_STREAMS; i++) {
		channel_close(half->stream[i]);
		frame_cipher_destroy(half->cipher[i]);
	}
	page_set_destroy(half->set);
	sealing_end(&half->m, false);
	rig_end(&half->rig);
	channel_pair_close(&half->control);
	pthread_mutex_destroy(&half->m.cancel_lock);
	close(half->m.cancel_fd);
	close(half->listen_fd);
}

/* The streams by number: the background ones, and that of priority if there is one. */
static bool has_stream(const struct half *half, unsigned int i)
{
	return i < RIG_STREAMS ||
	       (i == WIRE_PRIORITY_STREAM && half->m.hello.flags & WIRE_F_POSTCOPY);
}

void half_open_streams_out(struct half *half)
{
	static const struct channel_security bare = { .insecure = true };
	struct sevmirror_migration *m = &half->m;

	assert_int_equal(streams_out_create(&half->out, m, half->set), 0);
	for (unsigned int i = 0; i <= WIRE_MAX_STREAMS; i++) {
		struct wire_stream_hello hello;
		struct channel *channel;

		if (!has_stream(half, i))
			continue;
		assert_int_equal(channel_open(&channel,
					      address_accept(half->listen_fd, HALF_PATIENCE_MS),
					      true, &bare, HALF_PATIENCE_MS, NULL),
				 0);
		assert_int_equal(channel_recv(channel, &hello, sizeof(hello), HALF_PATIENCE_MS), 0);
		assert_true(hello.stream <= WIRE_MAX_STREAMS && !half->stream[hello.stream]);
		half->stream[hello.stream] = channel;
		assert_int_equal(frame_cipher_create(&half->cipher[hello.stream], half->peer,
						     m->stream_session, hello.stream),
				 0);
		assert_int_equal(frame_check_hello(half->cipher[hello.stream], &hello, NULL), 0);
	}
}

void half_open_streams_in(struct half *half)
{
	static const struct channel_security bare = { .insecure = true };
	struct sevmirror_migration *m = &half->m;

	for (unsigned int i = 0; i <= WIRE_MAX_STREAMS; i++) {
		struct wire_stream_hello hello;

		if (!has_stream(half, i))
			continue;
		assert_int_equal(
			channel_open(&half->stream[i],
				     address_connect(half->address, HALF_PATIENCE_MS, NULL), false,
				     &bare, HALF_PATIENCE_MS, NULL),
			0);
		assert_int_equal(
			frame_cipher_create(&half->cipher[i], half->peer, m->stream_session, i), 0);
		assert_int_equal(frame_make_hello(half->cipher[i], &hello), 0);
		assert_int_equal(
			channel_send(half->stream[i], &hello, sizeof(hello), HALF_PATIENCE_MS), 0);
	}
	assert_int_equal(streams_in_create(&half->in, m, half->listen_fd), 0);
}

void half_say_frame(struct half *half, unsigned int stream, struct wire_frame *header,
		    uint8_t *directory, size_t len, const void *payload)
{
	struct channel *channel = half->stream[stream];

	assert_int_equal(frame_seal(half->cipher[stream], header, directory, len), 0);
	assert_int_equal(channel_send(channel, header, sizeof(*header), HALF_PATIENCE_MS), 0);
	assert_int_equal(
		channel_send(channel, directory, header->directory_bytes, HALF_PATIENCE_MS), 0);
	assert_int_equal(channel_send(channel, payload, header->payload_bytes, HALF_PATIENCE_MS),
			 0);
}

void half_say_private(struct half *half, unsigned int stream, uint64_t gfn, uint16_t n,
		      enum helper_kind kind, uint8_t fill)
{
	static _Alignas(8) uint8_t directory[RECORD_SHARED_BYTES], payload[WIRE_MAX_PAYLOAD_BYTES];
	struct wire_frame header;
	size_t len = rig_private_directory(&header, directory, gfn, n, kind);

	memset(payload, fill, header.payload_bytes);
	half_say_frame(half, stream, &header, directory, len, payload);
}

void half_say_shared(struct half *half, unsigned int stream, uint64_t gfn, uint16_t n, uint8_t fill)
{
	static _Alignas(8) uint8_t directory[RECORD_SHARED_BYTES];
	struct wire_frame header;
	size_t len = rig_shared_directory(&header, directory, gfn, n, fill);

	half_say_frame(half, stream, &header, directory, len, NULL);
}

void half_hear_frame(struct half *half, unsigned int stream, struct half_frame *frame)
{
	struct channel *channel = half->stream[stream];
	size_t len;

	assert_int_equal(
		channel_recv(channel, &frame->header, sizeof(frame->header), HALF_PATIENCE_MS), 0);
	assert_in_range(frame->header.directory_bytes, 1, sizeof(frame->directory));
	assert_int_equal(channel_recv(channel, frame->directory, frame->header.directory_bytes,
				      HALF_PATIENCE_MS),
			 0);
	assert_int_equal(
		frame_open(half->cipher[stream], &frame->header, frame->directory, &len, NULL), 0);
	assert_in_range(frame->header.payload_bytes, 0, sizeof(frame->payload));
	assert_int_equal(channel_recv(channel, frame->payload, frame->header.payload_bytes,
				      HALF_PATIENCE_MS),
			 0);
}

size_t half_hear(struct half *half, enum wire_type type, void *body, size_t max)
{
	struct why why;
	size_t len = 0;

	if (message_recv(half->peer, type, body, 0, max, &len, HALF_PATIENCE_MS, &why))
		fail_msg("waiting for %s: %s", wire_type_name((uint16_t)type), why.text);
	return len;
}

void half_say(struct half *half, enum wire_type type, const void *body, size_t len)
{
	assert_int_equal(message_send_one(half->peer, type, body, len, HALF_PATIENCE_MS), 0);
}

void half_assert_why(const struct why *why, enum sevmirror_reason reason, const char *words)
{
	if (why->reason != reason || !strstr(why->text, words))
		fail_msg("%s '%s' instead of %s '%s'", sevmirror_reason_name(why->reason),
			 why->text, sevmirror_reason_name(reason), words);
}

void half_need_userfaultfd(void)
{
	struct why why;
	int fd = uffd_open(-1, &why);

	if (fd < 0) {
		print_message("# skip: %s\n", why.text);
		skip();
	}
	close(fd);
}
