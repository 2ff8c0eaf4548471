/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A session from its making to its end, and the helper that it runs in a mirror. */
#include "lib/seal/engine.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helper/layout.h"
#include "lib/mirror/mirror.h"
#include "lib/mirror/region.h"
#include "lib/util/page.h"

/*
 * Some microseconds each: batches wait for one another in both directions, and when CPUs are fewer
 * than lanes and vCPUs, a thread that polls takes the time of the one that it waits for. With four
 * batches on the way an exit to sleep comes once in hundreds of pages.
 */
#define HELPER_POLLS 200
#define HOST_POLLS   100

/* The first failure is the one that people should read. */
static void record(struct sevmirror_seal *seal, const struct why *why)
{
	pthread_mutex_lock(&seal->why_lock);
	if (seal->why.text[0] == '\0')
		seal->why = *why;
	pthread_mutex_unlock(&seal->why_lock);
}

static int fail(struct sevmirror_seal *seal, enum sevmirror_reason reason, int err,
		const char *format, va_list args)
{
	struct why why = { "" };
	char text[sizeof(why.text)];

	vsnprintf(text, sizeof(text), format, args);
	why_set(&why, err, "%s", text);
	if (reason)
		why.reason = reason;
	record(seal, &why);
	return err;
}

int seal_fail(struct sevmirror_seal *seal, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fail(seal, SEVMIRROR_REASON_NONE, err, format, args);
	va_end(args);
	return err;
}

int seal_fail_because(struct sevmirror_seal *seal, enum sevmirror_reason reason, int err,
		      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fail(seal, reason, err, format, args);
	va_end(args);
	return err;
}

int seal_fail_firmware(struct sevmirror_seal *seal, int err, const struct sev_error *error,
		       const char *what)
{
	struct why why = { "" };

	why_sev(&why, err, error);
	why_prefix(&why, "%s: ", what);
	record(seal, &why);
	return err;
}

static bool config_ok(const struct sevmirror_seal_config *config)
{
	return config->rings >= 1 && config->rings <= HELPER_VCPUS_MAX && config->lanes >= 1 &&
	       config->lanes <= SEAL_LANES_MAX && config->depth >= 1 &&
	       config->depth <= SEAL_DEPTH_MAX;
}

static int take_vm(struct sevmirror_seal *seal, const struct sevmirror_seal_vm *vm)
{
	int err = region_plan(&seal->plan, vm->ranges, vm->nranges, vm->cbit_mask);

	if (!err && vm->sev_fd >= 0)
		err = sev_guest_attach(&seal->sev, vm->vm_fd, vm->sev_fd);
	seal->vm = *vm;
	seal->has_vm = true;
	return err;
}

int sevmirror_seal_create(struct sevmirror_seal **out, const struct sevmirror_seal_vm *vm,
			  const struct sevmirror_seal_config *config)
{
	struct sevmirror_seal *seal;
	unsigned int i;
	int err = 0;

	*out = NULL;
	if (!config_ok(config) || (!vm && config->source))
		return -EINVAL;
	seal = calloc(1, sizeof(*seal));
	if (!seal)
		return -ENOMEM;
	seal->config = *config;
	seal->sev_fd = -1;
	pthread_mutex_init(&seal->why_lock, NULL);
	for (i = 0; i < HELPER_VCPUS_MAX; i++)
		ring_lock_init(&seal->ring[i].lock);
	if (vm)
		err = take_vm(seal, vm);
	if (err) {
		sevmirror_seal_destroy(seal);
		return err;
	}
	*out = seal;
	return 0;
}

void sevmirror_seal_destroy(struct sevmirror_seal *seal)
{
	unsigned int i;

	if (!seal)
		return;
	sevmirror_seal_abort(seal);
	sev_guest_destroy(seal->sev);
	if (seal->sev_fd >= 0)
		close(seal->sev_fd);
	for (i = 0; i < HELPER_VCPUS_MAX; i++)
		ring_lock_destroy(&seal->ring[i].lock);
	pthread_mutex_destroy(&seal->why_lock);
	free(seal);
}

