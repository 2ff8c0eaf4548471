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

#include "cli/migrate_security.h"
#include "cli/migrate_progress.h"
#include "cli/migrate_report.h"
#include "cli/vm_client.h"
#include "control/client.h"
#include "lib/util/file.h"
#include "service/migrate_options.h"
#include "service/state.h"

#define EVENT_MS    200
#define QUIET_WAITS 10
#define ANSWER_MS   30000
#define ASK_MS	    2000
#define MIB	    1048576.0

enum {
	OPT_RECOVER = MIGRATE_OPT_FIRST,
	OPT_CANCEL,
	OPT_DETACH,
	OPT_ATTACH,
	OPT_CHANGE,
	OPT_WEAK_POLICY,
	OPT_REPORT,
	OPT_JSON,
	OPT_TABLE = 0x800, /* service/migrate_options.h; the last ids */
};

static const struct cli_option own_options[] = {
	{ "detach", OPT_DETACH, NULL, NULL,
	  "start the migration and return at once; --attach "
	  "shows it later" },
	{ "attach", OPT_ATTACH, NULL, NULL,
	  "show the running migration, or the result of the last one" },
	{ "cancel", OPT_CANCEL, NULL, NULL, "cancel the running migration" },
	{ "change", OPT_CHANGE, NULL, NULL,
	  "change --bandwidth or --max-downtime of the running migration" },
	{ "allow-weak-policy", OPT_WEAK_POLICY, NULL, NULL,
	  "send the guest even if its policy permits any receiver, or key sharing" },
	{ "recover", OPT_RECOVER, NULL, NULL,
	  "continue post-copy after its connection broke; --to is needed only if the target's "
	  "address changed" },
	{ "report", OPT_REPORT, "FILE", "@file", "write a report to this file, as one HTML page" },
	{ "json", OPT_JSON, NULL, NULL, "print only the result, as JSON" },
	{ 0 },
};

/* Those of the table, when the program starts, and then the command's own. */
static struct cli_option options[MIGRATE_OPTIONS_MAX + sizeof(own_options) / sizeof(*own_options)];

void migrate_command_prepare(void)
{
	unsigned int n = 0;

	for (; migrate_option(n); n++) {
		const struct migrate_option *o = migrate_option(n);

		options[n] = (struct cli_option){ o->name, OPT_TABLE + (int)n, o->value,
						  o->complete, o->help };
	}
	memcpy(&options[n], own_options, sizeof(own_options));
}

static const struct cli_status_text statuses[] = {
	{ CLI_OK, "the guest is on the target; with --cancel: it stays here" },
	{ CLI_FAILURE, "the guest stays here (standard error has the reason)" },
	{ CLI_USAGE, "wrong or missing arguments" },
	{ CLI_UNSUPPORTED, "this VM or this host cannot migrate" },
	{ CLI_GUEST_CRASH, "post-copy failed: the guest is lost" },
	{ CLI_UNDECIDED, "outcome unknown: the guest is paused here and may be running on the "
			 "target" },
	{ CLI_BROKEN,
	  "the connection broke in post-copy: the guest was running on the target and needs pages "
	  "that are here; --recover continues" },
	{ CLI_GUEST_ENDED, "the guest ended during the migration; neither host runs it" },
	{ CLI_REPORT, "the guest is on the target, but the report could not be written" },
	{ 0 },
};

enum migrate_mode {
	MODE_START,
	MODE_RECOVER,
	MODE_CANCEL,
	MODE_ATTACH,
	MODE_CHANGE,
};

