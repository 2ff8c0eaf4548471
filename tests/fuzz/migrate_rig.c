/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/migrate_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int memory = -1;
static uint8_t *primary; /* the VM's mapping */
static uint8_t *mirror; /* the helper's */

static void map_memory(void)
{
	if (memory >= 0)
		return;
	memory = memfd_create("rig", MFD_CLOEXEC);
	if (memory < 0 || ftruncate(memory, RIG_RAM_BYTES))
		abort();
	primary = mmap(NULL, RIG_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	mirror = mmap(NULL, RIG_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (primary == MAP_FAILED || mirror == MAP_FAILED)
		abort();
}

uint8_t *rig_ram(void)
{
	return mirror;
}

void rig_need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

void rig_reset(struct rig *rig, const uint8_t *answers, size_t nanswers)
{
	map_memory();
	memset(rig, 0, sizeof(*rig));
	rig->answers = answers;
	rig->nanswers = nanswers;
	rig_helper_reset(rig);
}

uint8_t rig_byte(struct rig_bytes *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

size_t rig_take(struct rig_bytes *in, void *out, size_t max)
{
	size_t len = rig_byte(in);

	len = len > max ? max : len;
	len = len > in->left ? in->left : len;
	if (len)
		memcpy(out, in->data, len);
	in->data += len;
	in->left -= len;
	return len;
}

/* ---- the guest ---- */

/* As a vCPU does: in post-copy this waits until the page is there. True if it continued without. */
static bool touch(uint16_t gfn)
{
	if (!gfn)
		return false;
	(void)*(volatile uint8_t *)(primary + gfn % RIG_PAGES * SEVMIRROR_PAGE_BYTES);
	return rig_lacks(gfn % RIG_PAGES);
}

static void *run_vcpu(void *arg)
{
	struct rig *rig = arg;

	for (unsigned int i = 2; i < RIG_TOUCHES; i++)
		if (touch(rig->touches[i]))
			rig->guest_blind = true;
	return NULL;
}

void rig_end(struct rig *rig)
{
	if (rig->vcpu_runs)
		pthread_join(rig->vcpu, NULL);
	rig->vcpu_runs = false;
}

/* ---- what the engine asks of the VMM ---- */

static uint8_t core[RIG_CORE_PAGES * SEVMIRROR_PAGE_BYTES];

static int op_describe(void *opaque, struct sevmirror_vm *vm)
{
	*vm = (struct sevmirror_vm){
		.name = "rig",
		.kvm_fd = -1,
		.vm_fd = -1,
		.sev_fd = -1,
		.helper = { .fd = -1, .hva = core },
		.nranges = 1,
		.ranges = { { .bytes = RIG_RAM_BYTES, .fd = memory, .hva = primary } }
	};
	return 0;
}

static ssize_t op_save(void *opaque, void *buf, size_t max)
{
	memcpy(buf, "rig", 3);
	return 3;
}

static int op_check(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	if (len && *(const uint8_t *)buf == 'r')
		return 0;
	snprintf(why, max, "refused");
	return -EINVAL;
}

static int op_config_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct rig *rig = opaque;

	rig->built++;
	return op_check(opaque, buf, len, why, max);
}

static int op_state_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct rig *rig = opaque;

	rig->loaded++;
	rig->load_blind = touch(rig->touches[0]);
	return op_check(opaque, buf, len, why, max);
}

static int op_dirty_start(void *opaque)
{
	return 0;
}

static int op_dirty_fetch(void *opaque, uint64_t *bitmap, size_t npages)
{
	bitmap[0] |= rig_next_answer(0);
	return 0;
}

static void op_dirty_stop(void *opaque)
{
}

static int op_pause(void *opaque)
{
	((struct rig *)opaque)->paused++;
	return 0;
}

static int op_resume(void *opaque)
{
	struct rig *rig = opaque;

	if (rig->refuses)
		return -EIO;
	rig->resumed++;
	if (touch(rig->touches[1]))
		rig->guest_blind = true;
	if (rig->touches[2]) {
		if (pthread_create(&rig->vcpu, NULL, run_vcpu, rig))
			abort();
		rig->vcpu_runs = true;
	}
	return 0;
}

static void op_request_pause(void *opaque)
{
}

static void op_throttle(void *opaque, unsigned int percent)
{
	((struct rig *)opaque)->throttle = percent;
}

static int op_disks_release(void *opaque)
{
	((struct rig *)opaque)->released++;
	return 0;
}

static int op_disks_acquire(void *opaque, char *why, size_t max)
{
	((struct rig *)opaque)->acquired++;
	return 0;
}

static void op_handed_over(void *opaque)
{
	((struct rig *)opaque)->handed_over++;
}

static void op_progress(void *opaque, const struct sevmirror_progress *progress)
{
	struct rig *rig = opaque;

	if (rig->progress)
		rig->progress(rig->progress_opaque, progress->phase);
}

const struct sevmirror_host_ops rig_ops = {
	.describe = op_describe,
	.config_save = op_save,
	.config_load = op_config_load,
	.compat_save = op_save,
	.compat_check = op_check,
	.dirty_start = op_dirty_start,
	.dirty_fetch = op_dirty_fetch,
	.dirty_stop = op_dirty_stop,
	.pause = op_pause,
	.resume = op_resume,
	.request_pause = op_request_pause,
	.throttle = op_throttle,
	.state_save = op_save,
	.state_load = op_state_load,
	.disks_release = op_disks_release,
	.disks_acquire = op_disks_acquire,
	.handed_over = op_handed_over,
	.progress = op_progress,
};
