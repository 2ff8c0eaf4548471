/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sevmirror migrate`: ask a VM's process to move it, show how that goes, and say what came of it.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/migrate_options.h"
#include "cli/migrate_progress.h"
#include "cli/migrate_report.h"
#include "cli/run_options.h"
#include "cli/vm_client.h"
#include "control/client.h"
#include "lib/util/file.h"
#include "service/state.h"

#define EVENT_MS  200
#define ANSWER_MS 30000
#define MIB	  1048576.0
#define NS_PER_MS 1000000ULL

enum {
	OPT_TO = MIGRATE_OPT_FIRST,
	OPT_STREAMS,
	OPT_DOWNTIME,
	OPT_BANDWIDTH,
	OPT_THROTTLE,
	OPT_PRIORITY,
	OPT_ROUNDS,
	OPT_VENDOR,
	OPT_POSTCOPY,
	OPT_AFTER,
	OPT_RECOVER,
	OPT_TIMEOUT,
	OPT_REPORT,
	OPT_JSON,
};

static const struct cli_option options[] = {
	{ "to", OPT_TO, "ADDRESS", NULL, "HOST:PORT, [IPv6]:PORT or unix:PATH" },
	{ "streams", OPT_STREAMS, "N", NULL,
	  "data connections, and CPUs for sealing (default: 2)" },
	{ "max-downtime", OPT_DOWNTIME, "MS", NULL,
	  "how long it may stand still at the end (default: 300)" },
	{ "bandwidth", OPT_BANDWIDTH, "RATE", NULL, "at most so many bytes a second, as in 100M" },
	{ "throttle", OPT_THROTTLE, NULL, NULL,
	  "slow the VM down if it writes memory faster than that goes" },
	{ "priority", OPT_PRIORITY, "LEVEL", "low normal",
	  "low: sealing and sending yield to the VM where both want the same CPU; normal: they do not "
	  "(default: low)" },
	{ "max-rounds", OPT_ROUNDS, "N", NULL, "give up after so many rounds (default: 30)" },
	{ "postcopy", OPT_POSTCOPY, "MODE", "auto always never",
	  "auto, always or never: let the VM go over before all of its memory has; pages follow as "
	  "it touches them. auto: when it would not converge otherwise (default: never)" },
	{ "postcopy-after", OPT_AFTER, "N", NULL, "begin that after N rounds" },
	{ "recover", OPT_RECOVER, NULL, NULL,
	  "go on with a post-copy whose connection broke; --to only if the target is elsewhere now" },
	{ "vendor-chain", OPT_VENDOR, "FILE", "@file",
	  "ASK and ARK of the target's chip in AMD's format, instead of what the target shows" },
	{ "timeout", OPT_TIMEOUT, "SECONDS", NULL,
	  "how long the connection may stand still (default: 10)" },
	{ "report", OPT_REPORT, "FILE", "@file", "write how it went there: one HTML page" },
	{ "json", OPT_JSON, NULL, NULL, "nothing but the result, as JSON" },
	{ 0 },
};

static const struct cli_status_text statuses[] = {
	{ CLI_OK, "the VM runs at the other host" },
	{ CLI_FAILURE, "it stays here (standard error says why)" },
	{ CLI_USAGE, "wrong or missing arguments" },
	{ CLI_UNSUPPORTED, "this VM or host cannot" },
	{ CLI_UNDECIDED,
	  "the connection broke in the hand-over: the VM is paused here and nobody knows whether it "
	  "runs there" },
	{ CLI_BROKEN,
	  "the connection broke in post-copy: the VM runs there and waits for pages that are here; "
	  "--recover goes on" },
	{ CLI_GUEST_CRASH, "post-copy failed for good: the VM is lost" },
	{ 0 },
};

struct migrate {
	const char *name;
	bool json, recover;
	const char *report; /* the page's file, or NULL */
	json_t *args;
	struct sevmirror_security security;
	struct control_client *client;
	int signal_fd;
	bool cancelled;
	time_t started;
	struct migrate_progress progress;
	struct migrate_record record; /* for the report */
};

static int set_number(struct migrate *m, const char *name, const char *text, uint64_t max,
		      struct why *why)
{
	uint64_t value;

	if (run_parse_number(text, &value) || !value || value > max)
		return why_set(why, -EINVAL, "--%s %s: a number from 1 to %llu is needed", name,
			       text, (unsigned long long)max);
	json_object_set_new(m->args, name, json_integer((json_int_t)value));
	return 0;
}

static int set_bandwidth(struct migrate *m, const char *text, struct why *why)
{
	uint64_t bytes;

	if (run_parse_size(text, &bytes) || !bytes || bytes > INT64_MAX)
		return why_set(why, -EINVAL,
			       "--bandwidth %s: bytes a second are needed, as in 100M", text);
	json_object_set_new(m->args, "bandwidth", json_integer((json_int_t)bytes));
	return 0;
}

static int set_timeout(struct migrate *m, const char *text, struct why *why)
{
	uint64_t ns = 0;
	int err = migrate_parse_seconds("--timeout", text, &ns, why);

	if (!err)
		json_object_set_new(m->args, "timeout-ms",
				    json_integer((json_int_t)(ns / NS_PER_MS)));
	return err;
}

/* The VM's process has another working directory, so a file goes by its full path. */
static int set_file(struct migrate *m, const char *name, const char *path, struct why *why)
{
	char full[PATH_MAX];

	if (!path)
		return 0;
	if (!realpath(path, full))
		return why_errno(why, "%s", path);
	json_object_set_new(m->args, name, json_string(full));
	return 0;
}

static int take_option(struct migrate *m, int id, const char *arg, struct why *why)
{
	switch (id) {
	case OPT_TO:
		json_object_set_new(m->args, "address", json_string(arg));
		return 0;
	case OPT_STREAMS:
		return set_number(m, "streams", arg, 16, why);
	case OPT_DOWNTIME: {
		uint64_t ms;

		if (run_parse_number(arg, &ms) || !ms || ms > 3600000)
			return why_set(why, -EINVAL, "--max-downtime %s: milliseconds are needed",
				       arg);
		json_object_set_new(m->args, "max-downtime-ms", json_integer((json_int_t)ms));
		return 0;
	}
	case OPT_BANDWIDTH:
		return set_bandwidth(m, arg, why);
	case OPT_THROTTLE:
		json_object_set_new(m->args, "throttle", json_true());
		return 0;
	case OPT_PRIORITY:
		json_object_set_new(m->args, "priority", json_string(arg));
		if (!strcmp(arg, "low") || !strcmp(arg, "normal"))
			return 0;
		return why_set(why, -EINVAL, "--priority %s: low or normal", arg);
	case OPT_ROUNDS:
		return set_number(m, "max-rounds", arg, 10000, why);
	case OPT_POSTCOPY:
		json_object_set_new(m->args, "postcopy", json_string(arg));
		if (!strcmp(arg, "auto") || !strcmp(arg, "always") || !strcmp(arg, "never"))
			return 0;
		return why_set(why, -EINVAL, "--postcopy %s: auto, always or never", arg);
	case OPT_AFTER:
		return set_number(m, "postcopy-after", arg, 10000, why);
	case OPT_RECOVER:
		m->recover = true;
		return 0;
	case OPT_VENDOR:
		return set_file(m, "vendor-chain", arg, why);
	case OPT_TIMEOUT:
		return set_timeout(m, arg, why);
	case OPT_REPORT:
		if (!*arg || !strcmp(arg, "-"))
			return why_set(why, -EINVAL, "--report: a file's name is needed");
		m->report = arg;
		return 0;
	case OPT_JSON:
		m->json = true;
		return 0;
	default:
		return migrate_security_take(&m->security, id, arg);
	}
}

static int set_security(struct migrate *m, struct why *why)
{
	const struct sevmirror_security *s = &m->security;
	int err = migrate_security_check(s, why);

	if (err || (err = set_file(m, "tls-cert", s->certificate, why)) ||
	    (err = set_file(m, "tls-key", s->key, why)) ||
	    (err = set_file(m, "tls-ca", s->ca, why)) ||
	    (err = set_file(m, "psk-file", s->psk_file, why)))
		return err;
	if (s->peer_name)
		json_object_set_new(m->args, "tls-peer-name", json_string(s->peer_name));
	if (s->insecure)
		json_object_set_new(m->args, "insecure", json_true());
	return 0;
}

/* The migration that broke has all its options still. */
static int check_recovery(const struct migrate *m, struct why *why)
{
	const struct sevmirror_security *s = &m->security;
	size_t known = json_object_get(m->args, "address") ? 1 : 0;

	if (json_object_size(m->args) > known || s->certificate || s->key || s->ca ||
	    s->peer_name || s->psk_file || s->insecure)
		return why_set(why, -EINVAL,
			       "--recover goes on as the migration began: only --to, --report and "
			       "--json go with it");
	return 0;
}

/* True: go on. */
static bool parse(struct migrate *m, int argc, char **argv, int *code)
{
	struct why why = { "" };
	int id, err = 0;

	while (!err && (id = cli_getopt(&cli_migrate, argc, argv)) != -1) {
		if (id == CLI_OPT_BAD || id == CLI_OPT_HELP) {
			*code = id == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
			return false;
		}
		err = take_option(m, id, optarg, &why);
	}
	if (!err && argc - optind != 1)
		err = why_set(&why, -EINVAL, "one VM's name is needed");
	if (!err && m->recover)
		err = check_recovery(m, &why);
	else if (!err && !json_object_get(m->args, "address"))
		err = why_set(&why, -EINVAL, "--to is needed");
	else if (!err)
		err = set_security(m, &why);
	if (err)
		*code = cli_usage(argv[0], "%s", why.text);
	else
		m->name = argv[optind];
	return !err;
}

static int result_code(enum service_result result)
{
	static const int codes[SERVICE_RESULTS + 1] = {
		[RESULT_MIGRATED] = CLI_OK,	  [RESULT_FAILED] = CLI_FAILURE,
		[RESULT_CANCELLED] = CLI_FAILURE, [RESULT_UNKNOWN] = CLI_UNDECIDED,
		[RESULT_BROKEN] = CLI_BROKEN,	  [RESULT_LOST] = CLI_GUEST_CRASH,
		[RESULT_ENDED] = CLI_GUEST_ENDED, [SERVICE_RESULTS] = CLI_UNDECIDED,
	};

	return codes[result];
}

static void print_postcopy(const json_t *p)
{
	printf("  post-copy      %.0f pages after the VM, the last %.2f s after its start",
	       migrate_number(p, "pages"), migrate_number(p, "last-page-ms") / 1000);
	if (migrate_number(p, "recoveries") > 0)
		printf(", %.0f recoveries", migrate_number(p, "recoveries"));
	printf("\n  faults         %.0f; waited p50 %.2f, p95 %.2f, p99 %.2f, at most %.2f ms\n",
	       migrate_number(p, "faults"), migrate_number(p, "fault-p50-ms"),
	       migrate_number(p, "fault-p95-ms"), migrate_number(p, "fault-p99-ms"),
	       migrate_number(p, "fault-max-ms"));
	printf("  prefetched     %.0f pages; of %.0f that were watched %.0f were used\n",
	       migrate_number(p, "prefetched"), migrate_number(p, "prefetch-samples"),
	       migrate_number(p, "prefetch-used"));
}

static void print_summary(const struct migrate *m, const json_t *r)
{
	char downtime[128];

	printf("%s: %s\n", m->name, migrate_text(r, "detail"));
	printf("  total time     %.2f s\n", migrate_number(r, "total-ms") / 1000);
	printf("  downtime       %s\n", migrate_downtime(r, downtime, sizeof(downtime)));
	printf("  sent           %.1f MiB, %.0f pages (%.0f again), %.0f rounds\n",
	       migrate_number(r, "bytes") / MIB, migrate_number(r, "pages"),
	       migrate_number(r, "pages-resent"), migrate_number(r, "rounds"));
	printf("  PSP commands   %.0f\n", migrate_number(r, "psp-commands"));
	printf("  helper exits   %.0f\n", migrate_number(r, "helper-exits"));
	if (json_object_get(r, "postcopy"))
		print_postcopy(json_object_get(r, "postcopy"));
}

/* The error, the guest's state, and what to do; the last two are the VM's own words. */
static void say_failure(const struct migrate *m, enum service_result result, const json_t *r)
{
	const char *error = migrate_text(r, "error"), *advice = migrate_text(r, "advice");

	if (result == RESULT_CANCELLED)
		error = "the migration was cancelled";
	cli_error("%s: %s%s%s%s%s", m->name, error, *error ? ". " : "", migrate_text(r, "detail"),
		  *advice ? " " : "", advice);
}

static int say_result(const struct migrate *m, const json_t *r)
{
	const char *warning = migrate_text(r, "warning");
	enum service_result result = service_result_of(migrate_text(r, "outcome"));
	int code = result_code(result);

	if (*warning)
		cli_warning("%s", warning);
	if (code != CLI_OK)
		say_failure(m, result, r);
	else if (!m->json)
		print_summary(m, r);
	if (m->json) {
		int printed = cli_print_json(json_deep_copy(r));

		return printed ? printed : code;
	}
	return cli_finish(code);
}

static void hear_signals(struct migrate *m)
{
	struct signalfd_siginfo signal;
	struct control_error err = { 0 };
	json_t *ret = NULL;

	if (read(m->signal_fd, &signal, sizeof(signal)) != sizeof(signal) || m->cancelled)
		return;
	m->cancelled = true;
	if (control_client_call(m->client, "migrate-cancel", NULL, NULL, ANSWER_MS, &ret, NULL,
				&err)) {
		migrate_progress_clear(&m->progress);
		cli_error("%s", err.desc);
	}
	json_decref(ret);
}

/* How far it is. What cannot be recorded is missing in the report; the migration goes on. */
static void take_progress(struct migrate *m, const json_t *data)
{
	struct migrate_sample sample = migrate_sample_read(data);

	if (!m->json)
		migrate_progress_show(&m->progress, &sample);
	if (m->report)
		(void)migrate_record_add(&m->record, &sample);
}

/* Where the guest is does not depend on it, so neither does the exit status. */
static void write_report(const struct migrate *m, const json_t *result)
{
	char host[256] = "";
	const struct migrate_report report = { .name = m->name,
					       .host = host,
					       .started = m->started,
					       .args = m->args,
					       .result = result,
					       .record = &m->record };
	char *page = NULL;
	size_t len;
	int err;

	if (!m->report)
		return;
	if (gethostname(host, sizeof(host) - 1))
		snprintf(host, sizeof(host), "this host");
	err = migrate_report_make(&report, &page, &len);
	if (!err)
		err = util_write_file(m->report, page, len, 0644);
	if (err)
		cli_error("the report %s: %s", m->report, strerror(-err));
	free(page);
}

/* Until the migration's end. */
static int follow(struct migrate *m)
{
	for (;;) {
		json_t *event = NULL;
		int err = control_client_event(m->client, EVENT_MS, &event);
		const json_t *data = json_object_get(event, "data");
		int code = -1;

		hear_signals(m);
		if (err && err != -ETIMEDOUT) {
			migrate_progress_clear(&m->progress);
			write_report(m, NULL);
			cli_error(
				"the VM's process has gone, so how the migration ended is not known: "
				"look at the other host");
			return CLI_UNDECIDED;
		}
		if (!strcmp(migrate_text(event, "event"), "migration"))
			take_progress(m, data);
		if (!strcmp(migrate_text(event, "event"), "migration-end")) {
			migrate_progress_clear(&m->progress);
			write_report(m, data);
			code = say_result(m, data);
		}
		json_decref(event);
		if (code >= 0)
			return code;
	}
}

/* Ctrl-C cancels; what the process cannot block (SIGKILL) leaves the migration to the VM. */
static int take_signals(struct migrate *m)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return m->signal_fd < 0 ? -errno : 0;
}

static int migrate(struct migrate *m)
{
	struct control_error err = { 0 };
	json_t *ret = NULL;
	int failed = m->report ? util_check_writable(m->report) : 0;

	if (failed) {
		cli_error("the report %s cannot be written: %s", m->report,
			  failed == -EINVAL ? "that is no plain file" : strerror(-failed));
		return CLI_FAILURE;
	}
	failed = take_signals(m);
	if (failed)
		control_fail(&err, failed, NULL, "signalfd: %s", strerror(-failed));
	else
		failed = control_client_open(&m->client, m->name, &err);
	if (!failed)
		failed = control_client_call(m->client, m->recover ? "migrate-recover" : "migrate",
					     json_incref(m->args), NULL, ANSWER_MS, &ret, NULL,
					     &err);
	json_decref(ret);
	if (!failed)
		return follow(m);
	cli_error("%s", err.desc);
	return err.class && !strcmp(err.class, CONTROL_BAD_ARGUMENTS) ? CLI_USAGE : CLI_FAILURE;
}

static int run(int argc, char **argv)
{
	struct migrate m = { .signal_fd = -1, .args = json_object(), .started = time(NULL) };
	int code = CLI_OK;

	migrate_progress_init(&m.progress);
	if (parse(&m, argc, argv, &code))
		code = migrate(&m);
	control_client_close(m.client);
	migrate_record_free(&m.record);
	json_decref(m.args);
	if (m.signal_fd >= 0)
		close(m.signal_fd);
	return code;
}

const struct cli_command cli_migrate = {
	.name = "migrate",
	.summary = "move a running VM to another host",
	.synopsis = { "NAME --to ADDRESS SECURITY [options]", "NAME --recover [--to ADDRESS]" },
	.about =
		"Moves a running VM to another host, where 'sevmirror receive' waits for it. The VM goes on "
		"working meanwhile. Ctrl-C gives it up: then it stays here as if nothing had been; in post-copy, when "
		"it runs there already, Ctrl-C breaks the connection, and --recover goes on.",
	.groups = { { NULL, options }, { MIGRATE_SECURITY_TITLE, migrate_security_options } },
	.operands = "@vm",
	.statuses = statuses,
	.run = run,
};
