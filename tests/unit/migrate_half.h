/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One side of a migration, as far as its parts need one that has agreed on a session: the VM and
 * the helper are those of the fuzzers (tests/fuzz/migrate_rig.h), so no KVM is needed. The test is
 * the other side.
 */
#ifndef TESTS_UNIT_MIGRATE_HALF_H
#define TESTS_UNIT_MIGRATE_HALF_H

#include "helper/protocol.h"
#include "lib/migrate/page_frame.h"
#include "lib/migrate/session.h"
#include "lib/migrate/stream_in.h"
#include "lib/migrate/stream_out.h"
#include "tests/fuzz/migrate_rig.h"
#include "tests/unit/channel_pair.h"

#define HALF_PATIENCE_MS 10000
#define HALF_CHUNK_PAGES (RIG_PAGES / 3)

struct half {
	struct sevmirror_migration m;
	struct sevmirror_summary summary;
	struct sevmirror_host_ops ops; /* the rig's; a test may replace one */
	struct rig rig;
	struct channel_pair control;
	struct channel *peer; /* the other side's end of it */
	int listen_fd;
	char address[64];
	struct page_set *set; /* the source's: what is to go */
	struct streams_out *out;
	struct streams_in *in;
	/* the test's ends of the data streams */
	struct channel *stream[WIRE_MAX_STREAMS + 1];
	struct frame_cipher *cipher[WIRE_MAX_STREAMS + 1];
};

/* flags: WIRE_F_*, what was agreed on. The helper runs, and has a session. */
void half_open(struct half *half, bool is_source, uint32_t flags);
void half_close(struct half *half);

/* Create half->out or half->in, with the test at the other end of each stream. */
void half_open_streams_out(struct half *half);
void half_open_streams_in(struct half *half);

/* Say on a stream of the target's: pages as rig_frames.h has them; private bodies are all `fill`.
 */
void half_say_private(struct half *half, unsigned int stream, uint64_t gfn, uint16_t n,
		      enum helper_kind kind, uint8_t fill);
void half_say_shared(struct half *half, unsigned int stream, uint64_t gfn, uint16_t n,
		     uint8_t fill);
/* A sealed frame of any content; the directory has room for its tag. */
void half_say_frame(struct half *half, unsigned int stream, struct wire_frame *header,
		    uint8_t *directory, size_t len, const void *payload);

/* The next frame on a stream of the source's. */
struct half_frame {
	struct wire_frame header;
	_Alignas(8) uint8_t directory[65 * 8 + 64 * 4096 + FRAME_TAG_BYTES];
	uint8_t payload[WIRE_MAX_PAYLOAD_BYTES];
};
void half_hear_frame(struct half *half, unsigned int stream, struct half_frame *frame);

/* The next message of the half on the control connection must be of this type; the body's length.
 */
size_t half_hear(struct half *half, enum wire_type type, void *body, size_t max);
void half_say(struct half *half, enum wire_type type, const void *body, size_t len);

/* That the half failed for this reason, with these words in its sentence. */
void half_assert_why(const struct why *why, enum sevmirror_reason reason, const char *words);

/* Whether this process may have a userfaultfd; if not the test is skipped, and says why. */
void half_need_userfaultfd(void);

#endif
