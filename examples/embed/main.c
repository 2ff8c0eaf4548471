/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a VMM embeds libsevmirror: a guest that counts moves from one process of this program to
 * another.
 *
 *	cc -D_GNU_SOURCE -o embed *.c $(pkg-config --cflags --libs sevmirror)
 *	./embed target			prints its address, then what came of the guest
 *	./embed source 127.0.0.1:PORT
 *
 * guest.c is the guest, vcpu.c runs its vCPUs, vm.c has the VM and what the library calls.
 *
 * Exit status: source: 0 the guest has moved; target: 0 it came, counts on, and every page is as
 * the guest wrote it last.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sevmirror/migrate.h>

#include "guest.h"

#define RAM_BYTES (64ULL << 20)
#define WAIT_US	  1000
#define WAIT_MAX  120000 /* times WAIT_US */

static int fail(const char *what)
{
	fprintf(stderr, "embed: %s\n", what);
	return 1;
}

static bool wait_for_count(const struct vm *vm, uint64_t count)
{
	for (int i = 0; i < WAIT_MAX && guest_count(vm) < count; i++)
		usleep(WAIT_US);
	return guest_count(vm) >= count;
}

/* Any free port of the loopback interface: the migration is in clear, as tests may be. */
static int listen_somewhere(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) || listen(fd, 16) ||
	    getsockname(fd, (struct sockaddr *)&address, &len))
		return -1;
	printf("listening at 127.0.0.1:%u\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

static int run_target(struct vm *vm)
{
	struct sevmirror_target_options options = { .security.insecure = true };
	struct sevmirror_migration *migration;
	struct sevmirror_summary summary;
	enum sevmirror_outcome outcome;
	char why[256];
	uint64_t count;

	options.listen_fd = listen_somewhere();
	if (options.listen_fd < 0)
		return fail("no address to listen on");
	if (sevmirror_target_create(&migration, &vm_ops, vm, &options, why, sizeof(why)))
		return fail(why);
	outcome = sevmirror_migration_run(migration, &summary);
	sevmirror_migration_destroy(migration);
	close(options.listen_fd);
	if (outcome != SEVMIRROR_MIGRATED)
		return fail(summary.error);
	count = guest_count(vm);
	if (!wait_for_count(vm, count + 2000))
		return fail("the guest came, but does not count on");
	if (!guest_check(vm))
		return fail("the guest's memory is not what it was");
	printf("the guest came at %llu and counts on, its memory is whole\n",
	       (unsigned long long)count);
	return 0;
}

static int run_source(struct vm *vm, const char *address)
{
	struct sevmirror_source_options options = { .address = address, .security.insecure = true };
	struct sevmirror_migration *migration;
	struct sevmirror_summary summary;
	enum sevmirror_outcome outcome;
	char why[256];
	int err = vm_launch(vm, RAM_BYTES, 1);

	if (err)
		return fail(strerror(-err));
	if (!wait_for_count(vm, 5000))
		return fail("the guest does not count");
	if (sevmirror_source_create(&migration, &vm_ops, vm, &options, why, sizeof(why)))
		return fail(why);
	outcome = sevmirror_migration_run(migration, &summary);
	sevmirror_migration_destroy(migration);
	if (outcome != SEVMIRROR_MIGRATED || !vm->gone)
		return fail(summary.error);
	printf("the guest left at %llu: %llu pages in %u rounds, it was stopped for %.1f ms\n",
	       (unsigned long long)guest_count(vm), (unsigned long long)summary.pages,
	       summary.rounds, (double)summary.downtime / 1e6);
	return 0;
}

int main(int argc, char **argv)
{
	bool target = argc == 2 && !strcmp(argv[1], "target");
	struct vm vm;
	int code;

	if (sevmirror_wipe_openssl_memory())
		return fail("OpenSSL was used before");
	if (!target && (argc != 3 || strcmp(argv[1], "source") != 0)) {
		fprintf(stderr, "usage: embed target | embed source HOST:PORT\n");
		return 2;
	}
	vm_init(&vm, &counting_guest);
	code = target ? run_target(&vm) : run_source(&vm, argv[2]);
	vm_destroy(&vm);
	return code;
}
