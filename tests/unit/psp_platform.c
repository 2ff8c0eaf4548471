/* SPDX-License-Identifier: Apache-2.0 */
/* INIT, storage, ASIDs, flushing, limits, reset. */
#include <string.h>

#include "tests/unit/cmocka_all.h"
#include "tests/unit/psp_machine.h"

#define NV_REGION 32768

static void test_status(void **state)
{
	struct cmd_platform_status st;
	struct machine m;

	machine_up(&m, 1);
	st = platform_status(&m);
	assert_int_equal(st.api_major, PSP_API_MAJOR);
	assert_int_equal(st.api_minor, PSP_API_MINOR);
	assert_int_equal(st.build, PSP_BUILD);
	assert_int_equal(st.state, PLATFORM_UNINIT);
	assert_int_equal(st.flags, 0);
	assert_int_equal(st.guest_count, 0);
	machine_init(&m);
	assert_int_equal(platform_status(&m).state, PLATFORM_INIT);
	launch_start(&m, 0);
	launch_start(&m, 0);
	st = platform_status(&m);
	assert_int_equal(st.state, PLATFORM_WORKING);
	assert_int_equal(st.guest_count, 2);
	assert_int_equal(run(&m, PSP_CMD_SHUTDOWN, NULL, 0), PSP_OK);
	st = platform_status(&m);
	assert_int_equal(st.state, PLATFORM_UNINIT);
	assert_int_equal(st.guest_count, 0);
	machine_down(&m);
}

/* Linux passes the ES flag and a trusted memory region of a MiB. */
static void test_init_es(void **state)
{
	struct cmd_init init = { .flags = 1, .tmr_addr = RAM_BASE, .tmr_len = 1 << 20 };
	struct machine m;

	machine_up(&m, 1);
	init.tmr_len--;
	assert_int_equal(RUN(&m, PSP_CMD_INIT, &init), PSP_INVALID_LEN);
	init.tmr_len++;
	init.tmr_addr += 4096;
	assert_int_equal(RUN(&m, PSP_CMD_INIT, &init), PSP_INVALID_ADDRESS);
	init.tmr_addr = 0;
	assert_int_equal(RUN(&m, PSP_CMD_INIT, &init), PSP_INVALID_ADDRESS);
	init.tmr_addr = RAM_BASE;
	init.flags = 3;
	assert_int_equal(RUN(&m, PSP_CMD_INIT, &init), PSP_INVALID_PARAM);
	assert_int_equal(platform_status(&m).state, PLATFORM_UNINIT);
	init.flags = 1;
	assert_int_equal(RUN(&m, PSP_CMD_INIT, &init), PSP_OK);
	assert_int_equal(platform_status(&m).flags, STATUS_FLAG_ES);
	machine_down(&m);
}

static void test_nv_persists(void **state)
{
	struct cert_chain first, again, fresh;
	struct sev_cert pdh, pdh_again;
	struct machine m;

	machine_up(&m, 1);
	machine_init(&m);
	pdh_export(&m, &pdh, &first);
	assert_true(m.nv_len > 3 * 2084);
	/* nothing of it is there in clear */
	for (int i = 0; i + 48 <= m.nv_len; i++) {
		assert_memory_not_equal(m.nv + i, m.psp->identity.pek.d, 48);
		assert_memory_not_equal(m.nv + i, m.psp->identity.pdh.d, 48);
	}
	machine_power_cycle(&m);
	machine_init(&m);
	pdh_export(&m, &pdh_again, &again);
	assert_memory_equal(&first, &again, sizeof(first));
	assert_memory_equal(&pdh, &pdh_again, sizeof(pdh));

	assert_int_equal(run(&m, PSP_CMD_SHUTDOWN, NULL, 0), PSP_OK);
	assert_int_equal(run(&m, PSP_CMD_FACTORY_RESET, NULL, 0), PSP_OK);
	assert_int_equal(m.nv_len, 0);
	machine_init(&m);
	pdh_export(&m, &pdh, &fresh);
	assert_memory_not_equal(&first.pek, &fresh.pek, sizeof(first.pek));
	assert_memory_equal(&first.cek, &fresh.cek, sizeof(first.cek));
	machine_down(&m);
}

/* Damaged storage is reported once and replaced when INIT comes again, as Linux's driver does. */
static void check_damaged(struct machine *m)
{
	struct cmd_init init = { 0 };
	uint8_t nv[PSP_NV_MAX_BYTES];

	machine_power_cycle(m);
	memcpy(nv, m->nv, sizeof(nv));
	assert_int_equal(RUN(m, PSP_CMD_INIT, &init), PSP_SECURE_DATA_INVALID);
	assert_int_equal(platform_status(m).state, PLATFORM_UNINIT);
	assert_memory_equal(nv, m->nv, sizeof(nv));
	assert_int_equal(RUN(m, PSP_CMD_INIT, &init), PSP_OK);
	machine_power_cycle(m);
	machine_init(m);
}

