/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/confine.h"
#include "cli/mirror.h"
#include "service/payload_log.h"
#include "cli/option_number.h"
#include "cli/vm_client.h"
#include "lib/mirror/link.h"
#include "lib/mirror/workload.h"
#include "lib/util/clock.h"

/*
 * How long a workload may take to finish when it is told to; a migration's hand-over waits for it.
 */
#define GRACE_MS 200
#define OFFER_MS 10000 /* the VM sends its offer at once */

static const struct cli_option options[] = {
	{ "range", 'r', "ADDRESS+SIZE", NULL,
	  "for memscan: guest-physical, whole pages, as in 0x1000000+2M; may be repeated (default: "
	  "each piece of the guest's private memory)" },
	{ "timeout", 't', "SECONDS", NULL, "stop the workload after that time (default: wait)" },
	{ "json", 'j', NULL, NULL, "print the outcome as JSON, with the hashes of memscan" },
	{ 0 },
};

enum outcome {
	OUTCOME_DONE,
	OUTCOME_ERROR, /* the workload says that it found one */
	OUTCOME_CRASHED,
	OUTCOME_FAILED,
	OUTCOME_TIMEOUT,
	OUTCOME_INTERRUPTED,
	OUTCOME_VM_ENDED,
	OUTCOME_VM_MOVES,
};

static const char *const outcome_names[] = {
	[OUTCOME_DONE] = "done",	 [OUTCOME_ERROR] = "error",
	[OUTCOME_CRASHED] = "crashed",	 [OUTCOME_FAILED] = "failed",
	[OUTCOME_TIMEOUT] = "timeout",	 [OUTCOME_INTERRUPTED] = "interrupted",
	[OUTCOME_VM_ENDED] = "vm-ended", [OUTCOME_VM_MOVES] = "vm-moves",
};

struct attach {
	const char *name;
	bool json;
	uint64_t timeout_ms; /* 0: none */
	struct confine confine;
	struct memscan_request memscan;

	bool is_memscan;
	bool sev;
	char workload_name[PAYLOAD_NAME_BYTES];
	int link; /* the VMM's socket */
	int kvm_fd;
	int signal_fd;
	struct workload *workload;
	uint64_t log_shown;
};

static int parse_timeout(struct attach *a, const char *command, const char *text)
{
	struct why why = { "" };
	uint64_t seconds;

	if (cli_number("--timeout", text, 1, UINT32_MAX, &seconds, &why))
		return cli_usage(command, "%s", why.text);
	a->timeout_ms = seconds * 1000;
	return CLI_OK;
}

/* -1 to continue, or the exit code. */
static int parse(struct attach *a, int argc, char **argv)
{
	struct why why = { "" };
	int c, code = CLI_OK;

	while (!code && (c = cli_getopt(&mirror_attach, argc, argv)) != -1) {
		if (c == CLI_OPT_HELP || c == CLI_OPT_BAD)
			return c == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
		if (c == 'r')
			code = memscan_add(&a->memscan, argv[0], optarg);
		else if (c == 't')
			code = parse_timeout(a, argv[0], optarg);
		else if (c == 'j')
			a->json = true;
		else
			(void)confine_take(&a->confine, c, optarg);
	}
	if (!code && confine_check(&a->confine, &why))
		code = cli_usage(argv[0], "%s", why.text);
	if (!code && argc - optind != 1)
		code = cli_usage(argv[0],
				 argc == optind ? "a VM's name is needed" : "one name at a time");
	a->name = argv[optind];
	return code ? code : -1;
}

static int take_signals(struct attach *a)
{
	int err = cli_take_signals(&a->signal_fd);

	if (!err)
		return CLI_OK;
	cli_error("cannot receive signals (signalfd): %s", strerror(-err));
	return CLI_FAILURE;
}

static int check_ranges(struct attach *a)
{
	json_t *map = NULL;
	int code = vm_call(a->name, "query-memory-map", NULL, &map);

	if (!code)
		code = memscan_check(&a->memscan, map, a->sev);
	json_decref(map);
	return code;
}

/* Ask the VMM, get its socket. */
static int ask(struct attach *a)
{
	const char *workload;
	json_t *ret = NULL;
	int code = vm_call_fd(a->name, "mirror-attach", NULL, &ret, &a->link);

	if (code)
		return code;
	workload = json_string_value(json_object_get(ret, "workload"));
	snprintf(a->workload_name, sizeof(a->workload_name), "%s", workload ? workload : "?");
	a->is_memscan = !strcmp(a->workload_name, MEMSCAN_NAME);
	a->sev = json_is_true(json_object_get(ret, "sev"));
	json_decref(ret);
	/* What is wrong with the request shows before there is a mirror. */
	if (a->memscan.nranges && !a->is_memscan) {
		cli_error("--range is for memscan, and %s was launched with %s", a->name,
			  a->workload_name);
		return CLI_USAGE;
	}
	return a->is_memscan ? check_ranges(a) : CLI_OK;
}

