/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a migration has ended, however it did, neither process has a key of it anywhere in its
 * memory: not in the heap, not in guest memory, not on the stack of a thread that has ended. While
 * it runs the same search finds them.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "helper/layout.h"
#include "lib/util/stack.h"
#include "tests/kvm/key_watch.h"
#include "tests/kvm/needles.h"
#include "tests/kvm/trial.h"
#include "tests/kvm/wire_proxy.h"

static const char *payload;
static char psk_file[] = "/tmp/sevmirror-keys.XXXXXX";

/* What the target's process found, for this one to judge. */
struct found {
	unsigned int stream, recovery, psk, secret; /* while pages came */
	unsigned int left; /* in the end */
	bool session; /* as is this: in the key page */
};

static struct found *target_found;
static struct found source_found;

/* The helper's key page; NULL without a VM. */
static const struct helper_keys *keys_of(struct tiny_host *host)
{
	const uint8_t *region = tiny_host_region(host);

	if (!region)
		return NULL;
	return (const void *)(region + HELPER_CORE_KEYS * (size_t)HELPER_PAGE_BYTES);
}

static void look(struct found *found, struct tiny_host *host)
{
	if (found->stream)
		return;
	key_watch_session(keys_of(host));
	found->stream = key_watch_find("stream key", 0);
	found->recovery = key_watch_find("recovery key", 0);
	found->psk = key_watch_find("pre-shared key", 0);
	found->secret = key_watch_find("helper's", 0);
}

static void inspect_target(struct tiny_host *host, enum sevmirror_phase phase)
{
	if (phase == SEVMIRROR_PHASE_PRECOPY)
		look(target_found, host);
	if (phase == TRIAL_ENDED) {
		target_found->left = key_watch_find("", 1);
		target_found->session = keys_of(host) && keys_of(host)->live;
	}
}

/* ---- what happens at the source meanwhile ---- */

static void look_here(struct trial *t, const struct sevmirror_progress *progress)
{
	if (progress->phase == SEVMIRROR_PHASE_PRECOPY && progress->pages_sent)
		look(&source_found, t->source);
}

static void cancel(struct trial *t, const struct sevmirror_progress *progress)
{
	look_here(t, progress);
	if (progress->phase == SEVMIRROR_PHASE_PRECOPY && source_found.stream)
		sevmirror_migration_cancel(t->migration);
}

static void break_in_postcopy(struct trial *t, const struct sevmirror_progress *progress)
{
	look_here(t, progress);
	if (progress->phase == SEVMIRROR_PHASE_POSTCOPY)
		wire_proxy_break(t->hook);
}

static void break_in_commit(struct trial *t, const struct sevmirror_progress *progress)
{
	look_here(t, progress);
	if (progress->phase == SEVMIRROR_PHASE_COMMIT)
		wire_proxy_break(t->hook);
}

/* ---- trials ---- */

static const struct sevmirror_source_options precopy = { .timeout = 60000 * TRIAL_MS,
							 .bandwidth = 64 * TRIAL_MIB,
							 .security.psk_file = psk_file };

/*
 * A round first, in which the keys are looked for; then so slowly that pages are missing when the
 * guest runs on the target.
 */
static const struct sevmirror_source_options postcopy = { .timeout = 60000 * TRIAL_MS,
							  .bandwidth = 4 * TRIAL_MIB,
							  .postcopy = SEVMIRROR_POSTCOPY_ALWAYS,
							  .postcopy_after = 1,
							  .security.psk_file = psk_file };

static void begin(struct trial *t, struct trial_plan *plan, uint64_t rate)
{
	struct tiny_config config = trial_dirtier(32, 2, rate);

	memset(&source_found, 0, sizeof(source_found));
	memset(target_found, 0, sizeof(*target_found));
	key_watch_start(psk_file);
	plan->psk_file = psk_file;
	plan->timeout = 60000 * TRIAL_MS;
	plan->inspect = inspect_target;
	trial_start(t, payload, &config, plan);
	trial_wait_for_writes(t, 100);
	t->progress = look_here;
}