static void test_nv_damaged(void **state)
{
	struct machine m, other;

	machine_up(&m, 1);
	machine_init(&m);
	for (int i = 0; i < m.nv_len; i += 97) {
		m.nv[i] ^= 0x20;
		check_damaged(&m);
	}
	m.nv[m.nv_len - 1] ^= 1;
	check_damaged(&m);
	m.nv_len--;
	check_damaged(&m);
	m.nv_len = 1;
	check_damaged(&m);
	m.nv_len = PSP_NV_MAX_BYTES;
	check_damaged(&m);

	machine_up(&other, 2);
	machine_init(&other);
	memcpy(m.nv, other.nv, sizeof(m.nv));
	check_damaged(&m);
	machine_down(&other);
	machine_down(&m);
}

static void test_nv_fails(void **state)
{
	struct cmd_init init = { 0 };
	struct snapshot *before;
	struct machine m;

	machine_up(&m, 1);
	m.nv_store_fails = true;
	assert_int_equal(RUN(&m, PSP_CMD_INIT, &init), PSP_HWERROR_PLATFORM);
	m.nv_store_fails = false;
	m.nv_load_fails = true;
	assert_int_equal(RUN(&m, PSP_CMD_INIT, &init), PSP_HWERROR_PLATFORM);
	assert_int_equal(platform_status(&m).state, PLATFORM_UNINIT);
	m.nv_load_fails = false;
	machine_init(&m);
	m.nv_store_fails = true;
	before = snapshot_take(&m);
	assert_int_equal(run(&m, PSP_CMD_PDH_GEN, NULL, 0), PSP_HWERROR_PLATFORM);
	assert_int_equal(run(&m, PSP_CMD_PEK_GEN, NULL, 0), PSP_HWERROR_PLATFORM);
	snapshot_check(before, &m);
	assert_int_equal(run(&m, PSP_CMD_SHUTDOWN, NULL, 0), PSP_OK);
	assert_int_equal(run(&m, PSP_CMD_FACTORY_RESET, NULL, 0), PSP_HWERROR_PLATFORM);
	machine_down(&m);
}

/*
 * INIT_EX: the storage is a region of memory, at first all ones, that the driver writes to its
 * file.
 */
static void test_init_ex(void **state)
{
	struct cmd_init_ex ex = { .length = sizeof(ex), .nv_len = NV_REGION };
	struct cert_chain first, again;
	struct sev_cert pdh;
	struct machine m;

	machine_up(&m, 1);
	ex.nv_addr = put(&m, NULL, NV_REGION);
	memset(at(&m, ex.nv_addr), 0xff, NV_REGION);
	ex.length--;
	assert_int_equal(RUN(&m, PSP_CMD_INIT_EX, &ex), PSP_INVALID_LEN);
	ex.length++;
	ex.nv_len--;
	assert_int_equal(RUN(&m, PSP_CMD_INIT_EX, &ex), PSP_INVALID_LEN);
	ex.nv_len++;
	assert_int_equal(RUN(&m, PSP_CMD_INIT_EX, &ex), PSP_OK);
	assert_int_equal(m.nv_len, 0);
	pdh_export(&m, &pdh, &first);

	machine_power_cycle(&m);
	assert_int_equal(RUN(&m, PSP_CMD_INIT_EX, &ex), PSP_OK);
	pdh_export(&m, &pdh, &again);
	assert_memory_equal(&first, &again, sizeof(first));
	assert_int_equal(run(&m, PSP_CMD_PEK_GEN, NULL, 0), PSP_OK);
	pdh_export(&m, &pdh, &first);
	machine_power_cycle(&m);
	assert_int_equal(RUN(&m, PSP_CMD_INIT_EX, &ex), PSP_OK);
	pdh_export(&m, &pdh, &again);
	assert_memory_equal(&first, &again, sizeof(first));

	/* FACTORY_RESET empties the region that is still the driver's */
	assert_int_equal(run(&m, PSP_CMD_SHUTDOWN, NULL, 0), PSP_OK);
	assert_int_equal(run(&m, PSP_CMD_FACTORY_RESET, NULL, 0), PSP_OK);
	assert_int_equal(RUN(&m, PSP_CMD_INIT_EX, &ex), PSP_OK);
	pdh_export(&m, &pdh, &again);
	assert_memory_not_equal(&first.pek, &again.pek, sizeof(first.pek));

	machine_power_cycle(&m);
	((uint8_t *)at(&m, ex.nv_addr))[1000] ^= 1;
	assert_int_equal(RUN(&m, PSP_CMD_INIT_EX, &ex), PSP_SECURE_DATA_INVALID);
	assert_int_equal(RUN(&m, PSP_CMD_INIT_EX, &ex), PSP_OK);
	machine_power_cycle(&m);
	ex.nv_addr = NOT_RAM;
	assert_int_equal(RUN(&m, PSP_CMD_INIT_EX, &ex), PSP_HWERROR_PLATFORM);
	/* without a region it is INIT */
	ex.nv_addr = 0;
	assert_int_equal(RUN(&m, PSP_CMD_INIT_EX, &ex), PSP_OK);
	assert_true(m.nv_len > 0);
	machine_down(&m);
}

