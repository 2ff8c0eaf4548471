/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every command in every state: where the specification does not allow it, it says so and changes
 * nothing.
 */
#include <string.h>

#include "tests/unit/cmocka_all.h"
#include "tests/unit/psp_machine.h"

/* The platform UNINIT, INIT; then WORKING with a guest in each of its states. */
enum column { UNINIT, INIT, LUPDATE, LSECRET, RUNNING, SUPDATE, RUPDATE, SENT, COLUMNS };

/* One letter a column: y allowed, p the platform's state forbids it, g the guest's does. */
static const struct row {
	const char *name;
	uint32_t cmd;
	size_t len;
	const char *verdict;
} rows[] = {
#define ROW(command) #command, PSP_CMD_##command
	/* clang-format off */
	/*
	 * UI LSRsrS
	 */
	{ ROW(INIT), sizeof(struct cmd_init),                             "yppppppp" },
	{ ROW(INIT_EX), sizeof(struct cmd_init_ex),                       "yppppppp" },
	{ ROW(SHUTDOWN), 0,                                               "pyyyyyyy" },
	{ ROW(FACTORY_RESET), 0,                                          "yppppppp" },
	{ ROW(PLATFORM_STATUS), sizeof(struct cmd_platform_status),       "yyyyyyyy" },
	{ ROW(PEK_GEN), 0,                                                "pypppppp" },
	{ ROW(PEK_CSR), sizeof(struct cmd_buffer),                        "pypppppp" },
	{ ROW(PEK_CERT_IMPORT), sizeof(struct cmd_pek_cert_import),       "pypppppp" },
	{ ROW(PDH_CERT_EXPORT), sizeof(struct cmd_pdh_cert_export),       "pyyyyyyy" },
	{ ROW(PDH_GEN), 0,                                                "pyyyyyyy" },
	{ ROW(DF_FLUSH), 0,                                               "pyyyyyyy" },
	{ ROW(DOWNLOAD_FIRMWARE), sizeof(struct cmd_buffer),              "yppppppp" },
	{ ROW(GET_ID), sizeof(struct cmd_buffer),                         "yyyyyyyy" },
	{ ROW(DECOMMISSION), sizeof(struct cmd_handle),                   "ppyyyyyy" },
	{ ROW(ACTIVATE), sizeof(struct cmd_activate),                     "ppyyyyyy" },
	{ ROW(DEACTIVATE), sizeof(struct cmd_handle),                     "ppyyyyyy" },
	{ ROW(GUEST_STATUS), sizeof(struct cmd_guest_status),             "ppyyyyyy" },
	{ ROW(LAUNCH_START), sizeof(struct cmd_start),                    "pyyyyyyy" },
	{ ROW(LAUNCH_UPDATE_DATA), sizeof(struct cmd_guest_buffer),       "ppyggggg" },
	{ ROW(LAUNCH_MEASURE), sizeof(struct cmd_guest_buffer),           "ppyggggg" },
	{ ROW(LAUNCH_UPDATE_SECRET), sizeof(struct cmd_packet),           "ppgygggg" },
	{ ROW(LAUNCH_FINISH), sizeof(struct cmd_handle),                  "ppgygggg" },
	{ ROW(ATTESTATION_REPORT), sizeof(struct cmd_attestation_report), "ppgyyygy" },
	{ ROW(SEND_START), sizeof(struct cmd_send_start),                 "ppggyggg" },
	{ ROW(SEND_UPDATE_DATA), sizeof(struct cmd_packet),               "ppgggygg" },
	{ ROW(SEND_FINISH), sizeof(struct cmd_handle),                    "ppgggygg" },
	{ ROW(SEND_CANCEL), sizeof(struct cmd_handle),                    "ppgggygg" },
	{ ROW(RECEIVE_START), sizeof(struct cmd_start),                   "pyyyyyyy" },
	{ ROW(RECEIVE_UPDATE_DATA), sizeof(struct cmd_packet),            "ppggggyg" },
	{ ROW(RECEIVE_FINISH), sizeof(struct cmd_handle),                 "ppggggyg" },
	{ ROW(DBG_DECRYPT), sizeof(struct cmd_dbg),                       "ppyyyyyy" },
	{ ROW(DBG_ENCRYPT), sizeof(struct cmd_dbg),                       "ppyyyyyy" },
/* clang-format on */
#undef ROW
};

