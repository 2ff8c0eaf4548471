/* SPDX-License-Identifier: Apache-2.0 */
#include "service/foreground.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/util/clock.h"
#include "service/payload_log.h"

#define PAYLOAD_LOG_POLL_MS  100
#define UNAUTHENTICATED_TOLD 20
#define POPULATING_TOLD_NS   (2 * NS_PER_S)

/* Blocked in every thread made from here on; read from the descriptor. */
static int take_signals(struct foreground *guest, struct why *why)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	guest->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return guest->signal_fd < 0 ? why_errno(why, "signalfd") : 0;
}

int foreground_open(struct foreground *guest, const char *name, struct why *why)
{
	int err;

	guest->name = name;
	/* Signals first: threads inherit that they are blocked. */
	if ((err = take_signals(guest, why)) || (err = service_create(&guest->service, name, why)))
		return err;
	return console_open(&guest->console, &guest->choice, why);
}

/* The signals all mean the same. */
static void heed_signals(struct foreground *guest)
{
	struct signalfd_siginfo signal;

	if (read(guest->signal_fd, &signal, sizeof(signal)) > 0)
		service_stop(guest->service);
}

bool foreground_populates(void *opaque, uint64_t done, uint64_t all)
{
	struct foreground *guest = opaque;
	uint64_t now = clock_ns();

	heed_signals(guest);
	if (!guest->populating_since)
		guest->populating_since = guest->populating_told = now;
	if (now - guest->populating_told > POPULATING_TOLD_NS) {
		guest->populating_told = now;
		fprintf(stderr, "sevmirror: populating memory: %.1f of %.1f GiB\r\n",
			(double)done / (1 << 30), (double)all / (1 << 30));
	}
	return service_populates(guest->service, done, all);
}

static void show_payload_log(struct foreground *guest, const struct vm *vm)
{
	const struct payload_shared *shared = vm_payload_shared(vm);

	if (shared)
		payload_log_show(shared, &guest->log_shown, stdout);
}

/* What a payload had logged before it came was shown where it was. */
static void skip_payload_log(struct foreground *guest, const struct vm *vm)
{
	const struct payload_shared *shared = vm_payload_shared(vm);

	if (shared)
		guest->log_shown = __atomic_load_n(&shared->log_written, __ATOMIC_ACQUIRE);
}

static void say_arrival(struct foreground *guest)
{
	struct sevmirror_summary sum;

	service_summary(guest->service, &sum);
	fprintf(stderr, "sevmirror: the guest %s here now: %.1f MiB in %u rounds, %.1f s\r\n",
		service_paused(guest->service) ? "is" : "runs", (double)sum.bytes / (1 << 20),
		sum.rounds, (double)sum.total_time / 1e9);
	if (service_paused(guest->service))
		fprintf(stderr,
			"sevmirror: it is paused, as on the source: `resume` lets it run\r\n");
	if (sum.postcopy.pages)
		fprintf(stderr,
			"sevmirror: post-copy: the last page arrived after %.1f s; %llu accesses "
			"waited, 95 of 100 for at most %.1f ms\r\n",
			(double)sum.postcopy.last_page / 1e9,
			(unsigned long long)sum.postcopy.faults,
			(double)sum.postcopy.fault_p95 / 1e6);
}

/* Why, where there is a reason, then the state's sentence and advice. */
static void say_view(const struct foreground *guest, enum service_state state)
{
	bool recoverable = service_recoverable(guest->service);
	struct service_view view = service_view(state, VM_RUNS, false, recoverable);
	struct sevmirror_summary sum;

	service_summary(guest->service, &sum);
	if (*sum.error)
		fprintf(stderr, "sevmirror: %s\r\n", sum.error);
	fprintf(stderr, "sevmirror: %s: %s%s%s\r\n", guest->name ? guest->name : "this VM",
		view.sentence, *view.action ? " " : "", view.action);
}

/* Enough to see what is wrong, too little to fill a log. */
static void report_unauthenticated_peers(struct foreground *guest)
{
	char text[640];
	unsigned int n = service_unauthenticated_peer(guest->service, text, sizeof(text));

	if (!n || guest->unauthenticated_told == UNAUTHENTICATED_TOLD)
		return;
	guest->unauthenticated_told++;
	fprintf(stderr, "sevmirror: rejected a peer that is not the source: %s%s\r\n", text,
		guest->unauthenticated_told == UNAUTHENTICATED_TOLD ?
			" (no more of these will be reported)" :
			"");
}

/* What has come of a migration, once. */
static void say_state(struct foreground *guest, enum service_state state)
{
	if (state == guest->said)
		return;
	if (state == SERVICE_HERE && guest->arrives)
		say_arrival(guest);
	else if (state == SERVICE_FILLING || state == SERVICE_CUT || state == SERVICE_UNDECIDED ||
		 state == SERVICE_BROKEN || state == SERVICE_LOST)
		say_view(guest, state);
	guest->said = state;
}

