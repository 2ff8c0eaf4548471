/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted and measured of a VM, for the control socket (docs/control.md lists it). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sevmirror/pagemap.h>

#include "control/metrics.h"
#include "lib/util/clock.h"
#include "vmm/devices/virtio_blk.h"
#include "vmm/devices/virtio_net.h"
#include "service/service_private.h"
#include "vmm/memory.h"

static const char *digits(unsigned int n, char text[12])
{
	snprintf(text, 12, "%u", n);
	return text;
}

static void one_count(struct metrics *m, const char *name, const char *help, uint64_t count)
{
	metrics_family(m, METRIC_COUNTER, name, help);
	metrics_count(m, NULL, NULL, count);
}

static void one_gauge(struct metrics *m, const char *name, const char *help, double value)
{
	metrics_family(m, METRIC_GAUGE, name, help);
	metrics_measure(m, NULL, NULL, value);
}

static void add_state(struct metrics *m, struct service *s)
{
	enum client_state state = service_look(s).client;

	metrics_family(m, METRIC_GAUGE, "sevmirror_info", "Version of sevmirror; always 1.");
	metrics_count2(m, "name", s->name, "version", SEVMIRROR_VERSION, 1);
	metrics_family(m, METRIC_GAUGE, "sevmirror_vm_state",
		       "1 for the state that the VM is in, 0 for the others.");
	for (int i = 0; i < CLIENT_STATES; i++)
		metrics_count(m, "state", client_state_name((enum client_state)i),
			      (enum client_state)i == state);
	one_gauge(m, "sevmirror_vm_uptime_seconds",
		  "Time since the guest began to run on this "
		  "host.",
		  service_uptime(s));
}

static void add_memory(struct metrics *m, const struct vm *vm)
{
	uint64_t bytes = guest_memory_bytes(vm_memory(vm)), shared = bytes;

	one_gauge(m, "sevmirror_vm_memory_bytes", "Guest memory.", (double)bytes);
	if (vm_sev(vm))
		shared = sev_pagemap_count_shared(vm_pagemap(vm)) * SEVMIRROR_PAGE_BYTES;
	one_gauge(m, "sevmirror_vm_shared_memory_bytes",
		  "Guest memory that the host can read: all of it without SEV.", (double)shared);
	one_gauge(m, "sevmirror_vm_encrypted", "1 for an SEV guest.", vm_sev(vm) != NULL);
}

static void add_cpus(struct metrics *m, const struct vm *vm)
{
	one_gauge(m, "sevmirror_vm_vcpus", "Virtual CPUs.", vm_cpus(vm));
	metrics_family(m, METRIC_COUNTER, "sevmirror_vcpu_exits_total",
		       "Exits of the vCPU from the guest to user space.");
	for (unsigned int cpu = 0; cpu < vm_cpus(vm); cpu++) {
		uint64_t counts[VM_EXIT_KINDS];
		char text[12];

		vm_exits(vm, cpu, counts);
		for (int kind = 0; kind < VM_EXIT_KINDS; kind++)
			metrics_count2(m, "vcpu", digits(cpu, text), "reason",
				       vm_exit_name((enum vm_exit_kind)kind), counts[kind]);
	}
}

/* One number of each disk or network card: where it is in its struct of statistics. */
struct device_family {
	const char *name, *help;
	size_t offset;
};

static const struct device_family disk_families[] = {
	{ "sevmirror_disk_reads_total", "Read requests of the guest.",
	  offsetof(struct virtio_blk_stats, reads) },
	{ "sevmirror_disk_writes_total", "Write requests of the guest.",
	  offsetof(struct virtio_blk_stats, writes) },
	{ "sevmirror_disk_flushes_total", "Flush requests of the guest.",
	  offsetof(struct virtio_blk_stats, flushes) },
	{ "sevmirror_disk_read_bytes_total", "Bytes that the guest has read.",
	  offsetof(struct virtio_blk_stats, bytes_read) },
	{ "sevmirror_disk_written_bytes_total", "Bytes that the guest has written.",
	  offsetof(struct virtio_blk_stats, bytes_written) },
	{ "sevmirror_disk_errors_total", "Requests that this host could not fulfil.",
	  offsetof(struct virtio_blk_stats, errors) },
};

