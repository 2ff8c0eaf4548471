/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing, opening, epochs, the manifest: what a record may and may not do to a guest's page. */
#include "tests/unit/cmocka_all.h"

#include <string.h>

#include <openssl/evp.h>

#include "tests/unit/helper_rig.h"

#define BATCH 16 /* window pages: batch, then bodies */
#define SLOT  17

void hw_event(struct helper_vcpu *v, uint32_t value)
{
	(void)v;
	(void)value;
}

void hw_doorbell(struct helper_vcpu *v)
{
	(void)v;
}

struct pair {
	struct helper_rig source, target;
};

static int connect(void **state)
{
	struct pair *p = test_calloc(1, sizeof(*p));

	helper_rig_init(&p->source, 2, 1);
	helper_rig_init(&p->target, 2, 2);
	helper_rig_connect(&p->source, &p->target);
	*state = p;
	return 0;
}

static int disconnect(void **state)
{
	struct pair *p = *state;

	helper_rig_fini(&p->source);
	helper_rig_fini(&p->target);
	test_free(p);
	return 0;
}

/* Seal pages on the ring of the first; the batch as the helper left it. */
static struct helper_completion seal(struct helper_rig *rig, const uint64_t *gpa, unsigned int n,
				     struct helper_batch *batch)
{
	struct helper_batch *there = helper_rig_page(rig, BATCH);
	struct helper_request request = { .op = HELPER_OP_SEAL, .count = n, .page = BATCH };
	struct helper_completion c;
	unsigned int i;

	memset(there, 0, sizeof(*there));
	for (i = 0; i < n && i < HELPER_BATCH_MAX; i++) {
		there->record[i].gpa = gpa[i];
		there->record[i].slot = SLOT + i;
	}
	c = helper_rig_call(rig, helper_ring_of(gpa[0] / 4096, rig->helper.nvcpus), &request);
	*batch = *there;
	return c;
}

static void carry(const struct helper_rig *from, struct helper_rig *to,
		  const struct helper_batch *batch)
{
	memcpy(helper_rig_page(to, BATCH), batch, sizeof(*batch));
	memcpy(helper_rig_page(to, SLOT), helper_rig_page(from, SLOT), HELPER_BATCH_MAX * 4096);
}

static struct helper_completion open_(struct helper_rig *rig, unsigned int n,
				      struct helper_batch *batch)
{
	struct helper_batch *there = helper_rig_page(rig, BATCH);
	struct helper_request request = { .op = HELPER_OP_OPEN, .count = n, .page = BATCH };
	unsigned int ring = helper_ring_of(there->record[0].gpa / 4096, rig->helper.nvcpus);
	struct helper_completion c = helper_rig_call(rig, ring, &request);

	*batch = *there;
	return c;
}

static void round_trip(void **state)
{
	struct pair *p = *state;
	struct helper_batch batch;
	uint64_t gpa[HELPER_BATCH_MAX];
	unsigned int i;

	for (i = 0; i < HELPER_BATCH_MAX; i++)
		gpa[i] = (i % 2 ? RIG_HIGH_GPA : 0) + (i + 1) * 4096;
	for (i = 0; i < 3; i++) {
		assert_int_equal(seal(&p->source, gpa, HELPER_BATCH_MAX, &batch).status, HELPER_OK);
		assert_int_equal(batch.record[0].epoch, i + 1);
		carry(&p->source, &p->target, &batch);
		assert_int_equal(open_(&p->target, HELPER_BATCH_MAX, &batch).status, HELPER_OK);
	}
	for (i = 0; i < HELPER_BATCH_MAX; i++)
		assert_memory_equal(helper_rig_at(&p->source, gpa[i]),
				    helper_rig_at(&p->target, gpa[i]), 4096);
}