static struct memscan_mailbox *mailbox(const struct attach *a)
{
	return (void *)((uint8_t *)workload_shared(a->workload) + MEMSCAN_PAGE_BYTES);
}

/*
 * From here on nothing is opened any more. What the VM offers is taken in the sandbox: it may be
 * somebody else's by now.
 */
static int confine(struct attach *a)
{
	struct why why = { "" };

	a->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (a->kvm_fd < 0) {
		cli_error("cannot open /dev/kvm: %s", strerror(errno));
		return CLI_UNSUPPORTED;
	}
	if (!confine_enter_closed(&a->confine, &why))
		return CLI_OK;
	cli_error("%s", why.text);
	return CLI_FAILURE;
}

static void thread_begins(void *opaque)
{
	sandbox_thread(SANDBOX_VCPU, "workload");
}

static int make(struct attach *a)
{
	struct mirror_offer offer;
	struct why why;
	int err = mirror_offer_receive(a->link, OFFER_MS, &offer);

	if (err) {
		cli_error("%s offers no mirror: %s", a->name, strerror(-err));
		return CLI_FAILURE;
	}
	err = workload_create(&a->workload, &offer, a->kvm_fd, thread_begins, &why);
	mirror_offer_close(&offer);
	if (err) {
		cli_error("a mirror of %s cannot be made: %s", a->name, why.text);
		return err == -ENOENT || err == -EACCES ? CLI_UNSUPPORTED : CLI_FAILURE;
	}
	_Static_assert(MEMSCAN_PAGE_BYTES + sizeof(struct memscan_mailbox) <= WORKLOAD_WINDOW_BYTES,
		       "the mailbox is in the window");
	if (a->is_memscan)
		memscan_fill(&a->memscan, mailbox(a));
	err = workload_start(a->workload);
	if (err)
		cli_error("cannot start the mirror's thread: %s", strerror(-err));
	/*
	 * All that remains is to read what the workload writes, to ask KVM for its dirty log, and
	 * to answer the VM.
	 */
	sandbox_thread(SANDBOX_DEVICE, "sevmirror");
	return err ? CLI_FAILURE : CLI_OK;
}

/* The VMM said something. True: continue. */
static bool obey(struct attach *a, enum outcome *outcome)
{
	int word = mirror_link_read(a->link);

	if (word == MIRROR_LINK_FETCH) {
		(void)workload_log(a->workload);
		(void)mirror_link_answer(a->link, MIRROR_LINK_FETCHED);
		return true;
	}
	*outcome = word == MIRROR_LINK_STOP ? OUTCOME_VM_MOVES : OUTCOME_VM_ENDED;
	return false;
}

/* The workload rang. True: continue. */
static bool attend(struct attach *a, enum outcome *outcome)
{
	static const enum outcome outcomes[] = {
		[WORKLOAD_DONE] = OUTCOME_DONE,
		[WORKLOAD_STOPPED] = OUTCOME_FAILED,
		[WORKLOAD_CRASHED] = OUTCOME_CRASHED,
		[WORKLOAD_FAILED] = OUTCOME_FAILED,
	};
	enum workload_end end = workload_attend(a->workload);

	payload_log_show(workload_shared(a->workload), &a->log_shown, a->json ? stderr : stdout);
	if (end == WORKLOAD_RUNS)
		return true;
	*outcome = outcomes[end];
	if (end == WORKLOAD_DONE &&
	    __atomic_load_n(&workload_shared(a->workload)->state, __ATOMIC_ACQUIRE) != PAYLOAD_DONE)
		*outcome = OUTCOME_ERROR;
	return false;
}

static enum outcome run(struct attach *a)
{
	uint64_t deadline = a->timeout_ms ? clock_ms() + a->timeout_ms : UINT64_MAX;
	enum outcome outcome = OUTCOME_TIMEOUT;
	bool on = true;

