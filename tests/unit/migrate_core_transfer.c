/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware's last command at the source, with a firmware that refuses it: the linker puts the
 * function here in its place.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/session.h"
#include "lib/sev/guest.h"

static int answer;
static uint64_t commands; /* that the firmware was given */

uint64_t __wrap_sev_guest_commands(const struct sev_guest *guest);
uint64_t __wrap_sev_guest_commands(const struct sev_guest *guest)
{
	assert_non_null(guest);
	return commands;
}

int __wrap_sev_guest_send_finish(struct sev_guest *guest, struct sev_error *error);
int __wrap_sev_guest_send_finish(struct sev_guest *guest, struct sev_error *error)
{
	assert_non_null(guest);
	commands += answer != -EBADF; /* KVM's own refusal does not reach the firmware */
	if (answer)
		snprintf(error->message, sizeof(error->message),
			 "SEND_FINISH: firmware error INVALID_GUEST_STATE");
	return answer;
}

static struct sevmirror_summary finish(bool sev)
{
	static char guest; /* only its address is used */
	struct sevmirror_summary summary = { 0 };
	struct sevmirror_migration m = { .summary = &summary, .commands_counted = commands };

	m.vm.sev = sev ? (struct sev_guest *)&guest : NULL;
	core_transfer_finish(&m);
	assert_string_equal(m.why.text, ""); /* no failure: the guest has left */
	return summary;
}

static void a_firmware_that_does_not_finish_is_a_warning(void **state)
{
	struct sevmirror_summary summary;

	answer = -EIO;
	summary = finish(true);
	assert_non_null(strstr(summary.warning, "the guest runs at the target"));
	assert_non_null(strstr(summary.warning, "INVALID_GUEST_STATE"));
	assert_int_equal(summary.psp_commands, 1);
	answer = -EBADF;
	summary = finish(true);
	assert_int_equal(summary.psp_commands, 0);
	answer = 0;
	summary = finish(true);
	assert_string_equal(summary.warning, "");
	assert_int_equal(summary.psp_commands, 1);
}

static void without_sev_nobody_is_asked(void **state)
{
	struct sevmirror_summary summary;

	answer = -EIO;
	summary = finish(false);
	assert_string_equal(summary.warning, "");
	assert_int_equal(summary.psp_commands, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_firmware_that_does_not_finish_is_a_warning),
		cmocka_unit_test(without_sev_nobody_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
