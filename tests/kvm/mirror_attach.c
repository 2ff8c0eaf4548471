/* SPDX-License-Identifier: Apache-2.0 */
/* A mirror made by another process, from descriptors that came over a socket. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/mirror/attach.h"
#include "tests/kvm/mirror_rig.h"
#include "tests/unit/cmocka_all.h"

#define MIB	    (1ULL << 20)
#define PATIENCE_MS 60000

/*
 * The other process: a helper over the offered memory seals page 1 and says what the session's name
 * is. Its exit status is the line.
 */
#define NEED(what)                                 \
	do {                                       \
		if (!(what))                       \
			_exit(__LINE__ % 250 + 1); \
	} while (0)

static void other_process(int socket, bool linger)
{
	struct helper_request request = { .op = HELPER_OP_SEAL, .count = 1 };
	struct helper_completion c;
	struct mirror_offer offer;
	struct rings_config config = { .kvm_fd = -1, .nrings = 1, .data_pages = 8 };
	struct region_plan plan;
	struct helper_batch *batch;
	struct rings *rings;
	uint8_t session[16];
	uint32_t npages;

	NEED(mirror_offer_receive(socket, PATIENCE_MS, &offer) == 0);
	NEED(region_plan(&plan, offer.ram, offer.nram, offer.cbit_mask) == 0);
	config.primary_fd = offer.primary_fd;
	config.plan = &plan;
	config.region_fd = offer.region_fd;
	config.ram = offer.ram;
	config.nram = offer.nram;
	NEED(rings_create(&rings, &config, NULL) == 0);
	mirror_offer_close(&offer);
	NEED(rings_session_make(rings, 0, session) == 0);
	request.page = rings_data(rings, 0, &npages);
	batch = rings_page(rings, request.page);
	batch->record[0].gpa = 4096;
	batch->record[0].slot = request.page + 1;
	NEED(rings_call(rings, 0, &request, &c, 30000000000ULL) == 0 && c.status == HELPER_OK);
	NEED(write(socket, session, sizeof(session)) == sizeof(session));
	if (linger)
		for (;;)
			pause();
	rings_destroy(rings);
	_exit(0);
}

static pid_t start(struct rig *rig, bool linger, uint8_t session[16])
{
	struct mirror_offer offer = { .primary_fd = -1,
				      .region_fd = rig->region.fd,
				      .nram = rig->nram };
	int pair[2];
	pid_t pid;

	memcpy(offer.ram, rig->ram, sizeof(rig->ram));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(pair[0]);
		other_process(pair[1], linger);
	}
	close(pair[1]);
	assert_int_equal(mirror_offer_send(pair[0], &offer), 0);
	if (read(pair[0], session, 16) != 16) {
		int status;

		waitpid(pid, &status, 0);
		fail_msg("the other process ended with status %d", WEXITSTATUS(status));
	}
	close(pair[0]);
	return pid;
}

static void another_process_mirrors(void **state)
{
	uint8_t session[16];
	struct rig rig;
	int status;
	pid_t pid;

	(void)state;
	rig_init(&rig, 8 * MIB, 2 * MIB, 1);
	pid = start(&rig, false, session);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	/* It is this guest's memory that it worked in: the session is in its key page. */
	assert_memory_equal((uint8_t *)rig.region.hva + 4096, session, sizeof(session));
	rig_fini(&rig);
}

static void killed_mirror_process(void **state)
{
	uint8_t session[16];
	enum helper_state helper_state;
	struct rig rig;
	int status;
	pid_t pid;

	(void)state;
	rig_init(&rig, 8 * MIB, 0, 1);
	pid = start(&rig, true, session);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	/*
	 * The memory is whole, a helper can be started over it again (as a target of the session
	 * that it left).
	 */
	rig_start(&rig, 1);
	assert_int_equal(rings_hello(rig.rings, &helper_state, session), 0);
	assert_int_equal(helper_state, HELPER_TARGET);
	assert_int_equal(rings_session_wipe(rig.rings), 0);
	rig_fini(&rig);
}

static unsigned int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Not an offer: refused, and no descriptor is left over from it. */
static void bad_offers(void **state)
{
	struct mirror_offer offer = { .primary_fd = -1,
				      .nram = 1,
				      .ram = { { .bytes = 4 * MIB, .fd = 0 } } };
	struct mirror_offer got;
	unsigned int before;
	char junk[400];
	int pair[2];

	(void)state;
	before = open_files();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	memset(junk, 7, sizeof(junk));
	assert_int_equal(write(pair[0], junk, 400), 400);
	assert_int_equal(mirror_offer_receive(pair[1], PATIENCE_MS, &got), -EPROTO);
	close(pair[0]);
	close(pair[1]);

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	offer.nram = 0;
	assert_int_equal(mirror_offer_send(pair[0], &offer), -EINVAL);
	offer.nram = 2; /* the second overlaps the first */
	offer.ram[1] = offer.ram[0];
	assert_int_equal(mirror_offer_send(pair[0], &offer), 0);
	assert_int_equal(mirror_offer_receive(pair[1], PATIENCE_MS, &got), -EPROTO);
	offer.nram = 1;
	offer.ram[0].bytes = 0;
	assert_int_equal(mirror_offer_send(pair[0], &offer), 0);
	assert_int_equal(mirror_offer_receive(pair[1], PATIENCE_MS, &got), -EPROTO);
	assert_int_equal(mirror_offer_receive(pair[1], 1, &got), -ETIMEDOUT);
	assert_int_equal(write(pair[0], junk, 10), 10);
	assert_int_equal(mirror_offer_receive(pair[1], PATIENCE_MS, &got), -EPROTO);
	close(pair[0]);
	assert_int_equal(mirror_offer_receive(pair[1], PATIENCE_MS, &got), -ECONNRESET);
	close(pair[1]);
	assert_int_equal(open_files(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_process_mirrors),
		cmocka_unit_test(killed_mirror_process),
		cmocka_unit_test(bad_offers),
	};

	rig_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