static const uint32_t unsupported[] = {
	PSP_CMD_COPY,
	PSP_CMD_ACTIVATE_EX,
	PSP_CMD_LAUNCH_UPDATE_VMSA,
	PSP_CMD_SEND_UPDATE_VMSA,
	PSP_CMD_RECEIVE_UPDATE_VMSA,
};

/*
 * Bring the platform, and a guest that may be debugged, to this state. Its handle, 0 without a
 * guest.
 */
static uint32_t reach(struct machine *m, enum column column)
{
	struct target_certs self;
	struct session session;
	uint64_t page;
	uint32_t handle, received;

	if (column == UNINIT)
		return 0;
	machine_init(m);
	if (column == INIT)
		return 0;
	page = put(m, NULL, 4096);
	if (column == LUPDATE || column == LSECRET) {
		struct launch_measure measure;

		handle = launch_start(m, 0);
		activate(m, handle, 1);
		if (column == LSECRET)
			launch_measure(m, handle, &measure);
		return handle;
	}
	handle = launch(m, 0, 1, page, 4096);
	if (column == RUNNING)
		return handle;
	target_certs(m, &self);
	assert_int_equal(send_start(m, handle, &self, &session), PSP_OK);
	if (column == SUPDATE)
		return handle;
	if (column == SENT) {
		assert_int_equal(run_handle(m, PSP_CMD_SEND_FINISH, handle), PSP_OK);
		return handle;
	}
	/* a guest sent to its own platform */
	assert_int_equal(receive_start(m, 0, &self.pdh, &session, &received), PSP_OK);
	release(m, handle);
	wbinvd(m);
	assert_int_equal(run(m, PSP_CMD_DF_FLUSH, NULL, 0), PSP_OK);
	activate(m, received, 2);
	return received;
}

static uint32_t run_row(struct machine *m, const struct row *row, uint32_t handle)
{
	union {
		uint8_t bytes[128];
		uint32_t handle;
	} buf = { { 0 } };

	if (row->cmd >= PSP_CMD_DECOMMISSION && row->cmd != PSP_CMD_LAUNCH_START &&
	    row->cmd != PSP_CMD_RECEIVE_START)
		buf.handle = handle ? handle : 1;
	return run(m, row->cmd, row->len ? buf.bytes : NULL, row->len);
}

static void test_column(void **state)
{
	enum column column = *(const enum column *)*state;
	struct machine m;
	uint32_t handle;
	bool fresh = false;

	machine_up(&m, 3);
	handle = reach(&m, column);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		uint32_t status, expected;

		if (fresh) {
			machine_down(&m);
			machine_up(&m, 3);
			handle = reach(&m, column);
			fresh = false;
		}
		if (row->verdict[column] == 'y') {
			status = run_row(&m, row, handle);
			if (status == PSP_INVALID_PLATFORM_STATE ||
			    status == PSP_INVALID_GUEST_STATE || status == PSP_INVALID_COMMAND ||
			    status == PSP_INVALID_GUEST)
				fail_msg("%s: %#x", row->name, status);
			fresh = true;
		} else {
			struct snapshot *before = snapshot_take(&m);

			status = run_row(&m, row, handle);
			expected = row->verdict[column] == 'p' ? PSP_INVALID_PLATFORM_STATE :
								 PSP_INVALID_GUEST_STATE;
			if (status != expected)
				fail_msg("%s: %#x instead of %#x", row->name, status, expected);
			snapshot_check(before, &m);
		}
	}
	machine_down(&m);
}

