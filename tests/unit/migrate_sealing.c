/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sealing session of a migration: its manifest (what is not the source's does not run), and its
 * end, when the source's firmware refuses its last command. The linker puts the firmware's function
 * here in its place.
 */
#include <errno.h>
#include <linux/psp-sev.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/sealing.h"
#include "lib/seal/seal_private.h"
#include "lib/sev/guest.h"
#include "tests/unit/migrate_half.h"

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
	if (!answer)
		return 0;
	error->err = answer;
	error->fw = answer == -EBADF ? SEV_FW_NO_CALL : SEV_RET_INVALID_GUEST_STATE;
	snprintf(error->message, sizeof(error->message),
		 "SEND_FINISH: firmware error INVALID_GUEST_STATE");
	return answer;
}

/* The end of a migration whose guest has left. The helper is not started: it is not asked here. */
static struct sevmirror_summary finish(bool sev)
{
	const struct sevmirror_seal_config config = {
		.source = true, .rings = 1, .lanes = 1, .depth = 1
	};
	const struct sevmirror_seal_vm vm = { .kvm_fd = -1,
					      .vm_fd = -1,
					      .sev_fd = sev ? 0 : -1,
					      .cbit_mask = sev ? 1ULL << 51 : 0,
					      .nranges = 1,
					      .ranges = { { .bytes = 16 << 20, .fd = -1 } } };
	struct sevmirror_summary summary = { 0 };
	struct sevmirror_migration m = { .summary = &summary };

	commands = 0;
	pthread_mutex_init(&m.cancel_lock, NULL);
	assert_int_equal(sevmirror_seal_create(&m.seal, &vm, &config), 0);
	m.seal->sending = sev;
	sealing_end(&m, true);
	pthread_mutex_destroy(&m.cancel_lock);
	assert_null(m.seal);
	assert_string_equal(m.why.text, ""); /* no failure: the guest has left */
	return summary;
}

static void a_firmware_that_does_not_finish_is_a_warning(void **state)
{
	struct sevmirror_summary summary;

	answer = -EIO;
	summary = finish(true);
	assert_non_null(strstr(summary.warning,
			       "the guest runs on the target, but the source's secure processor "
			       "did not finish sending"));
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

/* A side without a session, then one that is agreed on and not started. */
static void agree(struct half *h, bool is_source)
{
	half_open(h, is_source, 0);
	sealing_end(&h->m, false);
	assert_int_equal(sealing_create(&h->m), 0);
}

/* Off unless the source asks for it: marks tell the hosts which pages are zeros. */
static void zero_marks_are_asked_for(void **state)
{
	struct half h;

	agree(&h, true);
	assert_false(h.m.seal->config.zero_marks);
	sealing_end(&h.m, false);
	h.m.source.zero_marks = true;
	assert_int_equal(sealing_create(&h.m), 0);
	assert_true(h.m.seal->config.zero_marks);
	half_close(&h);
	agree(&h, false);
	assert_false(h.m.seal->config.zero_marks);
	half_close(&h);
}

static void the_core_goes_to_whom_the_offer_describes(void **state)
{
	static uint8_t core[SEVMIRROR_CORE_MAX], mine[16384];
	uint8_t bytes[256];
	const struct sevmirror_blob offer = { bytes, rig_offer(bytes, sizeof(bytes)) };
	size_t len = rig_core(mine, sizeof(mine));
	struct half h;

	agree(&h, true);
	assert_int_equal(sealing_send_core(&h.m, &offer), 0);
	assert_int_equal(half_hear(&h, WIRE_CORE, core, sizeof(core)), len);
	assert_memory_equal(core, mine, sizeof(struct seal_core));
	half_close(&h);
	bytes[20] ^= 1; /* the helper's version */
	agree(&h, true);
	assert_int_equal(sealing_send_core(&h.m, &offer), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_INCOMPATIBLE, "different builds");
	half_close(&h);
}

static int receive(struct half *h, const uint8_t *core, size_t len)
{
	agree(h, false);
	half_say(h, WIRE_CORE, core, len);
	return sealing_receive_core(&h->m);
}

static void a_core_is_of_the_streams_that_were_agreed_on(void **state)
{
	static _Alignas(8) uint8_t core[16384];
	struct seal_core *head = (struct seal_core *)core;
	size_t len = rig_core(core, sizeof(core));
	struct half h;

	assert_int_equal(receive(&h, core, len), 0);
	half_close(&h);
	head->rings = 1;
	assert_int_equal(receive(&h, core, len), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "another number of streams");
	half_close(&h);
	head->rings = 0; /* any ring takes any page */
	assert_int_equal(receive(&h, core, len), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "another number of streams");
	half_close(&h);
	head->rings = RIG_STREAMS;
	assert_int_equal(receive(&h, core, len - 1), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "the core has ");
	half_close(&h);
}

static void a_cancelled_migration_makes_no_core(void **state)
{
	uint8_t bytes[256];
	const struct sevmirror_blob offer = { bytes, rig_offer(bytes, sizeof(bytes)) };
	struct half h;

	half_open(&h, true, 0);
	sealing_end(&h.m, false);
	atomic_store(&h.m.cancelled, true);
	assert_int_equal(sealing_create(&h.m), 0);
	assert_int_equal(sealing_send_core(&h.m, &offer), -ECANCELED);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_CANCELLED, "cancelled");
	half_close(&h);
}

static void the_helper_s_manifest_is_sent(void **state)
{
	uint8_t manifest[256], mine[256];
	size_t len = rig_manifest(mine, sizeof(mine));
	struct half h;

	half_open(&h, true, 0);
	assert_int_equal(manifest_send(&h.m), 0);
	assert_int_equal(half_hear(&h, WIRE_MANIFEST, manifest, sizeof(manifest)), len);
	assert_memory_equal(manifest, mine, len);
	half_close(&h);
}

static void a_manifest_that_holds_is_accepted(void **state)
{
	uint8_t manifest[256];
	size_t len = rig_manifest(manifest, sizeof(manifest));
	struct half h;

	half_open(&h, false, 0);
	half_say(&h, WIRE_MANIFEST, manifest, len);
	assert_int_equal(manifest_receive(&h.m), 0);
	half_close(&h);
}

static void another_manifest_is_refused(void **state)
{
	uint8_t manifest[256];
	size_t len = rig_manifest(manifest, sizeof(manifest));
	struct half h;

	half_open(&h, false, 0);
	assert_int_equal(manifest_check(&h.m, manifest, len + 1), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "the manifest has 65 bytes");
	half_close(&h);
	half_open(&h, false, 0);
	assert_int_equal(manifest_check(&h.m, manifest, 0), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "the manifest is cut off");
	half_close(&h);
	half_open(&h, false, 0);
	manifest[len - 1] ^= 1;
	half_say(&h, WIRE_MANIFEST, manifest, len);
	assert_int_equal(manifest_receive(&h.m), -EBADMSG);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_MANIFEST,
			"1 ranges of 128 MiB differ, the first from 0 on");
	half_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_firmware_that_does_not_finish_is_a_warning),
		cmocka_unit_test(without_sev_nobody_is_asked),
		cmocka_unit_test(zero_marks_are_asked_for),
		cmocka_unit_test(the_core_goes_to_whom_the_offer_describes),
		cmocka_unit_test(a_core_is_of_the_streams_that_were_agreed_on),
		cmocka_unit_test(a_cancelled_migration_makes_no_core),
		cmocka_unit_test(the_helper_s_manifest_is_sent),
		cmocka_unit_test(a_manifest_that_holds_is_accepted),
		cmocka_unit_test(another_manifest_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
