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
#include "cli/run_options.h"
#include "cli/vm_client.h"
#include "control/client.h"

#define EVENT_MS   200
#define ANSWER_MS  30000
#define LINE_CHARS 100
#define MIB	   1048576.0
#define NS_PER_MS  1000000ULL

enum {
	OPT_TO = MIGRATE_OPT_FIRST,
	OPT_STREAMS,
	OPT_DOWNTIME,
	OPT_BANDWIDTH,
	OPT_THROTTLE,
	OPT_ROUNDS,
	OPT_VENDOR,
	OPT_TIMEOUT,
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
	{ "max-rounds", OPT_ROUNDS, "N", NULL, "give up after so many rounds (default: 30)" },
	{ "vendor-chain", OPT_VENDOR, "FILE", "@file",
	  "ASK and ARK of the target's chip in AMD's format, instead of what the target shows" },
	{ "timeout", OPT_TIMEOUT, "SECONDS", NULL,
	  "how long the connection may stand still (default: 10)" },
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
	{ 0 },
};

struct migrate {
	const char *name;
	bool json;
	bool live; /* standard error is a terminal: one line, written over */
	json_t *args;
	struct sevmirror_security security;
	struct control_client *client;
	int signal_fd;
	bool cancelled;
	int last_round; /* that was shown on a line of its own */
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
	case OPT_ROUNDS:
		return set_number(m, "max-rounds", arg, 10000, why);
	case OPT_VENDOR:
		return set_file(m, "vendor-chain", arg, why);
	case OPT_TIMEOUT:
		return set_timeout(m, arg, why);
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
	if (!err && !json_object_get(m->args, "address"))
		err = why_set(&why, -EINVAL, "--to is needed");
	if (!err)
		err = set_security(m, &why);
	if (err)
		*code = cli_usage(argv[0], "%s", why.text);
	else
		m->name = argv[optind];
	return !err;
}

static double number(const json_t *object, const char *member)
{
	return json_number_value(json_object_get(object, member));
}

static const char *text(const json_t *object, const char *member)
{
	const char *value = json_string_value(json_object_get(object, member));

	return value ? value : "";
}

static void show_progress(struct migrate *m, const json_t *p)
{
	double total = number(p, "pages-total");
	int round = (int)number(p, "round");
	char line[LINE_CHARS * 2];

	if (m->json || (!m->live && (round == m->last_round || !round)))
		return;
	m->last_round = round;
	snprintf(
		line, sizeof(line),
		"%-8s round %-2d  %4.1f %% left  %8.1f MiB sent  %7.1f MiB/s  dirty %6.1f MiB/s  downtime "
		"~%.0f ms  %.1f s",
		text(p, "phase"), round, total > 0 ? 100 * number(p, "pages-left") / total : 0,
		number(p, "bytes-sent") / MIB, number(p, "rate") / MIB,
		number(p, "dirty-rate") / MIB, number(p, "expected-downtime-ms"),
		number(p, "elapsed-ms") / 1000);
	fprintf(stderr, m->live ? "\r%-*s" : "%.*s\n", LINE_CHARS + 20, line);
}

static void end_progress(const struct migrate *m)
{
	if (m->live && !m->json)
		fprintf(stderr, "\r%-*s\r", LINE_CHARS + 20, "");
}

static int result_code(const char *outcome)
{
	if (!strcmp(outcome, "migrated"))
		return CLI_OK;
	return strcmp(outcome, "unknown") ? CLI_FAILURE : CLI_UNDECIDED;
}

static void print_summary(const struct migrate *m, const json_t *r)
{
	printf("%s runs at the other host.\n", m->name);
	printf("  total time     %.2f s\n", number(r, "total-ms") / 1000);
	printf("  downtime       %.1f ms\n", number(r, "downtime-ms"));
	printf("  sent           %.1f MiB, %.0f pages (%.0f again), %.0f rounds\n",
	       number(r, "bytes") / MIB, number(r, "pages"), number(r, "pages-resent"),
	       number(r, "rounds"));
	printf("  PSP commands   %.0f\n", number(r, "psp-commands"));
	printf("  helper exits   %.0f\n", number(r, "helper-exits"));
}

/* The words for people; what to do about it, where there is something. */
static int say_result(const struct migrate *m, const json_t *r)
{
	const char *outcome = text(r, "outcome");
	int code = result_code(outcome);

	end_progress(m);
	if (code == CLI_OK && !m->json)
		print_summary(m, r);
	else if (code == CLI_UNDECIDED)
		cli_error(
			"%s. The VM is paused here, and may run at the other host: look there. If it does "
			"not: `sevmirror resume %s`; if it does: `sevmirror stop %s --force`",
			text(r, "error"), m->name, m->name);
	else if (!strcmp(outcome, "cancelled"))
		cli_error("given up: %s runs on here", m->name);
	else if (code != CLI_OK)
		cli_error("%s runs on here: %s", m->name, text(r, "error"));
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
		end_progress(m);
		cli_error("%s", err.desc);
	}
	json_decref(ret);
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
			end_progress(m);
			cli_error(
				"the VM's process has gone, so how the migration ended is not known: "
				"look at the other host");
			return CLI_UNDECIDED;
		}
		if (!strcmp(text(event, "event"), "migration"))
			show_progress(m, data);
		else if (!strcmp(text(event, "event"), "migration-end"))
			code = say_result(m, data);
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
	int failed;

	failed = take_signals(m);
	if (failed)
		control_fail(&err, failed, NULL, "signalfd: %s", strerror(-failed));
	else
		failed = control_client_open(&m->client, m->name, &err);
	if (!failed)
		failed = control_client_call(m->client, "migrate", json_incref(m->args), NULL,
					     ANSWER_MS, &ret, NULL, &err);
	json_decref(ret);
	if (!failed)
		return follow(m);
	cli_error("%s", err.desc);
	return err.class && !strcmp(err.class, CONTROL_BAD_ARGUMENTS) ? CLI_USAGE : CLI_FAILURE;
}

static int run(int argc, char **argv)
{
	struct migrate m = { .signal_fd = -1,
			     .args = json_object(),
			     .live = isatty(STDERR_FILENO) };
	int code = CLI_OK;

	if (parse(&m, argc, argv, &code))
		code = migrate(&m);
	control_client_close(m.client);
	json_decref(m.args);
	if (m.signal_fd >= 0)
		close(m.signal_fd);
	return code;
}

const struct cli_command cli_migrate = {
	.name = "migrate",
	.summary = "move a running VM to another host",
	.synopsis = { "NAME --to ADDRESS SECURITY [options]" },
	.about =
		"Moves a running VM to another host, where 'sevmirror receive' waits for it. The VM goes on "
		"working meanwhile. Ctrl-C gives it up: then it stays here as if nothing had been.",
	.groups = { { NULL, options }, { MIGRATE_SECURITY_TITLE, migrate_security_options } },
	.operands = "@vm",
	.statuses = statuses,
	.run = run,
};
