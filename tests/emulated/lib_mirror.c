/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Migration Helper in SEV guests, on a real kernel: its core launched and measured, the mirror
 * made of the running guest, the session carried by the secure processor, pages sealed in one guest
 * and opened in another. usage: lib_mirror [--hold FILE]: with the option it makes FILE when sealed
 * and opened pages are everywhere, and waits until somebody removes it (to search the host's RAM).
 *
 * The guests run nothing but the helper: what matters here is whose key their pages are under.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "emulator/psp/vendor.h"
#include "lib/mirror/attach.h"
#include "lib/mirror/calls.h"
#include "lib/sev/cert.h"
#include "lib/sev/sev_cpuid.h"
#include "lib/sev/guest.h"
#include "lib/sev/platform.h"
#include "lib/sev/policy.h"
#include "tests/emulated/canary.h"
#include "tests/emulated/tap.h"

#define BYTES (8ULL << 20)
#define PAGE  4096ULL
#define FIRST 16 /* pages with the guest's secrets */
#define COUNT 32
#define POLICY             \
	(SEV_POLICY_NOKS | \
	 SEV_POLICY_SEV) /* debugging allowed: the test looks into the target at the end */
#define TIMEOUT	 60000000000ULL
#define CANARIES 512

static struct tap tap = { .program = "lib_mirror" };

struct host {
	int kvm, sev;
	struct sev_cert pdh, chain[3];
	uint64_t cbit_mask;
};

struct guest {
	struct sevmirror_ram_range ram;
	struct region_plan plan;
	struct region_memory region; /* no memslot of the primary has it */
	uint8_t *memory; /* the primary's view: ciphertext once launched */
	int vm;
	struct sev_guest *sev;
	struct rings *rings;
};

static struct sev_error error;

static bool check(bool good, const char *what)
{
	bool told = error.message[0] && !good;

	tap_ok(&tap, good, "%s%s%s", what, told ? ": " : "", told ? error.message : "");
	memset(&error, 0, sizeof(error));
	return good;
}

/* A word of a page: known to whoever computes it, so that the host need not keep a copy. */
static uint64_t word_of(uint64_t page, uint64_t word)
{
	return (page * 512 + word + 1) * 0x9e3779b97f4a7c15ULL ^ 0x5bd1e995u;
}

/*
 * The canary is put together in the guest's memory: no register, stack or constant of this process
 * ever has it.
 */
static void put(volatile uint64_t *at, uint64_t page, uint64_t i)
{
	if (i % 2) {
		*at = word_of(page, i);
		return;
	}
	*at = canary_private.half_a;
	__asm__ volatile("xorq %1, %0" : "+m"(*at) : "r"(canary_private.half_b) : "memory");
}

static void fill(struct guest *g)
{
	volatile uint64_t *at = (volatile uint64_t *)(g->memory + FIRST * PAGE);
	uint64_t page, i;

	for (page = 0; page < COUNT; page++)
		for (i = 0; i < 512; i++)
			put(&at[page * 512 + i], page, i);
}

/* Guest memory, plain, with the core in it. */
static bool guest_memory(struct host *host, struct guest *g)
{
	struct kvm_userspace_memory_region slot = { .memory_size = BYTES };
	void *at;

	memset(g, 0, sizeof(*g));
	g->ram.bytes = BYTES;
	g->ram.fd = memfd_create("guest", MFD_CLOEXEC);
	if (g->ram.fd < 0 || ftruncate(g->ram.fd, BYTES))
		return false;
	at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, g->ram.fd, 0);
	if (at == MAP_FAILED || region_plan(&g->plan, &g->ram, 1, host->cbit_mask) ||
	    region_memory_create(&g->region, &g->plan))
		return false;
	g->memory = at;
	slot.userspace_addr = (uintptr_t)at;
	g->vm = ioctl(host->kvm, KVM_CREATE_VM, 0);
	return g->vm >= 0 && !ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &slot) &&
	       !sev_guest_create(&g->sev, g->vm, host->sev, &error) &&
	       !sev_guest_register_memory(g->sev, g->memory, BYTES, &error) &&
	       !sev_guest_register_memory(g->sev, g->region.hva, g->region.bytes, &error);
}

