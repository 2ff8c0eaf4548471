/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile host, preloaded into sevmirror, which cannot prevent it: when $DEBUGGER_DIR/go appears,
 * it asks the secure processor to decrypt a guest's page for a debugger, and writes what came of it
 * to $DEBUGGER_DIR/said. KVM takes such a request only from the process that made the VM.
 * $DEBUGGER_GPA is the page.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/psp-sev.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define FDS	   256

static int vm_fd(void)
{
	char path[32], to[64];

	for (int fd = 0; fd < FDS; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, to, sizeof(to) - 1);
		if (n > 0 && (to[n] = '\0', !strcmp(to, "anon_inode:kvm-vm")))
			return fd;
	}
	return -1;
}

/* Where the guest's memory begins: the largest mapping of a memfd. */
static uint8_t *guest_memory(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end, most = 0;
	uint8_t *mem = NULL;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps)) {
		char *dash;

		start = strtoul(line, &dash, 16);
		end = *dash == '-' ? strtoul(dash + 1, NULL, 16) : start;
		if (!strstr(line, "memfd:") || end - start <= most)
			continue;
		most = end - start;
		mem = (uint8_t *)start; // NOLINT(performance-no-int-to-ptr): /proc's numbers
	}
	if (maps)
		fclose(maps);
	return mem;
}

static void debug(FILE *said)
{
	static uint8_t page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
	const char *gpa = getenv("DEBUGGER_GPA");
	uint8_t *mem = guest_memory();
	struct kvm_sev_dbg dbg = { .dst_uaddr = (uintptr_t)page, .len = PAGE_BYTES };
	struct kvm_sev_cmd cmd = { .id = KVM_SEV_DBG_DECRYPT, .data = (uintptr_t)&dbg };

	if (!mem || !gpa) {
		fprintf(said, "no guest\n");
		return;
	}
	dbg.src_uaddr = (uintptr_t)mem + strtoull(gpa, NULL, 0);
	cmd.sev_fd = (uint32_t)open("/dev/sev", O_RDWR | O_CLOEXEC);
	if (ioctl(vm_fd(), KVM_MEMORY_ENCRYPT_OP, &cmd))
		fprintf(said, "refused: %s, firmware status %u%s\n", strerror(errno), cmd.error,
			cmd.error == SEV_RET_POLICY_FAILURE ? " (POLICY_FAILURE)" : "");
	else
		fprintf(said, "decrypted\n");
	fwrite(page, 1, sizeof(page), said);
	close((int)cmd.sev_fd);
}

static void *wait_and_debug(void *arg)
{
	const char *dir = arg;
	char path[256], done[256];
	FILE *said;

	snprintf(path, sizeof(path), "%s/go", dir);
	while (access(path, F_OK))
		usleep(20000);
	snprintf(path, sizeof(path), "%s/saying", dir);
	snprintf(done, sizeof(done), "%s/said", dir);
	said = fopen(path, "we");
	if (said) {
		debug(said);
		fclose(said);
		rename(path, done);
	}
	return NULL;
}

__attribute__((constructor)) static void attach(void)
{
	char *dir = getenv("DEBUGGER_DIR");
	sigset_t all, before;
	pthread_t thread;

	if (!dir)
		return;
	/* the signals are for sevmirror's own threads */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (!pthread_create(&thread, NULL, wait_and_debug, dir))
		pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