uint64_t seal_commands(const struct sevmirror_seal *seal)
{
	return seal->platform_commands + (seal->sev ? sev_guest_commands(seal->sev) : 0);
}

const char *sevmirror_seal_why(struct sevmirror_seal *seal)
{
	bool failed;

	/*
	 * A text that is there stays, except for seal_take_why(), whose caller does not keep this
	 * pointer; an empty one may change, by a lane's failure.
	 */
	pthread_mutex_lock(&seal->why_lock);
	failed = seal->why.text[0] != '\0';
	pthread_mutex_unlock(&seal->why_lock);
	return failed ? seal->why.text : "";
}

bool seal_take_why(struct sevmirror_seal *seal, struct why *why)
{
	bool failed;

	pthread_mutex_lock(&seal->why_lock);
	failed = seal->why.text[0] != '\0';
	if (failed && why)
		*why = seal->why;
	why_clear(&seal->why);
	pthread_mutex_unlock(&seal->why_lock);
	return failed;
}

void sevmirror_seal_cancel(struct sevmirror_seal *seal)
{
	atomic_store(&seal->cancelled, true);
}

void sevmirror_seal_session(const struct sevmirror_seal *seal, uint8_t session[16])
{
	memcpy(session, seal->session, sizeof(seal->session));
}

struct seal_blob seal_blob_head(enum seal_blob_type type, size_t bytes)
{
	return (struct seal_blob){
		.magic = SEAL_MAGIC, .version = SEAL_VERSION, .type = (uint16_t)type, .bytes = bytes
	};
}

int seal_read_head(struct sevmirror_seal *seal, const void *bytes, size_t len,
		   enum seal_blob_type type, void *head, size_t head_bytes)
{
	static const char *const names[] = { [SEAL_OFFER] = "offer",
					     [SEAL_CORE] = "core",
					     [SEAL_DATA] = "sealed data",
					     [SEAL_MANIFEST] = "manifest",
					     [SEAL_EPOCHS] = "epoch table" };
	struct seal_blob blob;

	if (len < sizeof(blob))
		return seal_fail(seal, -EPROTO, "the %s is cut off", names[type]);
	memcpy(&blob, bytes, sizeof(blob));
	if (blob.magic != SEAL_MAGIC || blob.type != type)
		return seal_fail(seal, -EPROTO,
				 "the received data is not a %s of a sealing "
				 "session",
				 names[type]);
	if (blob.version != SEAL_VERSION)
		return seal_fail(seal, -EPROTO,
				 "the %s has version %u, this host knows version %u: install the "
				 "same sevmirror",
				 names[type], blob.version, SEAL_VERSION);
	if (blob.bytes != len || len < head_bytes)
		return seal_fail(seal, -EPROTO, "the %s has %zu bytes, which is not its length",
				 names[type], len);
	memcpy(head, &blob, sizeof(blob));
	memcpy((uint8_t *)head + sizeof(blob), (const uint8_t *)bytes + sizeof(blob),
	       head_bytes - sizeof(blob));
	return 0;
}

/* Of each ring: an argument page, one batch of data, and the slots of its lanes. */
static uint32_t ring_pages(const struct sevmirror_seal *seal)
{
	uint32_t lanes = (seal->config.lanes + seal->nrings - 1) / seal->nrings;

	return 1 + SEAL_SLOT_PAGES + lanes * seal->config.depth * SEAL_SLOT_PAGES;
}

uint32_t seal_data_page(const struct sevmirror_seal *seal)
{
	uint32_t npages;

	return rings_data(seal->rings, 0, &npages) + 1;
}

static void place_slots(struct sevmirror_seal *seal)
{
	unsigned int lane, slot;
	uint32_t npages;

	for (lane = 0; lane < seal->config.lanes; lane++)
		for (slot = 0; slot < seal->config.depth; slot++)
			seal->job[lane][slot] = (struct seal_job){
				.page = rings_data(seal->rings, lane % seal->nrings, &npages) + 1 +
					SEAL_SLOT_PAGES +
					(lane / seal->nrings * seal->config.depth + slot) *
						SEAL_SLOT_PAGES
			};
}

