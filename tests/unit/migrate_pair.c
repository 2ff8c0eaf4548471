/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/migrate_pair.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/net/address.h"
#include "tests/model/steps.h"

#define PAGE	   SEVMIRROR_PAGE_BYTES
#define PATIENCE_S 120
#define SLOW	   (256u << 10) /* bytes a second; the source's pages are a few hundred KiB */

static void hear_stranger(void *opaque, const char *address, const char *why)
{
	struct rig *rig = opaque;

	((struct pair_end *)rig->progress_opaque)->strangers++;
}

struct pair *pair_new(void)
{
	struct pair *pair = mmap(NULL, sizeof(*pair), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(pair != MAP_FAILED);
	pair->source_options = (struct sevmirror_source_options){ .security.insecure = true,
								  .streams = RIG_STREAMS };
	pair->target_options = (struct sevmirror_target_options){ .security.insecure = true };
	pair->source.ops = rig_ops;
	pair->target.ops = rig_ops;
	pair->target.ops.unauthenticated_peer = hear_stranger;
	return pair;
}

void pair_free(struct pair *pair)
{
	munmap(pair, sizeof(*pair));
}

int pair_setup(void **state)
{
	*state = pair_new();
	return 0;
}

int pair_setup_postcopy(void **state)
{
	struct pair *pair = pair_new();

	pair->source_options.postcopy = SEVMIRROR_POSTCOPY_ALWAYS;
	*state = pair;
	return 0;
}

int pair_teardown(void **state)
{
	pair_free(*state);
	return 0;
}

void pair_slow_down(struct pair *pair)
{
	pair->source_options.bandwidth = SLOW;
}

static void hear_phase(void *opaque, enum sevmirror_phase phase)
{
	struct pair_end *end = opaque;

	end->phases |= 1u << phase;
	if (phase == end->dies_in)
		_exit(9);
	if (phase == end->cancels_in && !end->runs)
		sevmirror_migration_cancel(end->m);
	if (end->phase)
		end->phase(end, phase);
}

static uint8_t content(uint64_t gfn)
{
	return gfn % 16 ? 0 : (uint8_t)(gfn / 16 + 1);
}

static void fill_ram(void)
{
	for (uint64_t gfn = 0; gfn < RIG_PAGES; gfn++)
		memset(rig_ram() + gfn * PAGE, content(gfn), PAGE);
}

static bool ram_is_the_source_s(void)
{
	for (uint64_t i = 0; i < RIG_RAM_BYTES; i++)
		if (rig_ram()[i] != content(i / PAGE))
			return false;
	return true;
}

static void begin(struct pair_end *end)
{
	const struct rig wanted = end->rig;

	alarm(PATIENCE_S);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	model_watch_steps();
	rig_reset(&end->rig, NULL, 0);
	end->rig = wanted;
	end->rig.progress = hear_phase;
	end->rig.progress_opaque = end;
	if (end->prepare)
		end->prepare(end);
}

static void run(struct pair_end *end)
{
	end->outcome[0] = sevmirror_migration_run(end->m, &end->summary[0]);
	end->runs = 1;
	if (end->recovers && end->outcome[0] == SEVMIRROR_BROKEN) {
		end->outcome[1] = sevmirror_migration_recover(end->m, NULL, &end->summary[1]);
		end->runs = 2;
	}
	sevmirror_migration_destroy(end->m);
	rig_end(&end->rig);
}

/* Never returns. */
static void be_source(struct pair *pair)
{
	struct pair_end *end = &pair->source;
	char why[256];

	begin(end);
	fill_ram();
	if (sevmirror_source_create(&end->m, &end->ops, &end->rig, &pair->source_options, why,
				    sizeof(why)))
		_exit(1);
	run(end);
	end->ended = true;
	_exit(0);
}

static void be_target(struct pair *pair)
{
	struct pair_end *end = &pair->target;
	char why[256];

	begin(end);
	if (sevmirror_target_create(&end->m, &end->ops, &end->rig, &pair->target_options, why,
				    sizeof(why)))
		_exit(1);
	run(end);
	end->memory_good = ram_is_the_source_s();
	end->ended = true;
	_exit(0);
}

void pair_run(struct pair *pair)
{
	char address[64];
	struct why why;
	int listen_fd = address_listen("127.0.0.1:0", &why), status;
	pid_t target, source;

	assert_true(listen_fd >= 0);
	assert_int_equal(address_of(listen_fd, address, sizeof(address)), 0);
	pair->source_options.address = address;
	pair->target_options.listen_fd = listen_fd;
	target = fork();
	assert_true(target >= 0);
	if (target == 0)
		be_target(pair);
	/* Only the target listens: when it has died, nobody does. */
	close(listen_fd);
	source = fork();
	assert_true(source >= 0);
	if (source == 0)
		be_source(pair);
	assert_int_equal(waitpid(source, &status, 0), source);
	assert_true(WIFEXITED(status));
	assert_int_equal(waitpid(target, &status, 0), target);
	assert_true(WIFEXITED(status));
}

void pair_assert_ended(const struct pair_end *end, enum sevmirror_outcome outcome,
		       enum sevmirror_reason reason, const char *words)
{
	const struct sevmirror_summary *summary = &end->summary[end->runs ? end->runs - 1 : 0];
	enum sevmirror_outcome got = end->outcome[end->runs ? end->runs - 1 : 0];

	if (!end->ended || got != outcome || summary->reason != reason ||
	    !strstr(summary->error, words))
		fail_msg("%s: %s, %s, '%s' instead of %s, %s, '%s'",
			 end->ended ? "it ended" : "it was killed", sevmirror_outcome_name(got),
			 sevmirror_reason_name(summary->reason), summary->error,
			 sevmirror_outcome_name(outcome), sevmirror_reason_name(reason), words);
}