static uint32_t try_activate(struct machine *m, uint32_t handle, uint32_t asid)
{
	struct cmd_activate cmd = { .handle = handle, .asid = asid };

	return RUN(m, PSP_CMD_ACTIVATE, &cmd);
}

static void test_asids(void **state)
{
	uint32_t handles[MAX_ASID + 1], extra;
	struct machine m;

	machine_up(&m, 1);
	machine_init(&m);
	for (uint32_t asid = MIN_ASID; asid <= MAX_ASID; asid++)
		handles[asid] = launch_start(&m, 0);
	extra = launch_start(&m, 0);
	assert_int_equal(try_activate(&m, extra, 0), PSP_INVALID_ASID);
	assert_int_equal(try_activate(&m, extra, MAX_ASID + 1), PSP_INVALID_ASID);
	assert_int_equal(try_activate(&m, extra, UINT32_MAX), PSP_INVALID_ASID);
	for (uint32_t asid = MIN_ASID; asid <= MAX_ASID; asid++) {
		activate(&m, handles[asid], asid);
		assert_int_equal(try_activate(&m, handles[asid], asid), PSP_ACTIVE);
		assert_int_equal(try_activate(&m, extra, asid), PSP_ASID_OWNED);
	}
	assert_int_equal(run_handle(&m, PSP_CMD_DECOMMISSION, handles[1]), PSP_ACTIVE);
	assert_int_equal(run_handle(&m, PSP_CMD_DEACTIVATE, extra), PSP_INACTIVE);

	/*
	 * Reuse needs WBINVD, then DF_FLUSH; one DF_FLUSH serves all that were deactivated before
	 * it.
	 */
	release(&m, handles[1]);
	release(&m, handles[2]);
	assert_null(m.slots[1]);
	assert_int_equal(try_activate(&m, extra, 1), PSP_DFFLUSH_REQUIRED);
	assert_int_equal(run(&m, PSP_CMD_DF_FLUSH, NULL, 0), PSP_WBINVD_REQUIRED);
	assert_int_equal(try_activate(&m, extra, 1), PSP_DFFLUSH_REQUIRED);
	wbinvd(&m);
	assert_int_equal(try_activate(&m, extra, 1), PSP_DFFLUSH_REQUIRED);
	assert_int_equal(run(&m, PSP_CMD_DF_FLUSH, NULL, 0), PSP_OK);
	activate(&m, extra, 1);
	activate(&m, launch_start(&m, 0), 2);
	machine_down(&m);
}

static void test_flush_after_init(void **state)
{
	struct cmd_init init = { 0 };
	struct machine m;
	uint32_t handle;

	machine_up(&m, 1);
	assert_int_equal(RUN(&m, PSP_CMD_INIT, &init), PSP_OK);
	handle = launch_start(&m, 0);
	assert_int_equal(try_activate(&m, handle, 1), PSP_DFFLUSH_REQUIRED);
	assert_int_equal(run(&m, PSP_CMD_DF_FLUSH, NULL, 0), PSP_WBINVD_REQUIRED);
	wbinvd(&m);
	assert_int_equal(run(&m, PSP_CMD_DF_FLUSH, NULL, 0), PSP_OK);
	activate(&m, handle, 1);
	machine_down(&m);
}

static void test_guest_limit(void **state)
{
	struct cmd_start cmd = { 0 };
	struct machine m;

	machine_up(&m, 1);
	machine_init(&m);
	for (int i = 0; i < GUESTS_MAX; i++)
		launch_start(&m, 0);
	assert_int_equal(RUN(&m, PSP_CMD_LAUNCH_START, &cmd), PSP_RESOURCE_LIMIT);
	assert_int_equal(run_handle(&m, PSP_CMD_DECOMMISSION, 7), PSP_OK);
	assert_int_equal(launch_start(&m, 0), 7);
	for (uint32_t h = 1; h <= GUESTS_MAX; h++)
		assert_int_equal(run_handle(&m, PSP_CMD_DECOMMISSION, h), PSP_OK);
	assert_int_equal(platform_status(&m).state, PLATFORM_INIT);
	machine_down(&m);
}

