/* SPDX-License-Identifier: Apache-2.0 */
#include "service/migrate_config.h"

#include <errno.h>
#include <string.h>

#include "vmm/state_bytes.h"

#define CONFIG_MAGIC   0x434d5653u /* "SVMC" */
#define CONFIG_VERSION 3
#define MEMORY_UNIT    (2ULL << 20)
#define MEMORY_MAX     (1ULL << 40)

static void put_text(struct state_writer *w, const char *text)
{
	size_t len = strlen(text);

	state_put16(w, (uint16_t)len);
	state_put(w, text, len);
}

/* False: too long, empty, or with a NUL in it. */
static bool get_text(struct state_reader *r, char *text, size_t max)
{
	size_t len = state_get16(r);

	if (r->overflow || !len || len >= max)
		return false;
	state_get(r, text, len);
	text[len] = '\0';
	return !r->overflow && strlen(text) == len;
}

static void put_workload(struct state_writer *w, const struct workload_plan *plan)
{
	state_put64(w, plan->gpa);
	state_put64(w, plan->bytes);
	state_put64(w, plan->cr3);
	state_put64(w, plan->rip);
	state_put8(w, plan->writes_memory);
	state_put(w, plan->name, sizeof(plan->name));
}

static void get_workload(struct state_reader *r, struct workload_plan *plan)
{
	plan->gpa = state_get64(r);
	plan->bytes = state_get64(r);
	plan->cr3 = state_get64(r);
	plan->rip = state_get64(r);
	plan->writes_memory = state_get_bool(r);
	state_get(r, plan->name, sizeof(plan->name));
}

ssize_t migrate_config_save(const struct migrate_config *config, void *buf, size_t max)
{
	const struct machine_config *m = &config->machine;
	struct state_writer w = { .buf = buf, .max = max };
	unsigned int i;

	state_put32(&w, CONFIG_MAGIC);
	state_put32(&w, CONFIG_VERSION);
	state_put64(&w, m->vm.memory_bytes);
	state_put32(&w, m->vm.cpus);
	state_put8(&w, m->vm.sev);
	state_put8(&w, m->vm.payload);
	state_put32(&w, config->policy);
	put_workload(&w, &m->workload);
	state_put8(&w, (uint8_t)m->ndisks);
	for (i = 0; i < m->ndisks; i++) {
		state_put8(&w, m->disks[i].read_only);
		state_put64(&w, m->disks[i].bytes);
		put_text(&w, m->disks[i].path);
	}
	state_put8(&w, (uint8_t)m->nnets);
	for (i = 0; i < m->nnets; i++) {
		state_put(&w, m->nets[i].mac, sizeof(m->nets[i].mac));
		put_text(&w, m->nets[i].tap);
	}
	return state_written(&w);
}

static bool load_devices(struct migrate_config *config, struct state_reader *r)
{
	struct machine_config *m = &config->machine;
	unsigned int i;

	m->ndisks = state_get8(r);
	if (m->ndisks > MACHINE_MAX_DISKS)
		return false;
	for (i = 0; i < m->ndisks; i++) {
		m->disks[i].read_only = state_get_bool(r);
		m->disks[i].bytes = state_get64(r);
		if (!get_text(r, config->disk_paths[i], sizeof(config->disk_paths[i])))
			return false;
		m->disks[i].path = config->disk_paths[i];
	}
	m->nnets = state_get8(r);
	if (m->nnets > MACHINE_MAX_NETS)
		return false;
	for (i = 0; i < m->nnets; i++) {
		state_get(r, m->nets[i].mac, sizeof(m->nets[i].mac));
		if (!get_text(r, config->taps[i], sizeof(config->taps[i])))
			return false;
		m->nets[i].tap = config->taps[i];
	}
	return true;
}

int migrate_config_load(struct migrate_config *config, const void *buf, size_t len, struct why *why)
{
	struct state_reader r = { .buf = buf, .len = len };
	struct vm_config *vm = &config->machine.vm;
	uint32_t magic = state_get32(&r), version = state_get32(&r);

	memset(config, 0, sizeof(*config));
	if (r.overflow || magic != CONFIG_MAGIC)
		return why_set(why, -EINVAL, "the VM's configuration is malformed: no magic");
	if (version != CONFIG_VERSION)
		return why_set(why, -EINVAL,
			       "the VM's configuration has version %u, and the target knows "
			       "version %u: install the same sevmirror on both",
			       version, CONFIG_VERSION);
	vm->memory_bytes = state_get64(&r);
	vm->cpus = state_get32(&r);
	vm->sev = state_get_bool(&r);
	vm->payload = state_get_bool(&r);
	config->policy = state_get32(&r);
	get_workload(&r, &config->machine.workload);
	if (!load_devices(config, &r) || !state_complete(&r))
		return why_set(why, -EINVAL, "the VM's configuration is malformed");
	if (!vm->memory_bytes || vm->memory_bytes % MEMORY_UNIT || vm->memory_bytes > MEMORY_MAX ||
	    !vm->cpus || vm->cpus > LAUNCH_MAX_CPUS)
		return why_set(why, -EINVAL, "a VM cannot have %u CPUs and %llu bytes of memory",
			       vm->cpus, (unsigned long long)vm->memory_bytes);
	return 0;
}