static void test_unsupported(void **state)
{
	uint8_t buf[64] = { 1 };
	struct machine m;

	machine_up(&m, 3);
	for (int inited = 0; inited < 2; inited++) {
		for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++)
			assert_int_equal(run(&m, unsupported[i], buf, sizeof(buf)),
					 PSP_UNSUPPORTED);
		if (!inited)
			machine_init(&m);
	}
	machine_down(&m);
}

/* Every number that is no command of this API. */
static void test_unknown(void **state)
{
	uint8_t buf[64] = { 1 };
	struct machine m;

	machine_up(&m, 3);
	machine_init(&m);
	for (uint32_t cmd = 0; cmd < 0x400; cmd++) {
		bool known = false;

		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
			known |= rows[i].cmd == cmd;
		for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++)
			known |= unsupported[i] == cmd;
		if (!known)
			assert_int_equal(run(&m, cmd, buf, sizeof(buf)), PSP_INVALID_COMMAND);
	}
	assert_int_equal(psp_command(m.psp, UINT32_MAX, RAM_BASE), PSP_INVALID_COMMAND);
	machine_down(&m);
}

/* A command buffer that is missing, is no RAM, or ends where RAM does. */
static void test_command_buffers(void **state)
{
	struct snapshot *before;
	struct machine m;

	machine_up(&m, 3);
	reach(&m, RUNNING);
	before = snapshot_take(&m);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		const uint64_t addrs[] = {
			0,
			C_BIT,
			NOT_RAM,
			RAM_BASE - 1,
			RAM_BASE + RAM_BYTES - row->len + 1,
			UINT64_MAX,
		};

		if (!row->len || row->verdict[RUNNING] == 'p')
			continue;
		for (size_t j = 0; j < sizeof(addrs) / sizeof(addrs[0]); j++)
			assert_int_equal(psp_command(m.psp, row->cmd, addrs[j]),
					 PSP_INVALID_ADDRESS);
	}
	snapshot_check(before, &m);
	machine_down(&m);
}

static void test_handles(void **state)
{
	static const uint32_t handles[] = { 0,		 2,	    GUESTS_MAX, GUESTS_MAX + 1,
					    0x80000000u, UINT32_MAX };
	struct snapshot *before;
	struct machine m;

	machine_up(&m, 3);
	assert_int_equal(reach(&m, RUNNING), 1);
	before = snapshot_take(&m);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];

		if (row->verdict[INIT] == 'y' || row->verdict[RUNNING] == 'p')
			continue;
		for (size_t j = 0; j < sizeof(handles) / sizeof(handles[0]); j++) {
			uint8_t buf[128] = { 0 };

			memcpy(buf, &handles[j], sizeof(handles[j]));
			assert_int_equal(run(&m, row->cmd, buf, row->len), PSP_INVALID_GUEST);
		}
	}
	snapshot_check(before, &m);
	machine_down(&m);
}

int main(void)
{
	static enum column columns[] = { UNINIT,  INIT,	   LUPDATE, LSECRET,
					 RUNNING, SUPDATE, RUPDATE, SENT };
	const struct CMUnitTest tests[] = {
		{ "every command while UNINIT", test_column, NULL, NULL, &columns[UNINIT] },
		{ "every command while INIT", test_column, NULL, NULL, &columns[INIT] },
		{ "every command, guest in LUPDATE", test_column, NULL, NULL, &columns[LUPDATE] },
		{ "every command, guest in LSECRET", test_column, NULL, NULL, &columns[LSECRET] },
		{ "every command, guest in RUNNING", test_column, NULL, NULL, &columns[RUNNING] },
		{ "every command, guest in SUPDATE", test_column, NULL, NULL, &columns[SUPDATE] },
		{ "every command, guest in RUPDATE", test_column, NULL, NULL, &columns[RUPDATE] },
		{ "every command, guest in SENT", test_column, NULL, NULL, &columns[SENT] },
		cmocka_unit_test(test_unsupported),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_command_buffers),
		cmocka_unit_test(test_handles),
	};

	return cmocka_run_group_tests_name("psp_states", tests, NULL, NULL);
}