/* A new guest never gets the memory key of an old one, though it gets its handle and ASID. */
static void test_fresh_keys(void **state)
{
	uint8_t first[4096] = { 0 }, second[4096];
	struct machine m;
	uint64_t page;
	uint32_t handle;

	machine_up(&m, 1);
	machine_init(&m);
	page = put(&m, first, sizeof(first));
	handle = launch(&m, 0, 1, page, 4096);
	memcpy(first, at(&m, page), sizeof(first));
	release(&m, handle);
	wbinvd(&m);
	assert_int_equal(run(&m, PSP_CMD_DF_FLUSH, NULL, 0), PSP_OK);
	memset(at(&m, page), 0, 4096);
	assert_int_equal(launch(&m, 0, 1, page, 4096), handle);
	memcpy(second, at(&m, page), sizeof(second));
	for (size_t i = 0; i < sizeof(first); i += 16)
		assert_memory_not_equal(first + i, second + i, 16);
	machine_down(&m);
}

static void test_reset(void **state)
{
	struct cert_chain before, after;
	struct sev_cert pdh;
	struct machine m;
	uint64_t page;

	machine_up(&m, 1);
	machine_init(&m);
	pdh_export(&m, &pdh, &before);
	page = put(&m, NULL, 4096);
	launch(&m, 0, 4, page, 4096);
	psp_reset(m.psp);
	assert_null(m.slots[4]);
	assert_int_equal(platform_status(&m).state, PLATFORM_UNINIT);
	assert_int_equal(platform_status(&m).guest_count, 0);
	machine_init(&m);
	pdh_export(&m, &pdh, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	psp_reset(m.psp);
	psp_reset(m.psp);
	machine_down(&m);
	psp_destroy(NULL);
}

static void test_shutdown_frees_asids(void **state)
{
	struct machine m;
	uint64_t page;

	machine_up(&m, 1);
	machine_init(&m);
	page = put(&m, NULL, 4096);
	launch(&m, 0, 4, page, 4096);
	assert_int_equal(run(&m, PSP_CMD_SHUTDOWN, NULL, 0), PSP_OK);
	assert_null(m.slots[4]);
	machine_init(&m);
	launch(&m, 0, 4, page, 4096);
	machine_down(&m);
}

static void test_download_firmware(void **state)
{
	struct cmd_buffer cmd = { 0 };
	struct machine m;

	machine_up(&m, 1);
	cmd.addr = put(&m, NULL, 4096);
	assert_int_equal(RUN(&m, PSP_CMD_DOWNLOAD_FIRMWARE, &cmd), PSP_INVALID_LEN);
	cmd.len = UINT32_MAX;
	assert_int_equal(RUN(&m, PSP_CMD_DOWNLOAD_FIRMWARE, &cmd), PSP_INVALID_LEN);
	cmd.len = 65536;
	assert_int_equal(RUN(&m, PSP_CMD_DOWNLOAD_FIRMWARE, &cmd), PSP_BAD_SIGNATURE);
	cmd.addr = RAM_BASE + RAM_BYTES - 4096;
	assert_int_equal(RUN(&m, PSP_CMD_DOWNLOAD_FIRMWARE, &cmd), PSP_INVALID_ADDRESS);
	machine_down(&m);
}

static void test_create_refused(void **state)
{
	struct machine m;
	struct psp_machine bad;
	const uint8_t seed[PSP_CHIP_SEED_BYTES] = { 0 };
	const char *why = NULL;

	machine_up(&m, 1);
	bad = m.psp->machine;
	bad.read = NULL;
	assert_null(psp_create(&bad, &m, seed, &why));
	assert_non_null(why);
	bad = m.psp->machine;
	bad.min_asid = 0;
	assert_null(psp_create(&bad, &m, seed, NULL));
	bad = m.psp->machine;
	bad.max_asid = 65536;
	assert_null(psp_create(&bad, &m, seed, &why));
	bad = m.psp->machine;
	bad.nv_load = NULL;
	assert_null(psp_create(&bad, &m, seed, &why));
	machine_down(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_init_es),
		cmocka_unit_test(test_nv_persists),
		cmocka_unit_test(test_nv_damaged),
		cmocka_unit_test(test_nv_fails),
		cmocka_unit_test(test_init_ex),
		cmocka_unit_test(test_asids),
		cmocka_unit_test(test_flush_after_init),
		cmocka_unit_test(test_guest_limit),
		cmocka_unit_test(test_fresh_keys),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_shutdown_frees_asids),
		cmocka_unit_test(test_download_firmware),
		cmocka_unit_test(test_create_refused),
	};

	return cmocka_run_group_tests_name("psp_platform", tests, NULL, NULL);
}
