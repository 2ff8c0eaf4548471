/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile source's description of the VM: its configuration and its CPUs, with any bytes in them.
 * What is accepted is within the limits of this host's machines, and is saved again as the same
 * bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/image.h"
#include "service/migrate_compat.h"
#include "service/migrate_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

static void take_config(const uint8_t *data, size_t size)
{
	static struct migrate_config config;
	static uint8_t again[65536];
	struct why why = { "" };
	ssize_t n;

	if (migrate_config_load(&config, data, size, &why)) {
		need(why.text[0], "a refusal without a reason");
		return;
	}
	need(config.machine.vm.cpus >= 1 && config.machine.vm.cpus <= LAUNCH_MAX_CPUS,
	     "a number of CPUs");
	need(config.machine.vm.memory_bytes % (2 << 20) == 0 && config.machine.vm.memory_bytes,
	     "an amount of memory");
	need(config.machine.ndisks <= MACHINE_MAX_DISKS && config.machine.nnets <= MACHINE_MAX_NETS,
	     "a number of devices");
	for (unsigned int i = 0; i < config.machine.ndisks; i++)
		need(config.machine.disks[i].path == config.disk_paths[i], "a path that is lent");
	n = migrate_config_save(&config, again, sizeof(again));
	need(n == (ssize_t)size && memcmp(again, data, size) == 0, "another configuration");
}

/* The first byte of what follows: how many of its entries this host shares. */
static void take_compat(const uint8_t *data, size_t size)
{
	static struct migrate_guest_cpu guest;
	static union guest_cpuid host;
	struct why why = { "" };
	uint8_t shared = size ? data[size - 1] : 0;

	if (migrate_compat_load(&guest, data, size, &why)) {
		need(why.text[0], "a refusal without a reason");
		return;
	}
	need(guest.cpuid.table.nent <= CPUID_MAX_ENTRIES, "a number of CPUID entries");
	host = guest.cpuid;
	need(migrate_compat_compare(&guest.cpuid, &host, &why) == 0,
	     "a host that is not like itself");
	host.table.nent = shared < host.table.nent ? shared : host.table.nent;
	why.text[0] = '\0';
	if (migrate_compat_compare(&guest.cpuid, &host, &why))
		need(why.text[0], "a refusal without a reason");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1)
		take_config(data + 1, size - 1);
	else
		take_compat(data + 1, size - 1);
	return 0;
}
