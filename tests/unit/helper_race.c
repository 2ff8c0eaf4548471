/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window belongs to the host too, and the guest runs while its pages are sealed. So the GCM
 * kernels are given memory that another thread changes while they work: what they accept, and the
 * tags they make, must still be right.
 */
#include <pthread.h>
#include <string.h>

#include <openssl/rand.h>

#include "helper/crypto.h"
#include "tests/unit/cmocka_all.h"

#define BYTES  4096
#define ROUNDS 30000
#define TRIES  100

static uint8_t shared[BYTES] __attribute__((aligned(64)));
static uint8_t text_a[BYTES], text_b[BYTES];
static const uint8_t iv[12] = "nonce for it";
static const uint8_t aad[16] = "gpa epoch kind..";

struct meddler {
	pthread_t thread;
	const uint8_t *a, *b;
	bool stop; /* atomic */
	uint64_t turns; /* atomic */
};

static void set(size_t at, const uint8_t *from)
{
	__atomic_store_n((uint64_t *)(shared + at), *(const uint64_t *)(from + at),
			 __ATOMIC_RELAXED);
}

/*
 * Mostly a is there; words of b come and go, for less time than a page takes. A kernel that read a
 * word twice would sooner or later authenticate the one and use the other.
 */
static void *meddle(void *arg)
{
	struct meddler *m = arg;
	uint64_t turn = 0;
	size_t at, hold;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		at = (turn * 2654435761u) % (BYTES / 8) * 8;
		set(at, m->b);
		for (hold = turn % 8; hold > 0; hold--)
			__builtin_ia32_pause();
		set(at, m->a);
		for (hold = turn % 32; hold > 0; hold--)
			__builtin_ia32_pause();
		__atomic_store_n(&m->turns, ++turn, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void begin(struct meddler *m, const uint8_t *a, const uint8_t *b)
{
	*m = (struct meddler){ .a = a, .b = b };
	assert_int_equal(pthread_create(&m->thread, NULL, meddle, m), 0);
	while (__atomic_load_n(&m->turns, __ATOMIC_RELAXED) == 0)
		__builtin_ia32_pause();
}

static uint64_t end(struct meddler *m)
{
	__atomic_store_n(&m->stop, true, __ATOMIC_RELAXED);
	pthread_join(m->thread, NULL);
	return m->turns;
}

static void schedule(const struct gcm_kernel *kernel, struct gcm_key *gcm)
{
	uint8_t key[32];

	RAND_bytes(key, sizeof(key));
	RAND_bytes(text_a, BYTES);
	RAND_bytes(text_b, BYTES);
	kernel->schedule(gcm, key);
}

/*
 * The host changes a record while it is opened: either it is refused, or what came out is what was
 * sealed.
 */
static unsigned int open_changing(const struct gcm_kernel *kernel)
{
	uint8_t sealed[BYTES], broken[BYTES], plain[BYTES], tag[16], got[16];
	unsigned int accepted = 0, i;
	struct gcm_key gcm;
	struct meddler m;

	schedule(kernel, &gcm);
	kernel->seal(&gcm, sealed, text_a, BYTES, iv, aad, sizeof(aad), tag);
	memcpy(broken, sealed, BYTES);
	for (i = 0; i < BYTES; i += 8)
		broken[i] ^= 1;
	memcpy(shared, sealed, BYTES);
	begin(&m, sealed, broken);
	for (i = 0; i < ROUNDS; i++) {
		kernel->open(&gcm, plain, shared, BYTES, iv, aad, sizeof(aad), got);
		if (!equal_ct(got, tag, 16))
			continue;
		accepted++;
		assert_memory_equal(plain, text_a, BYTES);
	}
	assert_true(end(&m) > 1);
	return accepted;
}

/*
 * The host scribbles over the slot while a page is sealed into it: the tag is that of the true
 * ciphertext.
 */
static void seal_into_changing(const struct gcm_kernel *kernel)
{
	uint8_t sealed[BYTES], tag[16], got[16];
	struct gcm_key gcm;
	struct meddler m;
	unsigned int i;

	schedule(kernel, &gcm);
	kernel->seal(&gcm, sealed, text_a, BYTES, iv, aad, sizeof(aad), tag);
	begin(&m, text_a, text_b);
	for (i = 0; i < ROUNDS; i++) {
		kernel->seal(&gcm, shared, text_a, BYTES, iv, aad, sizeof(aad), got);
		assert_memory_equal(got, tag, 16);
	}
	assert_true(end(&m) > 1);
}

/*
 * The guest writes its page while it is sealed: the record is whole, and each word of it is one
 * that was there.
 */
static unsigned int seal_changing(const struct gcm_kernel *kernel)
{
	uint8_t sealed[BYTES], plain[BYTES], tag[16], got[16];
	struct gcm_key gcm;
	struct meddler m;
	unsigned int i, j, mixed = 0;

	schedule(kernel, &gcm);
	memcpy(shared, text_a, BYTES);
	begin(&m, text_a, text_b);
	for (i = 0; i < ROUNDS; i++) {
		kernel->seal(&gcm, sealed, shared, BYTES, iv, aad, sizeof(aad), tag);
		kernel->open(&gcm, plain, sealed, BYTES, iv, aad, sizeof(aad), got);
		assert_memory_equal(got, tag, 16);
		for (j = 0; j < BYTES; j += 8) {
			bool is_a = memcmp(plain + j, text_a + j, 8) == 0;

			mixed += !is_a;
			assert_true(is_a || memcmp(plain + j, text_b + j, 8) == 0);
		}
	}
	assert_true(end(&m) > 1);
	return mixed;
}

static void every_kernel(void **state)
{
	unsigned int accepted, mixed, tries;
	uint32_t id;

	(void)state;
	for (id = 1; id <= 3; id++) {
		const struct gcm_kernel *kernel = gcm_by_id(id);

		if (!kernel)
			continue;
		/* The two threads may not meet in one run on a busy machine. */
		for (accepted = 0, tries = 0;
		     tries < TRIES && (accepted == 0 || accepted == ROUNDS); tries++)
			accepted = open_changing(kernel);
		print_message("# %s: %u of %u changing records accepted\n", kernel->name, accepted,
			      ROUNDS);
		assert_true(accepted > 0 && accepted < ROUNDS);
		seal_into_changing(kernel);
		for (mixed = 0, tries = 0; tries < TRIES && mixed == 0; tries++)
			mixed = seal_changing(kernel);
		assert_true(mixed > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_kernel) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