static void migrate(struct trial *t, const struct sevmirror_source_options *wishes, bool proxied)
{
	const struct wire_fault none = { .kind = WIRE_FLIP, .connection = UINT32_MAX };
	struct sevmirror_source_options options = *wishes;
	struct wire_proxy *proxy = NULL;

	if (proxied) {
		proxy = wire_proxy_start(t->address, &none);
		assert_non_null(proxy);
		options.address = wire_proxy_address(proxy);
		t->hook = proxy;
	}
	trial_migrate(t, &options);
	if (proxied)
		wire_proxy_stop(proxy);
}

static void assert_were_there(const struct found *found)
{
	assert_true(found->stream > 0);
	assert_true(found->recovery > 0);
	assert_true(found->psk > 0);
	assert_true(found->secret > 0);
}

/* The migration is over at the source, too: nothing is left of it at either side. */
static struct trial_verdict judge(struct trial *t, enum sevmirror_outcome outcome, bool helper_ran)
{
	struct trial_verdict v;

	if (t->outcome != outcome)
		fail_msg("outcome %d: %s", t->outcome, t->summary.error);
	sevmirror_migration_destroy(t->migration);
	t->migration = NULL;
	assert_int_equal(key_watch_find("", 1), 0);
	assert_false(keys_of(t->source)->live);
	if (helper_ran)
		assert_were_there(&source_found);
	v = trial_end(t);
	assert_int_equal(target_found->left, 0);
	assert_false(target_found->session);
	if (helper_ran)
		assert_were_there(target_found);
	key_watch_end();
	return v;
}

static struct trial_verdict assert_wiped(struct trial *t, enum sevmirror_outcome outcome)
{
	return judge(t, outcome, true);
}

static void test_migrated(void **state)
{
	struct trial_plan plan = { 0 };
	struct trial t;

	begin(&t, &plan, 2000);
	migrate(&t, &precopy, false);
	assert_wiped(&t, SEVMIRROR_MIGRATED);
}

static void test_refused(void **state)
{
	struct trial_plan plan = { .fail_state_load = -EINVAL };
	struct trial t;

	begin(&t, &plan, 2000);
	migrate(&t, &precopy, false);
	assert_wiped(&t, SEVMIRROR_FAILED);
}

static void test_cancelled(void **state)
{
	struct trial_plan plan = { 0 };
	struct trial t;

	begin(&t, &plan, 0);
	t.progress = cancel;
	migrate(&t, &precopy, false);
	assert_wiped(&t, SEVMIRROR_CANCELLED);
}

static void test_unknown(void **state)
{
	struct trial_plan plan = { 0 };
	struct trial t;

	begin(&t, &plan, 2000);
	t.progress = break_in_commit;
	migrate(&t, &precopy, true);
	assert_wiped(&t, SEVMIRROR_UNKNOWN);
}

static void test_postcopy(void **state)
{
	struct sevmirror_source_options options = postcopy;
	struct trial_plan plan = { 0 };
	struct trial t;

	options.bandwidth = 64 * TRIAL_MIB;
	begin(&t, &plan, 0);
	migrate(&t, &options, false);
	assert_wiped(&t, SEVMIRROR_MIGRATED);
}

/* In between the source has what it needs to continue, and no key of the connection that broke. */
static void test_recovered(void **state)
{
	struct trial_plan plan = { 0 };
	struct trial t;

	begin(&t, &plan, 0);
	t.progress = break_in_postcopy;
	migrate(&t, &postcopy, true);
	assert_int_equal(t.outcome, SEVMIRROR_BROKEN);
	assert_int_equal(key_watch_find("stream key", 1), 0);
	assert_int_equal(key_watch_find("secret of", 1), 0);
	assert_int_equal(key_watch_find("exporter secret", 1), 0);
	assert_true(key_watch_find("recovery key", 0) > 0);
	t.progress = NULL;
	trial_recover(&t, t.address);
	assert_wiped(&t, SEVMIRROR_MIGRATED);
}

