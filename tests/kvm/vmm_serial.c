/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's output on the serial port costs, by counts, on this machine's KVM. */
#include "tests/kvm/vmm_rig.h"

#include <errno.h>
#include <unistd.h>

#include "launch/device_layout.h"
#include "vmm/bus.h"
#include "vmm/devices/serial.h"

#define BYTES (16U << 10)
#define FIFO  16

static void fetch(void *vm)
{
	vm_take_coalesced(vm);
}

static uint64_t io_exits(struct vm *vm)
{
	uint64_t counts[VM_EXIT_KINDS];

	vm_exits(vm, 0, counts);
	return counts[VM_EXIT_IO];
}

static void read_all(int fd)
{
	char buf[4096];

	for (unsigned int at = 0; at < BYTES;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, at++)
			assert_int_equal(buf[i], at % 64 == 63 ? '\n' : 'a' + at % 64 % 26);
	}
}

/* The guest's bytes, to the last one, though no exit follows it; returns how many exits they were.
 */
static uint64_t print(bool collect)
{
	const uint64_t args[PAYLOAD_ARGS] = { BYTES };
	struct serial_stats stats;
	struct device *dev;
	struct vm *vm;
	uint64_t exits;
	int out[2], ret;

	assert_int_equal(pipe(out), 0);
	vm = rig_payload("TYPIST", 1, args);
	assert_int_equal(serial_create(&dev, vm_irq_line(vm, SERIAL_GSI), -1, out[1]), 0);
	assert_int_equal(bus_add(vm_bus(vm), BUS_PIO, SERIAL_PORT, SERIAL_PORTS, dev), 0);
	ret = collect ? vm_coalesce_port(vm, SERIAL_PORT) : 0;
	if (ret == -ENOSYS) {
		print_message("# SKIP this KVM collects no writes to ports\n");
		skip();
	}
	assert_int_equal(ret, 0);
	if (collect)
		serial_set_collected(dev, (struct serial_collected){ fetch, vm });
	vm_resume(vm);
	read_all(out[0]);
	exits = io_exits(vm);
	serial_get_stats(dev, &stats);
	assert_int_equal(stats.bytes, BYTES);
	assert_int_equal(stats.dropped, 0);
	print_message("# %s: a KiB is %llu exits and %llu writes\n",
		      collect ? "collected by KVM" : "one by one",
		      (unsigned long long)exits * 1024 / BYTES,
		      (unsigned long long)stats.writes * 1024 / BYTES);
	rig_tell_stop(vm);
	rig_end(vm);
	vm_destroy(vm);
	close(out[0]);
	close(out[1]);
	return exits;
}

static void a_byte_is_no_exit(void **state)
{
	(void)state;
	rig_need_kvm();
	/* The FIFO's register, and the line status once a FIFO's worth; the ring is never full. */
	assert_in_range(print(true), 2, BYTES / FIFO + 16);
}

static void without_kvms_help_each_byte_is_one(void **state)
{
	(void)state;
	rig_need_kvm();
	assert_true(print(false) >= BYTES + BYTES / FIFO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_byte_is_no_exit),
		cmocka_unit_test(without_kvms_help_each_byte_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