/* While pages are missing, a thread that touches one waits for it. */
static bool may_look(enum service_state state)
{
	switch (state) {
	case SERVICE_HELD:
	case SERVICE_HERE:
	case SERVICE_LEAVING:
	case SERVICE_UNDECIDED:
	case SERVICE_BROKEN:
	case SERVICE_RECOVERING:
	case SERVICE_GONE:
		return true;
	default:
		return false;
	}
}

/* One wait; false: there is nothing more to attend to. */
static bool attend_once(struct foreground *guest, struct vm *vm, enum service_state state)
{
	struct pollfd fds[] = {
		{ .fd = service_wait_fd(guest->service), .events = POLLIN },
		{ .fd = guest->signal_fd, .events = POLLIN },
		{ .fd = console_poll_fd(guest->console), .events = POLLIN },
		{ .fd = vm ? vm_end_fd(vm) : -1, .events = POLLIN },
	};
	bool payload = vm && vm_payload_shared(vm) && may_look(state);

	if (state == SERVICE_NONE_CAME || (vm && vm_end(vm) != VM_RUNS))
		return false;
	if (poll(fds, sizeof(fds) / sizeof(*fds), payload ? PAYLOAD_LOG_POLL_MS : -1) < 0 &&
	    errno != EINTR)
		service_stop(guest->service);
	if (fds[1].revents)
		heed_signals(guest);
	if (fds[2].revents && !console_input(guest->console))
		service_stop(guest->service);
	return true;
}

/* There is no guest here, or none that is known to stay. */
static bool comes(enum service_state state)
{
	return state == SERVICE_EMPTY || state == SERVICE_AWAITED || state == SERVICE_ARRIVED ||
	       state == SERVICE_NONE_CAME;
}

void foreground_attend(struct foreground *guest)
{
	enum service_state state = service_attend(guest->service);
	struct vm *vm = NULL;
	bool look;

	guest->arrives = comes(state);
	guest->said = state;
	do {
		state = service_attend(guest->service);
		if (!vm && !comes(state))
			vm = machine_vm(service_machine(guest->service));
		report_unauthenticated_peers(guest);
		say_state(guest, state);
		look = vm && may_look(state);
		if (look && guest->arrives)
			skip_payload_log(guest, vm);
		else if (look)
			show_payload_log(guest, vm);
		guest->arrives &= !look;
	} while (attend_once(guest, vm, state));
	if (look)
		show_payload_log(guest, vm);
}

static enum foreground_end end_of(enum vm_end end)
{
	switch (end) {
	case VM_POWEROFF:
		return FOREGROUND_POWEROFF;
	case VM_REBOOT:
		return FOREGROUND_REBOOT;
	case VM_STOPPED:
		return FOREGROUND_STOPPED;
	case VM_MIGRATED:
		return FOREGROUND_MIGRATED;
	default:
		return FOREGROUND_CRASHED;
	}
}

static const char *end_sentence(enum vm_end end)
{
	switch (end) {
	case VM_REBOOT:
		return "the guest asked for a reboot, which ends it: start it again";
	case VM_CRASH:
		return "the guest crashed";
	case VM_STOPPED:
		return "the guest was stopped from outside";
	case VM_FAILED:
		return "the guest cannot continue";
	case VM_MIGRATED:
		return "the guest was migrated: it runs on the target";
	default:
		return NULL;
	}
}

/* How the guest ended, or why none came. */
static enum foreground_end read_end(struct foreground *guest, char *text, size_t max)
{
	struct machine *machine = service_machine(guest->service);
	struct sevmirror_summary summary;
	enum service_state state;
	enum vm_end end;

	/* First: until its end a migration that has brought a guest looks like one that may not. */
	service_finish(guest->service);
	state = service_attend(guest->service);
	if (comes(state)) {
		bool cancelled = service_summary(guest->service, &summary) == SEVMIRROR_CANCELLED;
		const char *action =
			cancelled ? "" : service_view(state, VM_RUNS, false, false).action;

		snprintf(text, max, "no guest arrived: %s%s%s", summary.error, *action ? ". " : "",
			 action);
		return cancelled ? FOREGROUND_STOPPED : FOREGROUND_EMPTY;
	}
	end = vm_end(machine_vm(machine));
	service_summary(guest->service, &summary);
	if (end_sentence(end)) {
		const char *report =
			end == VM_MIGRATED ? summary.warning : vm_end_report(machine_vm(machine));

		snprintf(text, max, "%s%s%s", end_sentence(end), *report ? ": " : "", report);
	}
	return end_of(end);
}

void foreground_abandon(struct foreground *guest)
{
	service_destroy(guest->service);
	host_devices_close(&guest->devices);
	console_close(guest->console);
	if (guest->signal_fd >= 0)
		close(guest->signal_fd);
	fflush(stdout);
}

enum foreground_end foreground_finish(struct foreground *guest)
{
	char text[4096] = "";
	enum foreground_end end = read_end(guest, text, sizeof(text));

	foreground_abandon(guest);
	if (*text)
		fprintf(stderr, "sevmirror: %s\n", text);
	return end;
}