static void xaes_by_openssl(const uint8_t key[32], const uint8_t salt[24], uint32_t index,
			    uint8_t derived[32], uint8_t iv[12])
{
	uint8_t block[16] = { 0, 1, 'X', 0 };
	size_t n;
	int half;

	memcpy(block + 4, salt, 12);
	for (half = 0; half < 2; half++) {
		EVP_MAC *method = EVP_MAC_fetch(NULL, "CMAC", NULL);
		EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(method);
		OSSL_PARAM params[2] = { OSSL_PARAM_construct_utf8_string(
						 "cipher", (char *)(uintptr_t) "AES-256-CBC", 0),
					 OSSL_PARAM_construct_end() };

		block[1] = (uint8_t)(half + 1);
		assert_int_equal(EVP_MAC_init(ctx, key, 32, params), 1);
		assert_int_equal(EVP_MAC_update(ctx, block, 16), 1);
		assert_int_equal(EVP_MAC_final(ctx, derived + 16 * half, &n, 16), 1);
		EVP_MAC_CTX_free(ctx);
		EVP_MAC_free(method);
	}
	memcpy(iv, salt + 12, 12);
	iv[11] ^= (uint8_t)index;
}

/*
 * A record opened without a line of the helper: key schedule, key, nonce, AAD and text as
 * docs/protocol.md says.
 */
static void record_by_openssl(void **state)
{
	struct pair *p = *state;
	const struct helper_keys *keys = p->source.helper.keys;
	const uint64_t gpa[3] = { 0x1000, 0x2000, 0x3000 };
	uint8_t prk[32], key[32], derived[32], iv[12], aad[16] = { 0 }, plain[4096];
	struct helper_batch batch;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	assert_int_equal(seal(&p->source, gpa, 3, &batch).status, HELPER_OK);
	hkdf_extract(prk, keys->session, 16, keys->secret,
		     32); /* itself compared with OpenSSL's in helper_crypto.c */
	hkdf_expand(key, prk, "sevmirror 1 records source to target");
	xaes_by_openssl(key, batch.salt, 2, derived, iv);
	aad[1] = 0x30; /* gpa, epoch, kind */
	aad[8] = 1;
	aad[12] = HELPER_PAGE;
	assert_int_equal(EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, derived, iv), 1);
	assert_int_equal(EVP_DecryptUpdate(ctx, NULL, &n, aad, sizeof(aad)), 1);
	assert_int_equal(
		EVP_DecryptUpdate(ctx, plain, &n, helper_rig_page(&p->source, SLOT + 2), 4096), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, 16, batch.record[2].tag),
			 1);
	assert_int_equal(EVP_DecryptFinal_ex(ctx, plain, &n), 1);
	assert_memory_equal(plain, helper_rig_at(&p->source, 0x3000), 4096);
	EVP_CIPHER_CTX_free(ctx);
}

/*
 * Change one thing of a good record; the target must refuse it with this status and leave every
 * byte of its RAM alone.
 */
static void expect_refusal(struct pair *p, void (*spoil)(struct helper_batch *batch, uint8_t *body),
			   unsigned int status)
{
	const uint64_t gpa[2] = { 0x5000, 0x6000 };
	struct helper_batch batch;
	uint8_t *before = test_malloc(RIG_LOW);
	unsigned int i;

	assert_int_equal(seal(&p->source, gpa, 2, &batch).status, HELPER_OK);
	carry(&p->source, &p->target, &batch);
	spoil(helper_rig_page(&p->target, BATCH), helper_rig_page(&p->target, SLOT));
	memcpy(before, p->target.reserved, RIG_LOW);
	assert_int_equal(open_(&p->target, 1, &batch).status, HELPER_MISMATCH);
	assert_int_equal(batch.record[0].status, status);
	assert_memory_equal(before, p->target.reserved, RIG_LOW);
	for (i = 0; i < p->target.plan.epoch_bytes / 4; i++)
		assert_int_equal(p->target.helper.epochs[i], 0);
	test_free(before);
}

static void flip_body(struct helper_batch *batch, uint8_t *body)
{
	(void)batch;
	body[4095] ^= 0x80;
}

static void flip_tag(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].tag[15] ^= 1;
}