static bool guest_launch(struct host *host, struct guest *g)
{
	uint8_t measurement[SEV_MEASUREMENT_BYTES];

	if (!guest_memory(host, g))
		return false;
	fill(g);
	region_build(&g->plan, g->region.hva, g->plan.core_bytes);
	return !sev_guest_launch_start(g->sev, POLICY, NULL, &error) &&
	       !sev_guest_launch_update_data(g->sev, g->memory + FIRST * PAGE, COUNT * PAGE,
					     &error) &&
	       !sev_guest_launch_update_data(g->sev, g->region.hva, g->plan.core_bytes, &error) &&
	       !sev_guest_launch_measure(g->sev, measurement, &error) &&
	       !sev_guest_launch_finish(g->sev, &error);
}

static int start_rings(struct host *host, struct guest *g)
{
	struct rings_config config = {
		.kvm_fd = host->kvm,
		.primary_fd = g->vm,
		.plan = &g->plan,
		.region_fd = g->region.fd,
		.ram = &g->ram,
		.nram = 1,
		.nrings = 1,
		.data_pages = 2 * COUNT + 8,
	};

	struct why why;
	int err = rings_create(&g->rings, &config, &why);

	if (err)
		snprintf(error.message, sizeof(error.message), "%.*s",
			 (int)sizeof(error.message) - 1, why.text);
	return err;
}

static int again(struct host *host, struct guest *g)
{
	struct guest twice = *g;
	int error_code = start_rings(host, &twice);

	memset(&error, 0, sizeof(error));
	return error_code;
}

static bool guest_rings(struct host *host, struct guest *g)
{
	return start_rings(host, g) == 0;
}

static void guest_down(struct guest *g)
{
	rings_destroy(g->rings);
	sev_guest_destroy(g->sev);
	if (g->vm >= 0)
		close(g->vm);
	munmap(g->memory, BYTES);
	region_memory_destroy(&g->region);
	close(g->ram.fd);
}

/*
 * The core goes page by page through the firmware, SEND on one guest, RECEIVE on the other; one
 * host is both ends here.
 */
static bool carry_core(struct host *host, struct guest *from, struct guest *to)
{
	struct sev_send_target target = { (uint8_t *)&host->pdh, (uint8_t *)host->chain,
					  psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES };
	struct sev_session_blob session;
	struct sev_packet_header header;
	uint8_t packet[4096];
	uint32_t policy;
	uint64_t at;

	if (!guest_memory(host, to) ||
	    sev_guest_send_start(from->sev, &target, &policy, &session, &error) ||
	    sev_guest_receive_start(to->sev, policy, (uint8_t *)&host->pdh, &session, &error))
		return false;
	for (at = 0; at < from->plan.core_bytes; at += PAGE)
		if (sev_guest_send_update_data(from->sev, (uint8_t *)from->region.hva + at, PAGE,
					       &header, packet, &error) ||
		    sev_guest_receive_update_data(to->sev, &header, packet, PAGE,
						  (uint8_t *)to->region.hva + at, &error))
			return false;
	return !sev_guest_receive_finish(to->sev, &error) &&
	       !sev_guest_send_finish(from->sev, &error);
}

static uint32_t batch_page(const struct guest *g)
{
	uint32_t npages;

	return rings_data(g->rings, 0, &npages) + 1;
}

static unsigned int seal(struct guest *g, unsigned int n)
{
	struct helper_request request = { .op = HELPER_OP_SEAL, .count = n, .page = batch_page(g) };
	struct helper_batch *batch = rings_page(g->rings, request.page);
	struct helper_completion c;
	unsigned int i;

	for (i = 0; i < n; i++)
		batch->record[i] = (struct helper_record){ .gpa = (FIRST + i) * PAGE,
							   .slot = request.page + 1 + i };
	return rings_call(g->rings, 0, &request, &c, TIMEOUT) ? 1000 : c.status;
}

static void carry_batch(const struct guest *from, const struct guest *to)
{
	memcpy(rings_page(to->rings, batch_page(to)), rings_page(from->rings, batch_page(from)),
	       (COUNT + 1) * PAGE);
}

static unsigned int open_(struct guest *g, unsigned int n, struct helper_batch *batch)
{
	struct helper_request request = { .op = HELPER_OP_OPEN, .count = n, .page = batch_page(g) };
	struct helper_completion c;
	unsigned int status = rings_call(g->rings, 0, &request, &c, TIMEOUT) ? 1000 : c.status;

	memcpy(batch, rings_page(g->rings, request.page), sizeof(*batch));
	return status;
}

static size_t canaries(const struct guest *g)
{
	return canary_count(&canary_private, g->memory, BYTES) +
	       canary_count(&canary_private, rings_page(g->rings, batch_page(g)),
			    (COUNT + 1) * PAGE);
}