struct migrate {
	const char *name;
	enum migrate_mode mode;
	bool json, detach, many_modes;
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

/* The VM's process has another working directory, so a file goes by its full path. */
static int set_file(struct migrate *m, const char *name, const char *path, struct why *why)
{
	char full[PATH_MAX];

	if (!path)
		return 0;
	if (!realpath(path, full))
		return why_errno(why, "--%s %s", name, path);
	json_object_set_new(m->args, name, json_string(full));
	return 0;
}

static int set_mode(struct migrate *m, enum migrate_mode mode)
{
	m->many_modes |= m->mode != MODE_START && m->mode != mode;
	m->mode = mode;
	return 0;
}

static int take_option(struct migrate *m, int id, const char *arg, struct why *why)
{
	switch (id) {
	case OPT_WEAK_POLICY:
		json_object_set_new(m->args, "allow-weak-policy", json_true());
		return 0;
	case OPT_RECOVER:
		return set_mode(m, MODE_RECOVER);
	case OPT_CANCEL:
		return set_mode(m, MODE_CANCEL);
	case OPT_ATTACH:
		return set_mode(m, MODE_ATTACH);
	case OPT_CHANGE:
		return set_mode(m, MODE_CHANGE);
	case OPT_DETACH:
		m->detach = true;
		return 0;
	case OPT_REPORT:
		if (!*arg || !strcmp(arg, "-"))
			return why_set(why, -EINVAL, "--report: a file name is needed");
		m->report = arg;
		return 0;
	case OPT_JSON:
		m->json = true;
		return 0;
	default:
		if (id >= OPT_TABLE)
			return migrate_option_parse(migrate_option((unsigned int)(id - OPT_TABLE)),
						    arg, m->args, why);
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

static size_t given(const struct migrate *m, const char *argument)
{
	return json_object_get(m->args, argument) ? 1 : 0;
}

/* What goes with the mode. */
static int check_mode(struct migrate *m, struct why *why)
{
	const struct sevmirror_security *s = &m->security;
	bool secured =
		s->certificate || s->key || s->ca || s->peer_name || s->psk_file || s->insecure;
	size_t known = 0;

	if (m->many_modes)
		return why_set(why, -EINVAL,
			       "give only one of --recover, --cancel, --attach and --change");
	if (m->detach && (m->report || (m->mode != MODE_START && m->mode != MODE_RECOVER)))
		return why_set(why, -EINVAL, "--detach cannot be combined with %s",
			       "--report, --cancel, --attach or --change");
	if (m->mode == MODE_START) {
		if (!given(m, "address"))
			return why_set(why, -EINVAL, "--to is needed");
		if (given(m, "postcopy-after") && !given(m, "postcopy"))
			return why_set(why, -EINVAL, "--postcopy-after needs --postcopy");
		if (!strcmp(migrate_text(m->args, "on-max-time"), "postcopy") &&
		    !given(m, "postcopy"))
			return why_set(why, -EINVAL, "--on-max-time postcopy needs --postcopy");
		if (given(m, "on-max-time") && !given(m, "max-time-ms"))
			return why_set(why, -EINVAL, "--on-max-time needs --max-time");
		return set_security(m, why);
	}
	if (m->mode == MODE_RECOVER)
		known = given(m, "address");
	else if (m->mode == MODE_CHANGE)
		known = given(m, "bandwidth") + given(m, "max-downtime-ms");
	if (m->mode == MODE_CHANGE && !known)
		return why_set(why, -EINVAL, "--change needs --bandwidth or --max-downtime");
	if (secured || json_object_size(m->args) > known)
		return why_set(why, -EINVAL, "%s",
			       m->mode == MODE_RECOVER ?
				       "--recover keeps the options of the migration: only --to, "
				       "--report, --detach and --json can be combined with it" :
			       m->mode == MODE_CHANGE ?
				       "--change can only be combined with --bandwidth, "
				       "--max-downtime and --json" :
				       "--cancel and --attach can only be combined with --report "
				       "and --json");
	return 0;
}

/* True: continue. */
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
		err = why_set(&why, -EINVAL, "a VM's name is needed");
	if (!err)
		err = check_mode(m, &why);
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
	printf("  prefetched     %.0f pages; of %.0f watched pages %.0f were used\n",
	       migrate_number(p, "prefetched"), migrate_number(p, "prefetch-samples"),
	       migrate_number(p, "prefetch-used"));
}

/* "stop 0.4, state 1.2, ..." */
static void print_parts(const json_t *parts)
{
	const struct migrate_part *part;

	printf("%17s", "");
	for (part = migrate_downtime_parts; part->member; part++)
		printf("%s%s %.1f", part == migrate_downtime_parts ? "" : ", ", part->name,
		       migrate_number(parts, part->member));
	printf(" ms\n");
}

static void print_summary(const struct migrate *m, const json_t *r)
{
	char downtime[128];

	printf("%s: %s\n", m->name, migrate_text(r, "detail"));
	printf("  total time     %.2f s\n", migrate_number(r, "total-ms") / 1000);
	printf("  downtime       %s\n", migrate_downtime(r, downtime, sizeof(downtime)));
	if (json_object_get(r, "downtime-parts"))
		print_parts(json_object_get(r, "downtime-parts"));
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
	else if (result == RESULT_ENDED)
		error = ""; /* an echo of the end */
	cli_error("%s: %s%s%s%s%s", m->name, error, *error ? ". " : "", migrate_text(r, "detail"),
		  *advice ? " " : "", advice);
}

static int say_result(const struct migrate *m, const json_t *r)
{
	const char *warning = migrate_text(r, "warning");
	enum service_result result = service_result_of(migrate_text(r, "outcome"));
	bool as_asked = m->mode == MODE_CANCEL && result == RESULT_CANCELLED;
	int code = as_asked ? CLI_OK : result_code(result);

	if (m->mode == MODE_CANCEL && code == CLI_OK && !as_asked)
		code = CLI_FAILURE; /* too late */
	if (*warning)
		cli_warning("%s", warning);
	if (as_asked && !m->json)
		printf("%s: the migration was cancelled. %s\n", m->name, migrate_text(r, "detail"));
	else if (code != CLI_OK && result == RESULT_MIGRATED)
		cli_error("%s: too late to cancel. %s", m->name, migrate_text(r, "detail"));
	else if (code != CLI_OK)
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
	if (m->mode == MODE_ATTACH)
		return;
	if (control_client_call(m->client, "migrate-cancel", NULL, NULL, ANSWER_MS, &ret, NULL,
				&err)) {
		migrate_progress_clear(&m->progress);
		cli_error("%s: %s", m->name, err.desc);
	}
	json_decref(ret);
}

/* How far it is. What cannot be recorded is missing in the report; the migration continues. */
static void take_progress(struct migrate *m, const json_t *data)
{
	struct migrate_sample sample = migrate_sample_read(data);

	if (!m->json)
		migrate_progress_show(&m->progress, &sample);
	if (m->report)
		(void)migrate_record_add(&m->record, &sample);
}

/* 0, or a negative errno that was printed. */
static int write_report(const struct migrate *m, const json_t *result)
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
		return 0;
	if (gethostname(host, sizeof(host) - 1))
		snprintf(host, sizeof(host), "this host");
	err = migrate_report_make(&report, &page, &len);
	if (!err)
		err = util_write_file(m->report, page, len, 0644);
	if (err)
		cli_error("--report %s: %s", m->report, strerror(-err));
	free(page);
	return err;
}

static int finish(struct migrate *m, const json_t *result)
{
	int unwritten, code;

	migrate_progress_clear(&m->progress);
	unwritten = write_report(m, result);
	code = say_result(m, result);
	return unwritten && code == CLI_OK ? CLI_REPORT : code;
}

static int vm_has_gone(struct migrate *m)
{
	const struct service_advice unreported = service_advice_unreported();

	migrate_progress_clear(&m->progress);
	(void)write_report(m, NULL);
	cli_error("%s: %s %s", m->name, unreported.sentence, unreported.action);
	return CLI_UNDECIDED;
}

/*
 * Nothing was heard for a while. A VM that is out of memory may have ended its migration and not
 * have been able to say so. The exit status, or -1: it is still under way, or cannot answer. What a
 * VM that has gone said before is an event, which comes next.
 */
static int ask_for_result(struct migrate *m)
{
	struct control_error err = { 0 };
	json_t *query = NULL, *result;
	int code = -1;

	(void)control_client_call(m->client, "query-migrate", NULL, NULL, ASK_MS, &query, NULL,
				  &err);
	result = json_object_get(query, "result");
	if (result && strcmp(migrate_text(query, "status"), "active") != 0)
		code = finish(m, result);
	json_decref(query);
	return code;
}

/* Until the migration's end. */
static int follow(struct migrate *m)
{
	unsigned int quiet = 0; /* waits in a row in which nothing came */

	for (;;) {
		json_t *event = NULL;
		int err = control_client_event(m->client, EVENT_MS, &event);
		const json_t *data = json_object_get(event, "data");
		int code = -1;

		quiet = err ? quiet + 1 : 0;
		hear_signals(m);
		if (err && err != -ETIMEDOUT)
			return vm_has_gone(m);
		if (!strcmp(migrate_text(event, "event"), "migration"))
			take_progress(m, data);
		if (!strcmp(migrate_text(event, "event"), "migration-end"))
			code = finish(m, data);
		else if (quiet && quiet % QUIET_WAITS == 0)
			code = ask_for_result(m);
		json_decref(event);
		if (code >= 0)
			return code;
		if (m->cancelled && m->mode == MODE_ATTACH) {
			migrate_progress_clear(&m->progress);
			return cli_finish(CLI_OK);
		}
	}
}

/* The migration under way, or the last one. */
static int attach(struct migrate *m, const json_t *query)
{
	if (json_object_get(query, "result"))
		return finish(m, json_object_get(query, "result"));
	if (json_object_get(query, "progress"))
		return follow(m);
	cli_error("%s: there has been no migration", m->name);
	return CLI_FAILURE;
}

static int ask(struct migrate *m, json_t **ret, struct control_error *err)
{
	static const char *const commands[] = {
		[MODE_START] = "migrate",	  [MODE_RECOVER] = "migrate-recover",
		[MODE_CANCEL] = "migrate-cancel", [MODE_ATTACH] = "query-migrate",
		[MODE_CHANGE] = "migrate-set",
	};
	/* Ctrl-C cancels. After a SIGKILL, which cannot be blocked, the VM continues alone. */
	int failed = cli_take_signals(&m->signal_fd);

	if (failed)
		return control_fail(err, failed, NULL, "cannot receive signals (signalfd): %s",
				    strerror(-failed));
	failed = control_client_open(&m->client, m->name, err);
	if (failed)
		return failed;
	return vm_ask(m->client, m->name, commands[m->mode], json_incref(m->args), m->signal_fd,
		      ret, NULL, err);
}

static int done(const struct migrate *m, json_t *ret)
{
	if (m->json)
		return cli_print_json(json_incref(ret));
	if (m->mode == MODE_CHANGE)
		printf("%s: the running migration has the new limits\n", m->name);
	else
		printf("%s: the migration has started; `sevmirror migrate %s --attach` shows it\n",
		       m->name, m->name);
	return cli_finish(CLI_OK);
}

/* It was told, or asked, and has ended before it could answer: the guest may be anywhere. */
static bool vm_ended(const struct migrate *m, int failed)
{
	return m->client && (failed == -EPIPE || failed == -ECONNRESET);
}

static int migrate(struct migrate *m)
{
	struct control_error err = { 0 };
	json_t *ret = NULL;
	int failed, code = m->report ? util_check_writable(m->report) : 0;

	if (code) {
		cli_error("--report %s: it cannot be written: %s", m->report,
			  code == -EINVAL ? "it is not a plain file" : strerror(-code));
		return CLI_FAILURE;
	}
	failed = ask(m, &ret, &err);
	if (failed)
		code = vm_ended(m, failed) ? vm_has_gone(m) : vm_failed(&err);
	else if (m->mode == MODE_CHANGE || m->detach)
		code = done(m, ret);
	else if (m->mode == MODE_ATTACH)
		code = attach(m, ret);
	else
		code = follow(m);
	json_decref(ret);
	return code;
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
	.synopsis = { "NAME --to ADDRESS SECURITY [options]", "NAME --recover [--to ADDRESS]",
		      "NAME --attach | --cancel | --change [--bandwidth RATE] [--max-downtime "
		      "MS]" },
	.about =
		"Moves a running VM to another host, the target, where 'sevmirror receive' waits "
		"for it. The guest keeps running meanwhile. Ctrl-C cancels: the guest stays here "
		"and keeps running. In post-copy the guest already runs on the target; then Ctrl-C "
		"breaks the connection, and --recover continues.\n\n"
		"With --attach, Ctrl-C only ends the display.",
	.groups = { { NULL, options }, { MIGRATE_SECURITY_TITLE, migrate_security_options } },
	.operands = "@vm",
	.statuses = statuses,
	.run = run,
};