static void truncate_body(struct helper_batch *batch, uint8_t *body)
{
	(void)batch;
	memset(body + 4080, 0, 16);
}

static void readdress(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].gpa = 0x7000;
}

static void swap_bodies(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].slot = SLOT + 1;
}

static void later_epoch(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].epoch++;
}

static void other_index(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].index = 1;
}

static void index_of_no_batch(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].index = HELPER_BATCH_MAX;
}

static void say_zero(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].kind = HELPER_ZERO;
}

static void unknown_kind(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].kind = 3;
}

static void other_salt(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->salt[0] ^= 1;
}

static void epoch_with_flag(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].epoch |= EPOCH_MISSING;
}

static void into_region(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].gpa = mirror_window_place(RIG_HIGH_GPA + RIG_HIGH) + HELPER_WINDOW_MAX;
}

static void beyond_ram(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].gpa = RIG_LOW;
}

static void unaligned(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].gpa |= 8;
}

static void slot_beyond(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].slot = RIG_WINDOW;
}

static void slot_in_ring(struct helper_batch *batch, uint8_t *body)
{
	(void)body;
	batch->record[0].slot = 7;
}

static void refused_records(void **state)
{
	struct pair *p = *state;

	expect_refusal(p, flip_body, HELPER_BAD_TAG);
	expect_refusal(p, flip_tag, HELPER_BAD_TAG);
	expect_refusal(p, truncate_body, HELPER_BAD_TAG);
	expect_refusal(p, readdress, HELPER_BAD_TAG);
	expect_refusal(p, swap_bodies, HELPER_BAD_TAG);
	expect_refusal(p, later_epoch, HELPER_BAD_TAG);
	expect_refusal(p, other_index, HELPER_BAD_TAG);
	expect_refusal(p, index_of_no_batch, HELPER_BAD_TAG);
	expect_refusal(p, say_zero, HELPER_BAD_TAG);
	expect_refusal(p, unknown_kind, HELPER_BAD_TAG);
	expect_refusal(p, other_salt, HELPER_BAD_TAG);
	expect_refusal(p, epoch_with_flag, HELPER_BAD_TAG);
	expect_refusal(p, into_region, HELPER_BAD_GPA);
	expect_refusal(p, beyond_ram, HELPER_BAD_GPA);
	expect_refusal(p, unaligned, HELPER_BAD_GPA);
	expect_refusal(p, slot_beyond, HELPER_BAD_WINDOW);
	expect_refusal(p, slot_in_ring, HELPER_BAD_WINDOW);
	assert_int_equal(p->target.vcpus[0].statistics.bad_tag, 12);
}

static void replay_is_ignored_and_counted(void **state)
{
	struct pair *p = *state;
	const uint64_t gpa = 0x9000;
	struct helper_batch first, second, opened;
	uint8_t body[4096], page[4096];

	assert_int_equal(seal(&p->source, &gpa, 1, &first).status, HELPER_OK);
	memcpy(body, helper_rig_page(&p->source, SLOT), 4096);
	helper_rig_at(&p->source, gpa)[0] ^= 1;
	assert_int_equal(seal(&p->source, &gpa, 1, &second).status, HELPER_OK);
	carry(&p->source, &p->target, &second);
	assert_int_equal(open_(&p->target, 1, &opened).status, HELPER_OK);
	memcpy(page, helper_rig_at(&p->target, gpa), 4096);

	assert_int_equal(open_(&p->target, 1, &opened).status, HELPER_MISMATCH);
	assert_int_equal(opened.record[0].status, HELPER_STALE);
	memcpy(helper_rig_page(&p->target, BATCH), &first, sizeof(first));
	memcpy(helper_rig_page(&p->target, SLOT), body, 4096);
	assert_int_equal(open_(&p->target, 1, &opened).status, HELPER_MISMATCH);
	assert_int_equal(opened.record[0].status, HELPER_STALE);
	assert_memory_equal(page, helper_rig_at(&p->target, gpa), 4096);
	assert_int_equal(p->target.vcpus[0].statistics.stale, 2);
}