int seal_start_helper(struct sevmirror_seal *seal, unsigned int nrings)
{
	struct rings_config config = {
		.kvm_fd = seal->vm.kvm_fd,
		.primary_fd = seal->sev ? seal->vm.vm_fd : -1,
		.plan = &seal->plan,
		.region_fd = seal->vm.helper.fd,
		.region_offset = seal->vm.helper.offset,
		.ram = seal->vm.ranges,
		.nram = seal->vm.nranges,
		.nrings = nrings,
		.thread_begins = seal->config.thread_begins,
		.thread_opaque = seal->config.opaque,
	};
	struct why why = { "" };
	unsigned int i;
	int err;

	seal->nrings = nrings;
	config.data_pages = ring_pages(seal);
	for (i = 0; i < nrings; i++)
		seal->ring[i].head = seal->ring[i].tail = 0;
	err = rings_create(&seal->rings, &config, &why);
	if (err)
		return seal_fail_because(seal, SEVMIRROR_REASON_HELPER, err,
					 "the Migration Helper cannot start on the %s: %s",
					 seal->config.source ? "source" : "target",
					 why.text[0] ? why.text : strerror(-err));
	rings_spin(seal->rings, HELPER_POLLS, HOST_POLLS);
	place_slots(seal);
	return 0;
}

int seal_need(struct sevmirror_seal *seal, bool source)
{
	if (!seal->rings)
		return seal_fail(seal, -EPERM, "the session has no helper that runs");
	return seal->config.source == source ?
		       0 :
		       seal_fail(seal, -EPERM, "this side of the session %s",
				 seal->config.source ? "only seals" : "only opens");
}

int seal_take_blob(struct sevmirror_seal *seal, const void *bytes, size_t len,
		   enum seal_blob_type type, void *head, size_t head_bytes)
{
	int err = seal_need(seal, false);

	return err ? err : seal_read_head(seal, bytes, len, type, head, head_bytes);
}

/*
 * A helper that is dead, or does not answer, has not wiped its keys. Without SEV the host can: the
 * key page, and what the helper fills again at its start. With SEV nobody but the helper can read
 * them, and the next session begins by wiping.
 */
static void wipe_for_helper(struct sevmirror_seal *seal)
{
	uint8_t *region = seal->vm.helper.hva;
	unsigned int i;

	for (i = 0; i < rings_count(seal->rings); i++)
		mirror_vcpu_stop(rings_mirror(seal->rings), i);
	explicit_bzero(region + HELPER_CORE_KEYS * PAGE_BYTES, PAGE_BYTES);
	explicit_bzero(region + seal->plan.core_bytes, seal->plan.bytes - seal->plan.core_bytes);
}

void seal_stop_helper(struct sevmirror_seal *seal)
{
	if (!seal->rings)
		return;
	/* After a failure batches may be pending and this fails. */
	if (rings_session_wipe(seal->rings) && !seal->sev)
		wipe_for_helper(seal);
	rings_destroy(seal->rings);
	seal->rings = NULL;
}

int sevmirror_seal_commit(struct sevmirror_seal *seal)
{
	struct sev_error error;
	int err = 0;

	if (seal->over)
		return seal_fail(seal, -EPERM, "the session has ended");
	if (seal->sending)
		err = sev_guest_send_finish(seal->sev, &error);
	if (err)
		seal_fail_firmware(
			seal, err, &error,
			"the source's secure processor did not finish sending the guest");
	seal->sending = false;
	seal->over = true;
	seal_stop_helper(seal);
	return err ? 1 : 0;
}

void seal_stop_sending(struct sevmirror_seal *seal)
{
	struct sev_error error;

	/*
	 * Also when SEND_START failed: then the firmware says INVALID_GUEST_STATE, and the guest is
	 * where it should be.
	 */
	if (seal->sending)
		(void)sev_guest_send_cancel(seal->sev, &error);
	seal->sending = false;
}

void sevmirror_seal_abort(struct sevmirror_seal *seal)
{
	if (seal->over)
		return;
	seal_stop_sending(seal);
	seal->over = true;
	seal_stop_helper(seal);
}
