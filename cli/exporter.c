/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sevmirror exporter`: the numbers of all VMs of this host for Prometheus, by HTTP, asked for over
 * their control sockets. One process a host, so that no VM's process listens.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/exporter_page.h"
#include "cli/http.h"
#include "control/client.h"
#include "control/runtime.h"
#include "lib/net/address.h"
#include "lib/util/clock.h"

#define DEFAULT_ADDRESS "127.0.0.1:9433"
#define VM_MS		500 /* a VM that takes longer counts as down */
#define PAGE_MS		5000 /* and behind this no further VM is asked: Prometheus waits for 10 s */

enum { OPT_LISTEN = 256 };

static const struct cli_option options[] = {
	{ "listen", OPT_LISTEN, "[HOST:]PORT", NULL,
	  "the address to listen on (default: " DEFAULT_ADDRESS "); a PORT alone means the "
	  "loopback interface" },
	{ 0 },
};

struct scrape {
	struct exporter_page *page;
	uint64_t until;
};

static void add_vm(void *opaque, const char *name)
{
	struct scrape *scrape = opaque;
	struct control_client *client = NULL;
	struct control_error err = { 0 };
	json_t *metrics = NULL;
	int failed = -ETIMEDOUT;

	if (clock_ns() < scrape->until) {
		failed = control_client_open_within(&client, name, VM_MS, &err);
		if (!failed)
			failed = control_client_call(client, "query-metrics", NULL, NULL, VM_MS,
						     &metrics, NULL, &err);
	}
	/* A VM that ended since the directory was read is not one that is down. */
	if (failed != -ENOENT && failed != -ECONNREFUSED && failed != -ECONNRESET)
		exporter_page_add(scrape->page, name, failed ? NULL : metrics);
	control_client_close(client);
	json_decref(metrics);
}

static char *make_page(void *opaque)
{
	struct scrape scrape = { .page = exporter_page_create(),
				 .until = clock_ns() + PAGE_MS * NS_PER_MS };

	if (!scrape.page)
		return NULL;
	(void)runtime_list(add_vm, &scrape); /* no directory: no VM has run yet */
	return exporter_page_finish(scrape.page);
}

static const struct http_ops ops = { .page = make_page };

/* Listen, and say where: the port may have been 0. A descriptor, or -1 after a message. */
static int listen_at(const char *address)
{
	char loopback[64], where[256];
	struct why why = { 0 };
	int fd;

	if (!strchr(address, ':')) {
		snprintf(loopback, sizeof(loopback), "127.0.0.1:%s", address);
		address = loopback;
	}
	fd = address_listen(address, &why);
	if (fd < 0) {
		cli_error("--listen: %s", why.text);
		return -1;
	}
	if (!address_of(fd, where, sizeof(where)))
		fprintf(stderr, "sevmirror: metrics at http://%s" HTTP_METRICS_PATH "\n", where);
	return fd;
}

/* Until SIGINT, SIGTERM or SIGHUP. */
static int serve(int fd)
{
	struct http *http;
	sigset_t set;
	int err, number;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	err = http_create(&http, fd, &ops, NULL);
	if (err) {
		cli_error("the exporter cannot start its thread: %s", strerror(-err));
		return CLI_FAILURE;
	}
	sigwait(&set, &number);
	http_destroy(http);
	return CLI_OK;
}

static int run(int argc, char **argv)
{
	const char *address = DEFAULT_ADDRESS;
	int c, fd;

	while ((c = cli_getopt(&cli_exporter, argc, argv)) != -1) {
		if (c == CLI_OPT_HELP)
			return CLI_OK;
		if (c != OPT_LISTEN)
			return CLI_USAGE;
		address = optarg;
	}
	if (cli_no_operands(argc, argv))
		return CLI_USAGE;
	fd = listen_at(address);
	return fd < 0 ? CLI_FAILURE : serve(fd);
}

const struct cli_command cli_exporter = {
	.name = "exporter",
	.summary = "the metrics of this host's VMs, for Prometheus",
	.synopsis = { "[--listen [HOST:]PORT]" },
	.about = "Answers GET /metrics with the counters and gauges of all running VMs whose "
		 "control sockets are in the runtime directory. Each sample has the label vm. "
		 "sevmirror_vm_up is 0 for a VM that does not answer within half a second.\n\n"
		 "The exporter has no authentication and no TLS. Everybody who reaches the address "
		 "can read the metrics, which contain nothing of a guest's memory. Ctrl-C ends it.",
	.groups = { { NULL, options } },
	.run = run,
};