static void another_guest_refuses(void **state)
{
	struct pair *p = *state;
	struct pair other;
	const uint64_t gpa = 0x1000;
	struct helper_batch batch;
	uint8_t before[4096];

	helper_rig_init(&other.source, 2, 3);
	helper_rig_init(&other.target, 2, 4);
	helper_rig_connect(&other.source, &other.target);
	assert_int_equal(seal(&p->source, &gpa, 1, &batch).status, HELPER_OK);
	carry(&p->source, &other.target, &batch);
	memcpy(before, helper_rig_at(&other.target, gpa), 4096);
	assert_int_equal(open_(&other.target, 1, &batch).status, HELPER_MISMATCH);
	assert_int_equal(batch.record[0].status, HELPER_BAD_TAG);
	assert_memory_equal(before, helper_rig_at(&other.target, gpa), 4096);
	helper_rig_fini(&other.source);
	helper_rig_fini(&other.target);
}

static void refused_seals(void **state)
{
	struct pair *p = *state;
	uint64_t gpa[4] = { 0x1000, RIG_LOW, 0x1001, p->source.plan.gpa };
	struct helper_batch batch;
	struct helper_batch *there = helper_rig_page(&p->source, BATCH);
	struct helper_request request = { .op = HELPER_OP_SEAL, .count = 2, .page = BATCH };

	assert_int_equal(seal(&p->source, gpa, 4, &batch).status, HELPER_MISMATCH);
	assert_int_equal(batch.record[0].status, HELPER_OK);
	assert_int_equal(batch.record[1].status, HELPER_BAD_GPA);
	assert_int_equal(batch.record[2].status, HELPER_BAD_GPA);
	assert_int_equal(batch.record[3].status, HELPER_BAD_GPA);
	assert_int_equal(batch.record[3].epoch, 0);

	memset(there, 0, sizeof(*there));
	there->record[0] = (struct helper_record){ .gpa = 2 << 20, .slot = SLOT }; /* ring 1's */
	there->record[1] = (struct helper_record){ .gpa = 0x1000, .slot = UINT32_MAX };
	assert_int_equal(helper_rig_call(&p->source, 0, &request).count, 0);
	assert_int_equal(there->record[0].status, HELPER_NOT_MINE);
	assert_int_equal(there->record[1].status, HELPER_BAD_WINDOW);
	request.page = 3;
	assert_int_equal(helper_rig_call(&p->source, 0, &request).status, HELPER_BAD_WINDOW);
	request.page = RIG_WINDOW;
	assert_int_equal(helper_rig_call(&p->source, 0, &request).status, HELPER_BAD_WINDOW);
	request.page = BATCH;
	request.count = HELPER_BATCH_MAX + 1;
	assert_int_equal(helper_rig_call(&p->source, 0, &request).status, HELPER_BAD_REQUEST);
	request.count = 0;
	assert_int_equal(helper_rig_call(&p->source, 0, &request).status, HELPER_BAD_REQUEST);
}

static void epochs_never_wrap(void **state)
{
	struct pair *p = *state;
	const uint64_t gpa = 0x1000;
	struct helper_batch batch;

	p->source.helper.epochs[1] = EPOCH_LAST - 1;
	assert_int_equal(seal(&p->source, &gpa, 1, &batch).status, HELPER_OK);
	assert_int_equal(batch.record[0].epoch, EPOCH_LAST);
	assert_int_equal(seal(&p->source, &gpa, 1, &batch).status, HELPER_MISMATCH);
	assert_int_equal(batch.record[0].status, HELPER_EPOCH_FULL);
	assert_int_equal(p->source.helper.epochs[1], EPOCH_LAST);
}

static struct helper_completion data(struct helper_rig *rig, uint16_t op, uint64_t label)
{
	struct helper_request request = { .op = op, .count = 1, .page = BATCH };
	struct helper_batch *there = helper_rig_page(rig, BATCH);

	there->record[0].gpa = label;
	there->record[0].kind = HELPER_DATA;
	there->record[0].slot = SLOT;
	return helper_rig_call(rig, 0, &request);
}