/* Through the firmware's debugger, which this policy allows. */
static bool guest_holds_it(struct guest *g)
{
	uint64_t plain[512], page, i;

	for (page = 0; page < COUNT; page++) {
		if (sev_guest_dbg_decrypt(g->sev, g->memory + (FIRST + page) * PAGE, plain, PAGE,
					  &error))
			return false;
		/*
		 * Not canary_is(): inlined, gcc compares with the canary itself, which is then in
		 * this program's code.
		 */
		if (canary_count(&canary_private, plain, PAGE) != 256)
			return false;
		for (i = 1; i < 512; i += 2)
			if (plain[i] != word_of(page, i))
				return false;
	}
	return true;
}

static void hold(const char *file)
{
	volatile uint64_t *shared;
	unsigned int i;
	int fd;

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < CANARIES; i++)
		shared[i] = canary_shared.half_a ^ canary_shared.half_b;
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	while (access(file, F_OK) == 0)
		usleep(100000);
	munmap((void *)(uintptr_t)shared, PAGE);
}

static void refusals(struct guest *source, struct guest *target, struct guest *foreign)
{
	struct helper_batch batch, *there = rings_page(target->rings, batch_page(target));
	uint8_t *before = malloc(COUNT * PAGE);

	memcpy(before, target->memory + FIRST * PAGE, COUNT * PAGE);
	carry_batch(source, target);
	check(open_(target, 1, &batch) == HELPER_MISMATCH && batch.record[0].status == HELPER_STALE,
	      "a replayed record is ignored");
	check(seal(source, 2) == HELPER_OK, "sealed once more");
	carry_batch(source, target);
	there->record[0].gpa = (FIRST + 5) * PAGE;
	check(open_(target, 1, &batch) == HELPER_MISMATCH &&
		      batch.record[0].status == HELPER_BAD_TAG,
	      "a re-addressed record is refused");
	carry_batch(source, target);
	((uint8_t *)rings_page(target->rings, batch_page(target) + 1))[1000] ^= 1;
	check(open_(target, 1, &batch) == HELPER_MISMATCH &&
		      batch.record[0].status == HELPER_BAD_TAG,
	      "a tampered record is refused");
	memset((uint8_t *)rings_page(target->rings, batch_page(target) + 1) + 100, 0, PAGE - 100);
	check(open_(target, 1, &batch) == HELPER_MISMATCH &&
		      batch.record[0].status == HELPER_BAD_TAG,
	      "a truncated record is refused");
	check(!memcmp(before, target->memory + FIRST * PAGE, COUNT * PAGE),
	      "and the pages are the same bit for bit");
	memcpy(before, foreign->memory + FIRST * PAGE, COUNT * PAGE);
	carry_batch(source, foreign);
	check(open_(foreign, 1, &batch) == HELPER_MISMATCH &&
		      batch.record[0].status == HELPER_BAD_TAG,
	      "another guest's helper refuses the record");
	check(!memcmp(before, foreign->memory + FIRST * PAGE, COUNT * PAGE),
	      "and leaves its page alone");
	free(before);
}

/*
 * The other process gets descriptors and nothing else: it makes the mirror and asks the helper of
 * the guest for its name.
 */
static void attached(struct host *host, struct guest *g)
{
	struct mirror_offer offer = {
		.primary_fd = g->vm,
		.cbit_mask = host->cbit_mask,
		.region_fd = g->region.fd,
		.nram = 1,
		.ram = { g->ram },
	};
	int pair[2], status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return;
	pid = fork();
	if (pid == 0) {
		struct guest theirs = { .vm = -1, .region = REGION_MEMORY_NONE };
		struct mirror_offer got;
		enum helper_state state;
		uint8_t session[16];

		if (mirror_offer_receive(pair[1], 10000, &got))
			_exit(1);
		theirs.ram = got.ram[0];
		theirs.vm = got.primary_fd;
		theirs.region.fd = got.region_fd;
		if (region_plan(&theirs.plan, &theirs.ram, 1, got.cbit_mask) ||
		    !guest_rings(host, &theirs))
			_exit(2);
		if (rings_hello(theirs.rings, &state, session) || state != HELPER_TARGET)
			_exit(3);
		rings_destroy(theirs.rings);
		_exit(0);
	}
	check(mirror_offer_send(pair[0], &offer) == 0 && waitpid(pid, &status, 0) == pid &&
		      WIFEXITED(status) && WEXITSTATUS(status) == 0,
	      "another process makes a mirror of the guest and finds its session there");
	close(pair[0]);
	close(pair[1]);
}

