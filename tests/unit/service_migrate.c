/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VM's process refuses of a migration before it begins, and before a VM is built for one.
 * No KVM is needed: the machine is one that nobody looks into.
 */
#include "tests/unit/control_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sev/policy.h"
#include "service/migrate_compat.h"
#include "service/service_private.h"

static struct {
	bool sev;
	uint64_t announced; /* memory in HELLO */
	uint64_t built; /* bytes of memory that machine_create() was asked for */
} host;

static char nobody; /* what pointers that are only compared point to */

/* What the linker calls instead (--wrap). */
struct vm *__wrap_machine_vm(const struct machine *machine);
struct sev_guest *__wrap_vm_sev(const struct vm *vm);
uint64_t __wrap_sevmirror_migration_ram_bytes(const struct sevmirror_migration *migration);
int __wrap_machine_create(struct machine **machine, const struct machine_config *config,
			  struct why *why);

struct vm *__wrap_machine_vm(const struct machine *machine)
{
	return (void *)&nobody;
}

struct sev_guest *__wrap_vm_sev(const struct vm *vm)
{
	return host.sev ? (void *)&nobody : NULL;
}

uint64_t __wrap_sevmirror_migration_ram_bytes(const struct sevmirror_migration *migration)
{
	return host.announced;
}

int __wrap_machine_create(struct machine **machine, const struct machine_config *config,
			  struct why *why)
{
	host.built = config->vm.memory_bytes;
	return why_set(why, -ENODEV, "the VM would be built");
}

static int start(void **state)
{
	struct service *service = NULL;
	struct why why = { "" };

	memset(&host, 0, sizeof(host));
	if (service_create(&service, "vm1", &why) || control_start(service->control))
		fail_msg("%s", why.text);
	*state = service;
	return 0;
}

static int end(void **state)
{
	struct service *service = *state;

	service->machine = NULL;
	service->job = NULL;
	service_destroy(service);
	return 0;
}

/* ---- `migrate`: the guest's policy ---- */

static json_t *migrate_args(bool allow)
{
	return json_pack("{s:s, s:b}", "address", "127.0.0.1:1", "allow-weak-policy", allow);
}

static void be_guest(struct service *service, bool sev, uint32_t policy)
{
	pthread_mutex_lock(&service->lock);
	service->machine = (void *)&nobody;
	service->policy = policy;
	host.sev = sev;
	pthread_mutex_unlock(&service->lock);
}

/* Past the check is another one: the guest does not run yet. */
static void a_weak_policy_is_not_sent(void **state)
{
	struct control_client *client = client_open();

	for (uint32_t policy = 0; policy < 64; policy++) {
		const char *weakness = sev_policy_weakness(policy);

		be_guest(*state, true, policy);
		call_refused(client, "migrate", migrate_args(false),
			     weakness ? CONTROL_WRONG_STATE : CONTROL_STARTING,
			     weakness ? weakness : "");
		call_refused(client, "migrate", migrate_args(true), CONTROL_STARTING, "");
	}
	control_client_close(client);
}

static void the_refusal_names_the_policy_and_the_way_out(void **state)
{
	struct control_client *client = client_open();

	be_guest(*state, true, SEV_POLICY_NODBG | SEV_POLICY_NOKS);
	call_refused(client, "migrate", migrate_args(false), CONTROL_WRONG_STATE, "NODBG|NOKS");
	call_refused(client, "migrate", migrate_args(false), CONTROL_WRONG_STATE,
		     "--allow-weak-policy");
	control_client_close(client);
}

static void a_plain_guest_has_no_policy(void **state)
{
	struct control_client *client = client_open();

	be_guest(*state, false, 0);
	call_refused(client, "migrate", migrate_args(false), CONTROL_STARTING, "");
	control_client_close(client);
}

/* ---- config_load(): what the source announced, and what this host permits ---- */

#define MIB (1ULL << 20)

/* What config_load() says of a VM with so much memory. */
static int load_config(struct service *service, uint64_t bytes, uint64_t max, char *text,
		       size_t text_bytes)
{
	const struct service_incoming incoming = { .memory_max = max };
	struct migrate_config *config = calloc(1, sizeof(*config));
	struct migrate_job job = { .listen_fd = -1 };
	uint8_t section[4096];
	ssize_t len;
	int err;

	assert_non_null(config);
	config->machine.vm.memory_bytes = bytes;
	config->machine.vm.cpus = 1;
	len = migrate_config_save(config, section, sizeof(section));
	assert_true(len > 0);
	free(config);
	service->incoming = &incoming;
	service->job = &job;
	if (!service->cpu)
		service->cpu = calloc(1, sizeof(*service->cpu));
	assert_non_null(service->cpu);
	host.built = 0;
	err = migrate_host_ops.config_load(service, section, (size_t)len, text, text_bytes);
	service->incoming = NULL;
	service->job = NULL;
	return err;
}

/* HELLO's size was authenticated and looked at: CONFIG's has to be the same. */
static void config_must_have_the_memory_that_hello_announced(void **state)
{
	static const uint64_t others[] = { 62 * MIB, 66 * MIB, 1ULL << 40 };
	char text[512];

	host.announced = 64 * MIB;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		char configures[32];

		snprintf(configures, sizeof(configures), "one with %llu",
			 (unsigned long long)others[i]);
		assert_int_equal(load_config(*state, others[i], 0, text, sizeof(text)), -EPROTO);
		assert_non_null(strstr(text, "67108864 bytes"));
		assert_non_null(strstr(text, configures));
		assert_int_equal(host.built, 0);
	}
	assert_int_equal(load_config(*state, 64 * MIB, 0, text, sizeof(text)), -ENODEV);
	assert_int_equal(host.built, 64 * MIB);
}

/* COMPAT was compared with --sev and with this host: CONFIG has to be of the same guest. */
static void config_must_be_of_the_guest_that_compat_described(void **state)
{
	struct service *service = *state;
	char text[512];

	host.announced = 64 * MIB;
	service->cpu = calloc(1, sizeof(*service->cpu));
	assert_non_null(service->cpu);
	service->cpu->sev = true;
	assert_int_equal(load_config(service, 64 * MIB, 0, text, sizeof(text)), -EINVAL);
	assert_non_null(strstr(text, "as encrypted and as plain"));
	assert_int_equal(host.built, 0);
	service->cpu->sev = false;
	assert_int_equal(load_config(service, 64 * MIB, 0, text, sizeof(text)), -ENODEV);
}

static void memory_max_is_a_limit(void **state)
{
	char text[512];

	host.announced = 64 * MIB;
	assert_int_equal(load_config(*state, 64 * MIB, 62 * MIB, text, sizeof(text)), -EPERM);
	assert_non_null(strstr(text, "--memory-max"));
	assert_int_equal(host.built, 0);
	assert_int_equal(load_config(*state, 64 * MIB, 64 * MIB, text, sizeof(text)), -ENODEV);
	assert_int_equal(host.built, 64 * MIB);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_weak_policy_is_not_sent),
		CASE(the_refusal_names_the_policy_and_the_way_out),
		CASE(a_plain_guest_has_no_policy),
		CASE(config_must_have_the_memory_that_hello_announced),
		CASE(config_must_be_of_the_guest_that_compat_described),
		CASE(memory_max_is_a_limit),
	};

	return control_rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