/* What the host has sealed or opened as data of its own is no page, and the other way round. */
static void data_is_no_page(void **state)
{
	struct pair *p = *state;
	const uint64_t gpa = 0x3000;
	struct helper_batch *there = helper_rig_page(&p->target, BATCH), batch;
	uint8_t plain[4096];

	memset(helper_rig_page(&p->source, SLOT), 0x77, sizeof(plain));
	memset(plain, 0x77, sizeof(plain));
	assert_int_equal(data(&p->source, HELPER_OP_DATA_SEAL, gpa).status, HELPER_OK);
	assert_memory_not_equal(helper_rig_page(&p->source, SLOT), plain, sizeof(plain));
	batch = *(struct helper_batch *)helper_rig_page(&p->source, BATCH);
	carry(&p->source, &p->target, &batch);
	there->record[0].kind = HELPER_PAGE;
	there->record[0].epoch = 1;
	assert_int_equal(open_(&p->target, 1, &batch).status, HELPER_MISMATCH);
	assert_int_equal(batch.record[0].status, HELPER_BAD_TAG);
	there->record[0].epoch = 0;
	assert_int_equal(data(&p->target, HELPER_OP_DATA_OPEN, gpa + 1).status, HELPER_MISMATCH);
	assert_int_equal(data(&p->target, HELPER_OP_DATA_OPEN, gpa).status, HELPER_OK);
	assert_memory_equal(helper_rig_page(&p->target, SLOT), plain, sizeof(plain));
	/* A page's record: its plaintext never gets into the window. */
	assert_int_equal(seal(&p->source, &gpa, 1, &batch).status, HELPER_OK);
	carry(&p->source, &p->target, &batch);
	assert_int_equal(data(&p->target, HELPER_OP_DATA_OPEN, gpa).status, HELPER_MISMATCH);
	/* Nor does the host make an epoch table. */
	there->record[0].kind = HELPER_EPOCHS;
	assert_int_equal(helper_rig_call(&p->source, 0,
					 &(struct helper_request){ .op = HELPER_OP_DATA_SEAL,
								   .count = 1,
								   .page = BATCH })
				 .count,
			 0);
}

/* A page that another vCPU is at is left alone, whatever the ring. */
static void claimed_pages(void **state)
{
	struct pair *p = *state;
	const uint64_t gpa = 0x3000;
	struct helper_batch batch;

	assert_int_equal(seal(&p->source, &gpa, 1, &batch).status, HELPER_OK);
	carry(&p->source, &p->target, &batch);
	p->target.helper.epochs[3] = EPOCH_CLAIMED;
	assert_int_equal(open_(&p->target, 1, &batch).status, HELPER_MISMATCH);
	assert_int_equal(batch.record[0].status, HELPER_BUSY);
	p->target.helper.epochs[3] = 0;
	assert_int_equal(open_(&p->target, 1, &batch).status, HELPER_OK);
	p->source.helper.epochs[3] |= EPOCH_CLAIMED;
	assert_int_equal(seal(&p->source, &gpa, 1, &batch).status, HELPER_MISMATCH);
	assert_int_equal(batch.record[0].status, HELPER_BUSY);
}

/*
 * The host puts old helper memory back between batches: no key and nonce come twice, so no two
 * records share a keystream.
 */