static void core_not_launched(struct host *host)
{
	struct guest g;

	if (!check(guest_memory(host, &g), "a guest whose core the host writes in the clear"))
		return;
	region_build(&g.plan, g.region.hva, g.plan.core_bytes);
	check(!sev_guest_launch_start(g.sev, POLICY, NULL, &error) && !guest_rings(host, &g),
	      "its helper does not run");
	memset(&error, 0, sizeof(error));
	guest_down(&g);
}

static bool host_up(struct host *host)
{
	struct sev_cpuid cpuid;

	host->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	host->sev = sev_device_open(&error);
	sev_cpuid_host(&cpuid);
	host->cbit_mask = sev_cpuid_c_mask(&cpuid);
	return host->kvm >= 0 && host->cbit_mask &&
	       !sev_platform_export_certs(host->sev, (uint8_t *)&host->pdh, (uint8_t *)host->chain,
					  &error);
}

int main(int argc, char **argv)
{
	struct guest source, target, other, foreign;
	uint8_t session[16], there[16];
	struct rings_manifest *manifest;
	struct helper_batch batch;
	enum helper_state state;
	uint32_t differing, first;
	uint64_t touched;
	struct host host;

	if (!check(host_up(&host), "the host has SEV") ||
	    !check(guest_launch(&host, &source), "a guest with the helper's core in its launch") ||
	    !check(canary_count(&canary_private, source.memory, BYTES) == 0,
		   "its secrets are ciphertext to the host") ||
	    !check(guest_rings(&host, &source), "the helper runs in its mirror") ||
	    !check(rings_session_make(source.rings, 0, session) == 0, "a session"))
		return tap_done(&tap);
	printf("# kernel %s\n", rings_kernel(source.rings));
	if (!check(carry_core(&host, &source, &target),
		   "the core goes to another guest through the firmware") ||
	    !check(guest_rings(&host, &target),
		   "the helper runs there, and has checked the core") ||
	    !check(rings_hello(target.rings, &state, there) == 0 && state == HELPER_TARGET &&
			   !memcmp(session, there, 16),
		   "it has the session"))
		return tap_done(&tap);
	check(rings_touch(source.rings, 0, &touched) == 0 && touched == BYTES / PAGE, "touch");
	check(seal(&source, COUNT) == HELPER_OK, "pages are sealed");
	carry_batch(&source, &target);
	check(open_(&target, COUNT, &batch) == HELPER_OK, "and opened in the other guest");
	check(canaries(&source) + canaries(&target) == 0,
	      "neither window nor memory has them in the clear");
	if (argc == 3 && !strcmp(argv[1], "--hold"))
		hold(argv[2]);
	check(guest_holds_it(&target), "the other guest has every byte");
	manifest = calloc(1, sizeof(*manifest) + sizeof(manifest->span[0]));
	check(rings_manifest_make(source.rings, manifest) == 0 &&
		      rings_manifest_check(target.rings, manifest, &differing, &first) == 0,
	      "the manifest holds");
	free(manifest);

	if (check(guest_launch(&host, &other) && guest_rings(&host, &other) &&
			  rings_session_make(other.rings, 0, there) == 0 &&
			  carry_core(&host, &other, &foreign) && guest_rings(&host, &foreign),
		  "two more guests with a session of their own")) {
		refusals(&source, &target, &foreign);
		check(again(&host, &foreign) == -EBUSY,
		      "a second helper over the same region is refused");
		rings_destroy(foreign.rings);
		foreign.rings = NULL;
		attached(&host, &foreign);
		guest_down(&foreign);
		guest_down(&other);
	}
	core_not_launched(&host);

	/* The primary is destroyed first: the mirror keeps the context, and continues. */
	sev_guest_destroy(source.sev);
	source.sev = NULL;
	close(source.vm);
	source.vm = -1;
	check(seal(&source, COUNT) == HELPER_OK, "the helper seals after the primary is gone");
	carry_batch(&source, &target);
	check(open_(&target, COUNT, &batch) == HELPER_OK && guest_holds_it(&target),
	      "and what it sealed is right");
	check(rings_session_wipe(source.rings) == 0 && rings_session_wipe(target.rings) == 0,
	      "wiped");
	guest_down(&source);
	guest_down(&target);
	return tap_done(&tap);
}