	while (on) {
		struct pollfd fds[] = {
			{ .fd = a->link, .events = POLLIN },
			{ .fd = workload_fd(a->workload), .events = POLLIN },
			{ .fd = a->signal_fd, .events = POLLIN },
		};
		uint64_t now = clock_ms(), left = deadline - now;

		if (now >= deadline)
			break;
		if (poll(fds, 3, left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			on = attend(a, &outcome);
		if (on && fds[0].revents)
			on = obey(a, &outcome);
		if (on && fds[2].revents) {
			outcome = OUTCOME_INTERRUPTED;
			on = false;
		}
	}
	workload_stop(a->workload, outcome == OUTCOME_VM_ENDED ? 0 : GRACE_MS);
	(void)workload_log(a->workload);
	(void)mirror_link_answer(a->link, MIRROR_LINK_STOPPED);
	payload_log_show(workload_shared(a->workload), &a->log_shown, a->json ? stderr : stdout);
	return outcome;
}

static void explain(const struct attach *a, enum outcome outcome)
{
	const struct payload_shared *shared = workload_shared(a->workload);

	switch (outcome) {
	case OUTCOME_DONE:
		break;
	case OUTCOME_ERROR:
		cli_error("%s has found an error: number %u (0x%" PRIx64 ", 0x%" PRIx64
			  ", 0x%" PRIx64 ", 0x%" PRIx64 ")",
			  a->workload_name, shared->error, shared->error_info[0],
			  shared->error_info[1], shared->error_info[2], shared->error_info[3]);
		break;
	case OUTCOME_CRASHED:
		cli_error("%s crashed in its mirror; the guest is not affected", a->workload_name);
		break;
	case OUTCOME_FAILED:
		cli_error("KVM does not run the mirror (%u)", workload_detail(a->workload));
		break;
	case OUTCOME_TIMEOUT:
		cli_error("%s did not finish in %" PRIu64 " s and was stopped", a->workload_name,
			  a->timeout_ms / 1000);
		break;
	case OUTCOME_INTERRUPTED:
		cli_error("%s was stopped by a signal", a->workload_name);
		break;
	case OUTCOME_VM_ENDED:
		cli_error("the VM %s has ended, and the mirror with it", a->name);
		break;
	case OUTCOME_VM_MOVES:
		cli_error("the VM %s is being handed over to another host: %s was stopped", a->name,
			  a->workload_name);
		break;
	}
}

static int report(const struct attach *a, enum outcome outcome)
{
	unsigned int missing = 0;
	json_t *value = NULL;
	int code;

	if (a->json)
		value = json_pack("{s:s, s:s}", "workload", a->workload_name, "outcome",
				  outcome_names[outcome]);
	if (a->is_memscan && a->json)
		json_object_set_new(value, "ranges",
				    memscan_json(&a->memscan, mailbox(a), &missing));
	else if (a->is_memscan)
		memscan_print(&a->memscan, mailbox(a), &missing);
	code = a->json ? cli_print_json(value) : cli_finish(CLI_OK);
	explain(a, outcome);
	if (outcome == OUTCOME_DONE && missing)
		cli_error("memscan refused %u of the ranges", missing);
	return code || (outcome == OUTCOME_DONE && !missing) ? code : CLI_FAILURE;
}

static int run_attach(int argc, char **argv)
{
	struct attach a = { .link = -1, .kvm_fd = -1, .signal_fd = -1 };
	struct why why = { "" };
	int code = parse(&a, argc, argv);

	if (code >= 0)
		return code;
	if (sandbox_begin(argc, argv, &why)) {
		cli_error("%s", why.text);
		return CLI_FAILURE;
	}
	/* Until the VM has answered a signal ends the process as usual. */
	code = ask(&a);
	if (!code)
		code = take_signals(&a);
	if (!code)
		code = confine(&a);
	if (!code)
		code = make(&a);
	if (!code)
		code = report(&a, run(&a));
	workload_destroy(a.workload);
	if (a.kvm_fd >= 0)
		close(a.kvm_fd);
	if (a.link >= 0)
		close(a.link);
	if (a.signal_fd >= 0)
		close(a.signal_fd);
	return code;
}

static const struct cli_status_text statuses[] = {
	{ CLI_OK, "the workload has finished" },
	{ CLI_FAILURE, "the workload failed or was stopped, or the VM ended or moved" },
	{ CLI_USAGE, "wrong or missing arguments" },
	{ CLI_UNSUPPORTED, "this VM has no workload, or this host no /dev/kvm" },
	{ 0 },
};

static const struct cli_section sections[] = {
	{ "EXAMPLES", "Hash 2 MiB of the guest's memory at 16 MiB, and a page at 32 MiB, from "
		      "inside:\n\n"
		      "  sevmirror run --name web --mirror-payload payload-memscan --kernel ...\n"
		      "  sevmirror mirror attach web --range 16M+2M --range 0x2000000+4096" },
	{ 0 },
};

const struct cli_command mirror_attach = {
	.name = "attach",
	.summary = "run a guest's workload in a mirror of it, from another process",
	.synopsis = { "NAME [--range ADDRESS+SIZE]... [--timeout SECONDS] [--json] [--user USER]" },
	.about =
		"Makes a mirror of the running VM NAME and runs in it the workload that the VM was "
		"launched with ('sevmirror run --mirror-payload FILE'). The mirror runs in this "
		"process; a failure of it does not disturb the guest. It ends with the VM, or when "
		"the VM moves.\n\n"
		"With memscan, prints the SHA-256 of ranges of the guest's private memory, "
		"computed from inside. The guest may write meanwhile: if that matters, pause it "
		"first ('sevmirror pause NAME').",
	.groups = { { NULL, options }, { CONFINE_MIRROR_TITLE, confine_mirror_options } },
	.operands = "@vm",
	.statuses = statuses,
	.sections = sections,
	.run = run_attach,
};