static const struct device_family net_families[] = {
	{ "sevmirror_network_receive_packets_total", "Frames to the guest.",
	  offsetof(struct virtio_net_stats, rx_packets) },
	{ "sevmirror_network_receive_bytes_total", "Bytes of frames to the guest.",
	  offsetof(struct virtio_net_stats, rx_bytes) },
	{ "sevmirror_network_receive_drop_total",
	  "Frames to the guest that its buffer was too short for.",
	  offsetof(struct virtio_net_stats, rx_dropped) },
	{ "sevmirror_network_transmit_packets_total", "Frames from the guest.",
	  offsetof(struct virtio_net_stats, tx_packets) },
	{ "sevmirror_network_transmit_bytes_total", "Bytes of frames from the guest.",
	  offsetof(struct virtio_net_stats, tx_bytes) },
	{ "sevmirror_network_transmit_drop_total",
	  "Invalid frames from the guest, and frames that the interface refused.",
	  offsetof(struct virtio_net_stats, tx_dropped) },
};

static uint64_t number_at(const void *stats, size_t offset)
{
	uint64_t number;

	memcpy(&number, (const char *)stats + offset, sizeof(number));
	return number;
}

static void add_disks(struct metrics *m, struct machine *machine)
{
	struct virtio_blk_stats stats[MACHINE_MAX_DISKS];
	unsigned int n = machine_disk_stats(machine, stats);
	char text[12];

	for (size_t f = 0; n && f < sizeof(disk_families) / sizeof(*disk_families); f++) {
		metrics_family(m, METRIC_COUNTER, disk_families[f].name, disk_families[f].help);
		for (unsigned int i = 0; i < n; i++)
			metrics_count(m, "disk", digits(i, text),
				      number_at(&stats[i], disk_families[f].offset));
	}
}

static void add_nets(struct metrics *m, struct machine *machine)
{
	struct virtio_net_stats stats[MACHINE_MAX_NETS];
	unsigned int n = machine_net_stats(machine, stats);
	char text[12];

	for (size_t f = 0; n && f < sizeof(net_families) / sizeof(*net_families); f++) {
		metrics_family(m, METRIC_COUNTER, net_families[f].name, net_families[f].help);
		for (unsigned int i = 0; i < n; i++)
			metrics_count(m, "network", digits(i, text),
				      number_at(&stats[i], net_families[f].offset));
	}
}

static void add_console(struct metrics *m, struct machine *machine)
{
	struct virtio_console_stats hvc;
	struct serial_stats serial;

	if (!machine_console_stats(machine, &serial, &hvc))
		return;
	metrics_family(m, METRIC_COUNTER, "sevmirror_console_bytes_total",
		       "Bytes that the guest has printed.");
	metrics_count(m, "device", "serial", serial.bytes);
	metrics_count(m, "device", "virtio", hvc.bytes);
	metrics_family(m, METRIC_COUNTER, "sevmirror_console_writes_total",
		       "System calls that wrote the output.");
	metrics_count(m, "device", "serial", serial.writes);
	metrics_count(m, "device", "virtio", hvc.writes);
	metrics_family(m, METRIC_COUNTER, "sevmirror_console_dropped_bytes_total",
		       "Bytes that were lost because no program on this host reads them.");
	metrics_count(m, "device", "serial", serial.dropped);
	metrics_count(m, "device", "virtio", hvc.dropped);
	one_count(m, "sevmirror_serial_interrupts_total", "Interrupts of the serial port.",
		  serial.interrupts);
}

/* "none" before the first migration. */
static void add_phase(struct metrics *m, const struct service *s)
{
	metrics_family(m, METRIC_GAUGE, "sevmirror_migration_phase",
		       "1 for the phase that the migration under way, or the last one, is in.");
	for (enum sevmirror_phase i = 0; i < SEVMIRROR_PHASES; i++)
		metrics_count(m, "phase", sevmirror_phase_name(i), i == s->progress.phase);
}

static void add_progress(struct metrics *m, const struct service *s)
{
	const struct sevmirror_progress *p = &s->progress;

	add_phase(m, s);
	one_gauge(m, "sevmirror_migration_round",
		  "Number of the round over memory, from "
		  "1.",
		  p->round);
	one_gauge(m, "sevmirror_migration_left_bytes", "Memory that is still to be sent.",
		  (double)(p->pages_left * SEVMIRROR_PAGE_BYTES));
	one_gauge(m, "sevmirror_migration_rate_bytes_per_second",
		  "Bytes per second that are "
		  "sent.",
		  (double)p->rate);
	one_gauge(m, "sevmirror_migration_dirty_rate_bytes_per_second",
		  "Memory that the guest wrote per second in the last full "
		  "round.",
		  (double)p->dirty_rate);
	one_gauge(m, "sevmirror_migration_expected_downtime_seconds",
		  "Downtime if the guest had been stopped after the last full round.",
		  (double)p->expected_downtime / NS_PER_S);
	one_gauge(m, "sevmirror_migration_throttle_ratio",
		  "Share of time that throttling takes "
		  "from the vCPUs, 0 to 1.",
		  p->throttle / 100.0);
}