static void test_lost(void **state)
{
	struct trial_plan plan = { .cancel_when_broken = true };
	struct trial_verdict v;
	struct trial t;

	begin(&t, &plan, 0);
	t.progress = break_in_postcopy;
	migrate(&t, &postcopy, true);
	v = assert_wiped(&t, SEVMIRROR_BROKEN);
	assert_int_equal(v.outcome, SEVMIRROR_LOST);
}

/* A helper that is dead wipes nothing. */
static void test_dead_helper(void **state)
{
	struct trial_plan plan = { 0 };
	struct trial_sabotage sabotage = { SEVMIRROR_PHASE_STOP, TINY_HELPER_DIES };
	struct trial t;

	begin(&t, &plan, 2000);
	tiny_host_hook(t.source, trial_spoil, &sabotage);
	migrate(&t, &precopy, false);
	assert_wiped(&t, SEVMIRROR_FAILED);
}

/*
 * The connection breaks behind the key page and before the rest of the core: no helper has run at
 * the target that could wipe it.
 */
static void test_core_cut_short(void **state)
{
	const struct wire_fault cut = { .kind = WIRE_CUT, .at = 200000 };
	struct sevmirror_source_options options = precopy;
	struct trial_plan plan = { 0 };
	struct wire_proxy *proxy;
	struct trial t;

	begin(&t, &plan, 2000);
	proxy = wire_proxy_start(t.address, &cut);
	assert_non_null(proxy);
	options.address = wire_proxy_address(proxy);
	trial_migrate(&t, &options);
	wire_proxy_stop(proxy);
	judge(&t, SEVMIRROR_FAILED, false);
}

/* ---- the search itself ---- */

static uint8_t planted[3 * NEEDLE_BYTES]; /* masked */

static __attribute__((noinline)) void *plant(void *heap)
{
	uint8_t stack[8192]; /* the end of a thread needs some, too */

	for (size_t i = 0; i < sizeof(planted); i++) {
		uint8_t byte = planted[i];

		needles_mask(&byte, 1);
		stack[4096 + i] = byte;
		((uint8_t *)heap)[i + 1] = byte;
	}
	__asm__ volatile("" : : "r"(stack) : "memory"); /* the compiler is to believe in it */
	return NULL;
}

static void *plant_and_wipe(void *heap)
{
	plant(heap);
	explicit_bzero(heap, sizeof(planted) + 1);
	util_stack_wipe();
	return NULL;
}

/* At any address, and where a thread's stack was. */
static void test_finds_what_is_there(void **state)
{
	static struct needles needles;
	uint8_t *heap = calloc(1, sizeof(planted) + 1);
	pthread_t thread;

	for (size_t i = 0; i < sizeof(planted); i++)
		planted[i] = (uint8_t)(0x35 + 7 * i);
	needles_add(&needles, "planted", planted, sizeof(planted));
	assert_int_equal(needles.n, 3);
	assert_int_equal(needles_find(&needles, "planted", 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, plant, heap), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(needles_find(&needles, "planted", 0), 6);
	assert_int_equal(needles_find(&needles, "other", 0), 0);
	explicit_bzero(heap, sizeof(planted) + 1);
	assert_int_equal(needles_find(&needles, "planted", 0), 3);
	assert_int_equal(pthread_create(&thread, NULL, plant_and_wipe, heap), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(needles_find(&needles, "planted", 1), 0);
	free(heap);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_what_is_there),
		cmocka_unit_test(test_migrated),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_dead_helper),
		cmocka_unit_test(test_postcopy),
		cmocka_unit_test(test_recovered),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_core_cut_short),
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), fd, failed;

	payload = argc > 1 ? argv[1] : "payload-dirtier";
	if (kvm < 0) {
		printf("ok 1 - keys are wiped # SKIP no /dev/kvm on this machine: %s\n",
		       strerror(errno));
		return 0;
	}
	close(kvm);
	target_found = mmap(NULL, sizeof(*target_found), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fd = mkstemp(psk_file);
	if (fd < 0 || target_found == MAP_FAILED)
		return 1;
	close(fd);
	if (sevmirror_wipe_openssl_memory())
		return 1;
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	failed = cmocka_run_group_tests_name("keys_wiped", tests, NULL, NULL);
	unlink(psk_file);
	return failed;
}