static void old_memory_repeats_no_nonce(void **state)
{
	struct pair *p = *state;
	const uint64_t gpa = 0x1000;
	uint64_t bytes = p->source.plan.bytes;
	uint8_t *region = test_malloc(bytes);
	struct helper_vcpu *vcpus = test_malloc(HELPER_VCPUS_MAX * sizeof(*vcpus));
	struct helper helper;
	struct helper_batch batch;
	uint8_t salt[32][24], body[32][4096], ring[3 * 4096];
	unsigned int i, j;

	memcpy(region, p->source.helper.region, bytes);
	memcpy(vcpus, p->source.vcpus, HELPER_VCPUS_MAX * sizeof(*vcpus));
	memcpy(ring, p->source.window, sizeof(ring));
	helper = p->source.helper;
	for (i = 0; i < 32; i++) {
		memcpy(p->source.helper.region, region, bytes);
		memcpy(p->source.vcpus, vcpus, HELPER_VCPUS_MAX * sizeof(*vcpus));
		p->source.helper = helper;
		memcpy(p->source.window, ring, sizeof(ring));
		assert_int_equal(seal(&p->source, &gpa, 1, &batch).status, HELPER_OK);
		assert_int_equal(batch.record[0].epoch, 1);
		memcpy(salt[i], batch.salt, 24);
		memcpy(body[i], helper_rig_page(&p->source, SLOT), 4096);
		for (j = 0; j < i; j++) {
			assert_memory_not_equal(salt[i], salt[j], 24);
			assert_memory_not_equal(body[i], body[j], 16);
		}
	}
	test_free(vcpus);
	test_free(region);
}

static void zero_marks_only_when_asked(void **state)
{
	struct pair *p = *state;
	struct helper_request request = { .op = HELPER_OP_SESSION_WIPE };
	const uint64_t gpa = 0x4000;
	struct helper_batch batch;

	memset(helper_rig_at(&p->source, gpa), 0, 4096);
	assert_int_equal(seal(&p->source, &gpa, 1, &batch).status, HELPER_OK);
	assert_int_equal(batch.record[0].kind, HELPER_PAGE);

	assert_int_equal(helper_rig_call(&p->source, 0, &request).status, HELPER_OK);
	request = (struct helper_request){ .op = HELPER_OP_SESSION_MAKE,
					   .flags = HELPER_SESSION_ZERO_MARKS };
	assert_int_equal(helper_rig_call(&p->source, 0, &request).status, HELPER_OK);
	memcpy(p->target.helper.region, p->source.helper.region, p->source.plan.core_bytes);
	assert_int_equal(helper_rig_boot(&p->target, 2), HELPER_OK);
	assert_int_equal(seal(&p->source, &gpa, 1, &batch).status, HELPER_OK);
	assert_int_equal(batch.record[0].kind, HELPER_ZERO);
	carry(&p->source, &p->target, &batch);
	assert_int_equal(open_(&p->target, 1, &batch).status, HELPER_OK);
	assert_memory_equal(helper_rig_at(&p->target, gpa), helper_rig_at(&p->source, gpa), 4096);
	/* A mark is bound to its page as any record is. */
	assert_int_equal(seal(&p->source, &gpa, 1, &batch).status, HELPER_OK);
	batch.record[0].gpa = 0x5000;
	carry(&p->source, &p->target, &batch);
	assert_int_equal(open_(&p->target, 1, &batch).status, HELPER_MISMATCH);
	assert_int_equal(batch.record[0].status, HELPER_BAD_TAG);
}

static void postcopy(void **state)
{
	struct pair *p = *state;
	struct helper_request missing = {
		.op = HELPER_OP_MISSING, .gpa = 0, .count = 2, .page = BATCH
	};
	struct helper_request begin = { .op = HELPER_OP_POSTCOPY };
	const uint64_t gpa[2] = { 0x1000, 0x2000 };
	struct helper_batch batch;
	uint8_t before[4096];

	memset(helper_rig_page(&p->target, BATCH), 0, 4096);
	((uint8_t *)helper_rig_page(&p->target, BATCH))[0] = 0x02; /* page 1 */
	((uint8_t *)helper_rig_page(&p->target, BATCH))[64] =
		0xff; /* ring 1's chunk: none of ring 0's business */
	assert_int_equal(helper_rig_call(&p->target, 0, &missing).count, 1);
	assert_int_equal(helper_rig_call(&p->target, 0, &begin).state, HELPER_POSTCOPY);
	assert_int_equal(helper_rig_call(&p->target, 0, &missing).status, HELPER_BAD_STATE);
	assert_int_equal(seal(&p->source, gpa, 2, &batch).status, HELPER_OK);
	carry(&p->source, &p->target, &batch);
	memcpy(before, helper_rig_at(&p->target, 0x2000), 4096);
	assert_int_equal(open_(&p->target, 2, &batch).status, HELPER_MISMATCH);
	assert_int_equal(batch.record[0].status, HELPER_OK);
	assert_int_equal(batch.record[1].status, HELPER_RESIDENT);
	assert_memory_equal(before, helper_rig_at(&p->target, 0x2000), 4096);
	/* It was missing once. */
	assert_int_equal(seal(&p->source, gpa, 2, &batch).status, HELPER_OK);
	carry(&p->source, &p->target, &batch);
	assert_int_equal(open_(&p->target, 1, &batch).status, HELPER_MISMATCH);
	assert_int_equal(batch.record[0].status, HELPER_RESIDENT);
	assert_int_equal(p->target.vcpus[0].statistics.resident, 2);
}