/*
 * With what the migration under way has done so far; one that is recovered continues where it was,
 * so the counter does not fall.
 */
static uint64_t so_far(const struct service *s, uint64_t total, uint64_t before, uint64_t now)
{
	return service_state_migrates(s->state) && before + now > total ? before + now : total;
}

/* Over all migrations of this process; the one under way as far as it says. */
static void add_totals(struct metrics *m, const struct service *s)
{
	const struct migrate_totals *t = &s->totals;
	const struct migrate_totals *b = &s->before;
	const struct sevmirror_progress *p = &s->progress;

	metrics_family(m, METRIC_COUNTER, "sevmirror_migrations_total", "Migrations by outcome.");
	for (int i = 0; i < SERVICE_RESULTS; i++)
		metrics_count(m, "outcome", service_result_name((enum service_result)i),
			      t->results[i]);
	one_count(m, "sevmirror_migration_sent_bytes_total", "Bytes on the wire.",
		  so_far(s, t->bytes, b->bytes, p->bytes_sent));
	one_count(m, "sevmirror_migration_sent_pages_total", "Pages on the wire.",
		  so_far(s, t->pages, b->pages, p->pages_sent));
	one_count(m, "sevmirror_migration_resent_pages_total",
		  "Pages that were sent again because the guest wrote them.",
		  so_far(s, t->pages_resent, b->pages_resent, p->pages_resent));
	one_count(m, "sevmirror_migration_psp_commands_total",
		  "Commands to the secure processor, of migrations that have ended.",
		  t->psp_commands);
	one_count(m, "sevmirror_migration_helper_exits_total",
		  "Exits of the Migration Helper, of migrations that have ended.", t->helper_exits);
	one_count(m, "sevmirror_migration_postcopy_faults_total",
		  "Accesses of the guest that waited for a page in post-copy.",
		  so_far(s, t->faults, b->faults, p->faults));
	one_count(m, "sevmirror_migration_recoveries_total",
		  "Connections after the first in post-copy, of migrations that have ended.",
		  t->recoveries);
}

static void add_last(struct metrics *m, const struct service *s)
{
	one_gauge(m, "sevmirror_migration_last_duration_seconds",
		  "Total time of the last migration that has ended.",
		  (double)s->summary.total_time / NS_PER_S);
	one_gauge(m, "sevmirror_migration_last_downtime_seconds",
		  "Downtime of the guest in the last migration that has "
		  "ended.",
		  (double)s->summary.downtime / NS_PER_S);
	one_gauge(m, "sevmirror_migration_last_postcopy_fault_p95_seconds",
		  "95th percentile of the waits for a page in the last migration that has ended.",
		  (double)s->summary.postcopy.fault_p95 / NS_PER_S);
}

/* As metrics_finish() gives it; NULL: out of memory. Any thread, without the lock. */
static json_t *collect(struct service *s)
{
	struct metrics *m = metrics_create();

	if (!m)
		return NULL;
	pthread_mutex_lock(&s->lock);
	add_state(m, s);
	if (s->machine) {
		add_memory(m, machine_vm(s->machine));
		add_cpus(m, machine_vm(s->machine));
		add_disks(m, s->machine);
		add_nets(m, s->machine);
		add_console(m, s->machine);
	}
	add_progress(m, s);
	add_totals(m, s);
	add_last(m, s);
	pthread_mutex_unlock(&s->lock);
	return metrics_finish(m);
}

static int run_query(void *opaque, struct control_call *call, struct control_error *err)
{
	call->ret = collect(opaque);
	return call->ret ? 0 : -ENOMEM;
}

const struct control_command metrics_commands[] = {
	{ "query-metrics", "Counters and gauges; `sevmirror exporter` has them for Prometheus.",
	  "{version, metrics: [{name, type (counter, gauge), help, samples: [{labels, value}]}]}",
	  NULL, run_query },
	{ 0 },
};
