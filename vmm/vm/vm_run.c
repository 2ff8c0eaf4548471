/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the launch to running, being paused, and running again.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/bus.h"
#include "launch/image.h"
#include "vmm/memory.h"
#include "vmm/vm/vm_private.h"

static int launch_encrypted(struct vm *vm, const struct launch_image *image, void *helper,
			    uint32_t policy, const struct sev_owner_start *owner,
			    uint8_t measurement[SEV_MEASUREMENT_BYTES], struct why *why)
{
	const struct launch_segment *segment;
	struct sev_error error = { 0 };
	unsigned int i;
	int err;

	err = sev_guest_launch_start(vm->sev, policy, owner, &error);
	for (i = 0; !err && (segment = launch_image_measured(image, i)); i++) {
		void *at = segment == &image->helper ?
				   helper :
				   guest_memory_hva(vm->memory, segment->gpa, segment->len);

		err = sev_guest_launch_update_data(vm->sev, at, segment->len, &error);
	}
	if (!err)
		err = sev_guest_launch_measure(vm->sev, measurement, &error);
	return err ? why_sev(why, err, &error) : 0;
}

int vm_launch(struct vm *vm, const struct launch_image *image, void *helper, uint32_t policy,
	      const struct sev_owner_start *owner, uint8_t measurement[SEV_MEASUREMENT_BYTES],
	      struct why *why)
{
	unsigned int i;
	int err;

	memset(measurement, 0, SEV_MEASUREMENT_BYTES);
	for (i = 0; i < image->nsegments; i++) {
		const struct launch_segment *segment = &image->segments[i];
		void *hva = guest_memory_hva(vm->memory, segment->gpa, segment->len);

		if (!hva)
			return why_set(why, -EINVAL, "the %s is not in the guest's memory",
				       segment->what);
		memcpy(hva, segment->bytes, segment->len);
	}
	if (image->helper.len)
		memcpy(helper, image->helper.bytes, image->helper.len);
	if (vm->sev) {
		err = launch_encrypted(vm, image, helper, policy, owner, measurement, why);
		if (err)
			return err;
	}
	if (image->entry.mode == LAUNCH_PAYLOAD) {
		err = payload_prepare(vm, &image->entry);
		if (err)
			return why_set(why, err,
				       "the payload's shared area is not in the guest's memory");
	}
	for (i = 0; i < vm->nvcpus; i++) {
		err = vcpu_setup(&vm->vcpus[i], &image->entry, why);
		if (err)
			return err;
	}
	return 0;
}

int vm_launch_secret(struct vm *vm, const struct sev_packet_header *header, const void *payload,
		     uint32_t bytes, uint64_t gpa, struct why *why)
{
	void *hva = guest_memory_hva(vm->memory, gpa, bytes);
	struct sev_error error = { 0 };
	int err;

	if (!vm->sev || !hva)
		return why_set(why, -EINVAL,
			       vm->sev ? "0x%llx is not the guest's memory" :
					 "the guest is not encrypted: it cannot get a secret at "
					 "0x%llx",
			       (unsigned long long)gpa);
	err = sev_guest_launch_secret(vm->sev, header, payload, bytes, hva, &error);
	return err ? why_sev(why, err, &error) : 0;
}

int vm_launch_finish(struct vm *vm, struct why *why)
{
	struct sev_error error = { 0 };
	int err = vm->sev ? sev_guest_launch_finish(vm->sev, &error) : 0;

	return err ? why_sev(why, err, &error) : 0;
}

/* Kick every vCPU if it is still to run. */
static void ask_to_pause(struct vm *vm)
{
	unsigned int i;

	if (vm->want != WANT_RUN)
		return;
	vm->want = WANT_PAUSE;
	for (i = 0; i < vm->nvcpus; i++)
		vcpu_kick(&vm->vcpus[i]);
	pthread_cond_broadcast(&vm->changed);
}

void vm_request_pause(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	ask_to_pause(vm);
	pthread_mutex_unlock(&vm->lock);
}

static unsigned int count_parked(const struct vm *vm)
{
	unsigned int i, n = 0;

	for (i = 0; i < vm->nvcpus; i++)
		n += vm->vcpus[i].parked || !vm->vcpus[i].thread_made;
	return n;
}

unsigned int vm_cpus_parked(struct vm *vm)
{
	unsigned int n;

	pthread_mutex_lock(&vm->lock);
	n = count_parked(vm);
	pthread_mutex_unlock(&vm->lock);
	return n;
}

int vm_start(struct vm *vm, struct why *why)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < vm->nvcpus; i++)
		err = vcpu_start(&vm->vcpus[i], why);
	pthread_mutex_lock(&vm->lock);
	while (vm->want == WANT_PAUSE && count_parked(vm) < vm->nvcpus)
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
	return err;
}

int vm_pause(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	ask_to_pause(vm);
	while (vm->want == WANT_PAUSE && count_parked(vm) < vm->nvcpus)
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
	if (vm->quiet)
		return 0;
	vm_take_coalesced(vm);
	vm->quiet = true;
	return bus_quiesce(vm->bus);
}

/*
 * The guest's watchdogs shall not take the pause for a hang (Linux Documentation/virt/kvm/api.rst,
 * 4.82); no clock page, no effect.
 */
static void tell_of_pause(struct vm *vm)
{
	unsigned int i;

	for (i = 0; i < vm->nvcpus; i++)
		ioctl(vm->vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
}

void vm_resume(struct vm *vm)
{
	if (vm->quiet) {
		tell_of_pause(vm);
		bus_resume(vm->bus);
	}
	vm->quiet = false;
	pthread_mutex_lock(&vm->lock);
	if (vm->want == WANT_PAUSE)
		vm->want = WANT_RUN;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

bool vm_paused(const struct vm *vm)
{
	return vm->quiet;
}