static unsigned int check_manifest(struct pair *p, const struct helper_manifest *m,
				   struct helper_completion *c)
{
	const struct helper_request check = { .op = HELPER_OP_MANIFEST_CHECK,
					      .count = 1,
					      .page = BATCH };
	struct helper_manifest *there = helper_rig_page(&p->target, BATCH);

	*there = *m;
	*c = helper_rig_call(&p->target, 0, &check);
	return there->differs[0];
}

static void manifest_finds_what_is_missing(void **state)
{
	struct pair *p = *state;
	struct helper_request make = { .op = HELPER_OP_MANIFEST_MAKE, .count = 1, .page = BATCH };
	const uint64_t gpa[2] = { 0x1000, RIG_HIGH_GPA };
	struct helper_completion c;
	struct helper_batch batch;
	struct helper_manifest m, again;

	assert_int_equal(helper_rig_call(&p->source, 0, &make).status, HELPER_OK);
	m = *(struct helper_manifest *)helper_rig_page(&p->source, BATCH);
	assert_int_equal(check_manifest(p, &m, &c), 0);
	assert_int_equal(c.status, HELPER_OK);
	assert_int_equal(seal(&p->source, gpa, 2, &batch).status, HELPER_OK);
	assert_int_equal(helper_rig_call(&p->source, 0, &make).status, HELPER_OK);
	again = *(struct helper_manifest *)helper_rig_page(&p->source, BATCH);
	assert_memory_not_equal(m.salt, again.salt, 24);
	carry(&p->source, &p->target, &batch);
	assert_int_equal(check_manifest(p, &again, &c), 1);
	assert_int_equal(c.status, HELPER_MISMATCH);
	carry(&p->source, &p->target, &batch);
	assert_int_equal(open_(&p->target, 2, &batch).status, HELPER_OK);
	assert_int_equal(check_manifest(p, &again, &c), 0);
	assert_int_equal(check_manifest(p, &m, &c), 1); /* an old one */
	again.tag[0][0] ^= 1;
	assert_int_equal(check_manifest(p, &again, &c), 1);
	make.first = 1;
	assert_int_equal(helper_rig_call(&p->source, 0, &make).status, HELPER_BAD_REQUEST);
	make.first = 0;
	make.count = 2;
	assert_int_equal(helper_rig_call(&p->source, 0, &make).status, HELPER_BAD_REQUEST);
}

int main(void)
{
#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, connect, disconnect)
	const struct CMUnitTest tests[] = {
		PAIR_TEST(data_is_no_page),
		PAIR_TEST(claimed_pages),
		PAIR_TEST(round_trip),
		PAIR_TEST(record_by_openssl),
		PAIR_TEST(refused_records),
		PAIR_TEST(replay_is_ignored_and_counted),
		PAIR_TEST(another_guest_refuses),
		PAIR_TEST(refused_seals),
		PAIR_TEST(epochs_never_wrap),
		PAIR_TEST(old_memory_repeats_no_nonce),
		PAIR_TEST(zero_marks_only_when_asked),
		PAIR_TEST(postcopy),
		PAIR_TEST(manifest_finds_what_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
