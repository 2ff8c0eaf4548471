/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of a VM's process that has no guest: what they check before they look at one. */
#include "tests/unit/control_rig.h"

#include <stdlib.h>

#include "service/service.h"
#include "service/service_private.h"

static int start(void **state)
{
	struct why why = { "" };
	struct service *service = NULL;

	if (service_create(&service, "vm1", &why) || control_start(service->control))
		fail_msg("%s", why.text);
	*state = service;
	return 0;
}

static int end(void **state)
{
	service_destroy(*state);
	return 0;
}

static void a_secret_must_be_base64_of_the_right_length(void **state)
{
	static const char header[] =
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMw==";
	static const struct {
		const char *header, *secret, *says;
	} bad[] = {
		{ "AAEC", "c2U=", "52 bytes" },	  { header, "c2U", "base64" },
		{ header, "c2U=c2U=", "base64" }, { header, "c=U=", "base64" },
		{ header, "", "base64" },	  { header, "c2\nU", "base64" },
	};
	struct control_client *client = client_open();

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		call_refused(
			client, "inject-secret",
			json_pack("{s:s, s:s}", "header", bad[i].header, "secret", bad[i].secret),
			CONTROL_BAD_ARGUMENTS, bad[i].says);
	call_refused(client, "inject-secret",
		     json_pack("{s:s, s:s}", "header", header, "secret", "c2VjcmV0MTIz"),
		     CONTROL_STARTING, "");
	control_client_close(client);
}

static void without_a_guest_commands_are_refused(void **state)
{
	static const char *const commands[] = { "pause",	   "resume",
						"migrate-cancel",  "query-measurement",
						"mirror-attach",   "migrate-recover",
						"query-memory-map" };
	struct control_client *client = client_open();
	json_t *status = call_ok(client, "query-status", NULL);

	assert_string_equal(json_string_value(json_object_get(status, "state")), "starting");
	json_decref(status);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		call_refused(client, commands[i], NULL, CONTROL_STARTING, "");
	control_client_close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_secret_must_be_base64_of_the_right_length, start,
						end),
		cmocka_unit_test_setup_teardown(without_a_guest_commands_are_refused, start, end),
	};

	return control_rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
