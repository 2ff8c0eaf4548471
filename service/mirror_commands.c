/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mirrors that other processes make of this VM: what they get for it, and what a migration must
 * know of them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/mirror/link.h"
#include "service/service_private.h"
#include "vmm/memory.h"

/*
 * How long a migration waits for the other process. Generous: it answers at once unless somebody
 * has stopped it.
 */
#define ANSWER_MS 5000

bool service_mirror_attached(const struct service *s)
{
	return s->mirror && !mirror_link_ended(s->mirror);
}

/* With the lock. */
static int check_attach(struct service *s, struct control_error *err)
{
	int ret = service_permit(s, SERVICE_MAY_ATTACH, err);

	if (ret)
		return ret;
	if (!machine_config(s->machine)->workload.bytes)
		return control_fail(
			err, -EOPNOTSUPP, CONTROL_UNSUPPORTED,
			"the guest was launched without a --mirror-payload, so a mirror has "
			"nothing to run");
	if (service_mirror_attached(s))
		return control_fail(err, -EBUSY, CONTROL_WRONG_STATE,
				    "a mirror is attached to the VM already, and only one can be");
	return 0;
}

/* With the lock. */
static void make_offer(const struct service *s, struct mirror_offer *offer)
{
	const struct vm *vm = machine_vm(s->machine);

	*offer = (struct mirror_offer){
		.primary_fd = vm_sev(vm) ? vm_fd(vm) : -1,
		.cbit_mask = vm_c_mask(vm),
		.region_fd = -1, /* a workload has no business there */
		.workload = machine_config(s->machine)->workload,
		.dirty_fd = -1,
	};
	offer->nram = guest_memory_ranges(vm_memory(vm), offer->ram);
}

/* With the lock. */
static int attach(struct service *s, struct control_call *call, struct control_error *err)
{
	const struct workload_plan *workload = &machine_config(s->machine)->workload;
	struct mirror_offer offer;
	int peer, ret;

	service_mirror_close(s);
	make_offer(s, &offer);
	ret = mirror_link_open(&s->mirror, &offer, &peer);
	if (ret)
		return control_fail(err, ret, CONTROL_FAILED,
				    "cannot create the mirror's socket: %s", strerror(-ret));
	ret = control_reply_fd(call, peer);
	close(peer);
	if (!ret)
		call->ret = json_pack("{s:s, s:b, s:b}", "workload", workload->name,
				      "writes-memory", workload->writes_memory, "sev",
				      vm_sev(machine_vm(s->machine)) != NULL);
	return ret || call->ret ? ret : -ENOMEM;
}

static int run_attach(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = check_attach(s, err);
	if (!ret)
		ret = attach(s, call, err);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static int said(int err, const char *what)
{
	if (err)
		fprintf(stderr,
			"sevmirror: the attached mirror, which may write to the guest's "
			"memory, does not %s: %s\r\n",
			what, strerror(-err));
	return err;
}

int service_mirror_fetch(struct service *s, uint64_t *bitmap, size_t npages)
{
	return s->mirror ? said(mirror_link_fetch(s->mirror, bitmap, npages, ANSWER_MS),
				"say what it wrote") :
			   0;
}

int service_mirror_stop(struct service *s)
{
	return s->mirror ? said(mirror_link_stop(s->mirror, ANSWER_MS), "stop") : 0;
}

void service_mirror_forget(struct service *s)
{
	if (s->mirror && mirror_link_ended(s->mirror))
		service_mirror_close(s);
}

void service_mirror_close(struct service *s)
{
	mirror_link_close(s->mirror);
	s->mirror = NULL;
}

const struct control_command mirror_commands[] = {
	{ "mirror-attach",
	  "Let another process run the guest's workload in a mirror. The reply carries a socket, "
	  "and through it comes an offer (lib/mirror/link.h). The mirror ends when that socket is "
	  "closed.",
	  "{workload, writes-memory, sev}, a descriptor", NULL, run_attach },
	{ 0 },
};
