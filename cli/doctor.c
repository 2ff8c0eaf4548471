/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "cli/cli.h"
#include "lib/migrate/uffd.h"
#include "lib/sev/sev_cpuid.h"
#include "lib/sev/platform.h"

static const struct cli_option options[] = {
	{ "json", 'j', NULL, NULL, "print the findings as JSON" },
	{ 0 },
};

static const struct cli_status_text statuses[] = {
	{ CLI_OK, "this host can run SEV guests with a mirror and migrate them in every way" },
	{ CLI_UNSUPPORTED, "something is missing; the last lines say what works nevertheless" },
	{ 0 },
};

enum health { GOOD, NOTE, BAD };

struct check {
	const char *name;
	enum health health;
	char found[256];
	const char *advice; /* NULL: nothing to do */
};

#define NCHECKS_MAX 16

struct findings {
	struct check checks[NCHECKS_MAX];
	size_t nchecks;
	int kvm_fd, vm_fd; /* -1: could not be had */
	bool kvm, sev, mirror, encrypted_pages, memlock, uffd;
};

__attribute__((format(printf, 5, 6))) static void add(struct findings *f, const char *name,
						      enum health health, const char *advice,
						      const char *format, ...)
{
	struct check *check = &f->checks[f->nchecks++];
	va_list args;

	check->name = name;
	check->health = health;
	check->advice = health == GOOD ? NULL : advice;
	va_start(args, format);
	vsnprintf(check->found, sizeof(check->found), format, args);
	va_end(args);
}

static void check_kernel(struct findings *f)
{
	struct utsname name;
	unsigned long major, minor;
	bool new_enough;
	char *end;

	uname(&name);
	major = strtoul(name.release, &end, 10);
	minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
	new_enough = major > 5 || (major == 5 && minor >= 15);
	add(f, "kernel", new_enough ? GOOD : BAD,
	    "mirrors need Linux 5.13, post-copy by minor faults 5.14 and SEND_CANCEL 5.15: install "
	    "a newer kernel (tested: 6.1 and 6.12)",
	    "Linux %s", name.release);
}

static void check_kvm(struct findings *f)
{
	f->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (f->kvm_fd < 0) {
		add(f, "kvm", BAD,
		    errno == EACCES ?
			    "give your user access: usermod -aG kvm USER, then log in again" :
			    "enable virtualization (SVM) in the BIOS setup and load kvm_amd",
		    "/dev/kvm: %s", strerror(errno));
		return;
	}
	f->vm_fd = ioctl(f->kvm_fd, KVM_CREATE_VM, 0UL);
	f->kvm = f->vm_fd >= 0;
	if (f->kvm)
		add(f, "kvm", GOOD, NULL, "API version %d",
		    ioctl(f->kvm_fd, KVM_GET_API_VERSION, 0UL));
	else
		add(f, "kvm", BAD, "is another hypervisor (VirtualBox, VMware) using the CPU?",
		    "a VM cannot be created: %s", strerror(errno));
}

static void check_cpu(struct findings *f)
{
	struct sev_cpuid cpuid;

	sev_cpuid_host(&cpuid);
	if (!cpuid.sev) {
		add(f, "cpu", BAD,
		    "SEV needs an AMD EPYC, with SMEE and SEV enabled in the BIOS setup",
		    "no SEV in CPUID");
		return;
	}
	add(f, "cpu", GOOD, NULL, "SEV%s%s, C-bit %u, %u ASIDs of which %u for plain SEV%s",
	    cpuid.sev_es ? ", ES" : "", cpuid.sev_snp ? ", SNP" : "", cpuid.c_bit, cpuid.asids,
	    cpuid.min_sev_asid && cpuid.asids >= cpuid.min_sev_asid ?
		    cpuid.asids - cpuid.min_sev_asid + 1 :
		    0,
	    cpuid.coherent ? ", coherent caches" : "");
}

static void check_firmware(struct findings *f)
{
	struct sev_platform_status s;
	struct sev_error error;
	int fd = sev_device_open(&error);

	if (fd < 0) {
		add(f, "firmware", BAD,
		    "enable SEV in the BIOS setup, load ccp, and check dmesg for 'ccp' and 'SEV'",
		    "%s", error.message);
		return;
	}
	if (sev_platform_status(fd, &s, &error))
		add(f, "firmware", BAD, "check dmesg for 'ccp' and 'SEV'", "%s", error.message);
	else
		add(f, "firmware", GOOD, NULL, "SEV API %u.%u build %u, %u guests", s.api_major,
		    s.api_minor, s.build, s.guests);
	close(fd);
}

static bool kvm_parameter(const char *name)
{
	char path[96], value = 'N';
	int fd;

	snprintf(path, sizeof(path), "/sys/module/kvm_amd/parameters/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, &value, 1) != 1)
		value = 'N';
	close(fd);
	return value == 'Y' || value == '1';
}

/*
 * KVM_MEMORY_ENCRYPT_OP without an argument succeeds exactly when KVM has SEV (Linux,
 * sev_mem_enc_ioctl()).
 */
static void check_kvm_sev(struct findings *f)
{
	if (f->vm_fd < 0)
		return;
	f->sev = ioctl(f->vm_fd, KVM_MEMORY_ENCRYPT_OP, NULL) == 0;
	add(f, "kvm-sev", f->sev ? GOOD : BAD,
	    "load kvm_amd with sev=1 (kernel parameter kvm_amd.sev=1) after ccp found the firmware",
	    "%s", f->sev ? "KVM runs SEV guests" : "KVM has no SEV");
	if (f->sev)
		add(f, "kvm-sev-es", NOTE, NULL, "%s",
		    kvm_parameter("sev_es") ? "KVM can run SEV-ES guests; sevmirror cannot yet" :
					      "no SEV-ES guests; sevmirror does not need them");
}

static void check_mirror(struct findings *f)
{
	if (f->vm_fd < 0)
		return;
	f->mirror = ioctl(f->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_COPY_ENC_CONTEXT_FROM) > 0;
	add(f, "mirror", f->mirror ? GOOD : BAD,
	    "KVM offers it with SEV enabled, from Linux 5.13 on", "%s",
	    f->mirror ? "KVM_CAP_VM_COPY_ENC_CONTEXT_FROM" : "no KVM_CAP_VM_COPY_ENC_CONTEXT_FROM");
}

static void check_page_kinds(struct findings *f)
{
	int calls, msrs;

	if (f->vm_fd < 0)
		return;
	calls = ioctl(f->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_EXIT_HYPERCALL);
	msrs = ioctl(f->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_USER_SPACE_MSR);
	f->encrypted_pages = calls > 0 && calls & 1 << KVM_HC_MAP_GPA_RANGE && msrs > 0;
	add(f, "shared-pages", f->encrypted_pages ? GOOD : BAD,
	    "the guest reports its shared pages by a hypercall, which needs Linux 5.14", "%s",
	    f->encrypted_pages ? "KVM passes KVM_HC_MAP_GPA_RANGE and MSR_KVM_MIGRATION_CONTROL to "
				 "user space" :
				 "KVM does not pass KVM_HC_MAP_GPA_RANGE or MSRs to user space");
}

static bool has_capability(unsigned int cap)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, data))
		return false;
	return data[CAP_TO_INDEX(cap)].effective & CAP_TO_MASK(cap);
}

static void check_memlock(struct findings *f)
{
	const char *advice = "the memory of SEV guests is pinned: raise the limit to the guests' "
			     "memory (ulimit -l, /etc/security/limits.conf, LimitMEMLOCK=)";
	struct rlimit limit;

	getrlimit(RLIMIT_MEMLOCK, &limit);
	f->memlock = limit.rlim_cur == RLIM_INFINITY || has_capability(CAP_IPC_LOCK);
	if (f->memlock)
		add(f, "memlock", GOOD, NULL, "%s",
		    limit.rlim_cur == RLIM_INFINITY ? "unlimited" : "no limit with CAP_IPC_LOCK");
	else
		add(f, "memlock", limit.rlim_cur < 256UL << 20 ? BAD : NOTE, advice,
		    "enough for guests with %llu MiB in "
		    "all",
		    (unsigned long long)limit.rlim_cur >> 20);
	f->memlock |= limit.rlim_cur >= 256UL << 20;
}

static void check_uffd(struct findings *f)
{
	struct why why;
	int fd = uffd_open(-1, &why);

	f->uffd = fd >= 0;
	if (f->uffd)
		close(fd);
	add(f, "userfaultfd", f->uffd ? GOOD : BAD, "post-copy needs it", "%s",
	    f->uffd ? "minor faults on shared memory" : why.text);
}

static void check_tsc(struct findings *f)
{
	int khz, scaling;

	if (f->vm_fd < 0)
		return;
	khz = ioctl(f->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_GET_TSC_KHZ);
	scaling = ioctl(f->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL);
	add(f, "tsc", khz > 0 && scaling > 0 ? GOOD : NOTE,
	    "guests can only move between hosts whose TSC has the same frequency", "%s",
	    scaling > 0 ? "the guest's frequency can be scaled" : "no scaling");
}

struct ability {
	const char *key, *name;
	bool can;
};

#define NABILITIES 4

static void abilities(const struct findings *f, struct ability out[NABILITIES])
{
	bool sev = f->kvm && f->sev && f->memlock;

	out[0] = (struct ability){ "plain_guests", "plain guests (--sev=off)", f->kvm };
	out[1] = (struct ability){ "sev_guests", "SEV guests", sev };
	out[2] = (struct ability){ "migration", "mirror and migration of SEV guests",
				   sev && f->mirror && f->encrypted_pages };
	out[3] = (struct ability){ "postcopy", "post-copy", f->kvm && f->uffd };
}

static int print_findings(const struct findings *f, const struct ability *can)
{
	static const char *const marks[] = { "ok  ", "note", "NO  " };

	for (size_t i = 0; i < f->nchecks; i++) {
		const struct check *c = &f->checks[i];

		printf("%s  %-13s %s\n", marks[c->health], c->name, c->found);
		if (c->advice)
			printf("                    -> %s\n", c->advice);
	}
	putchar('\n');
	for (int i = 0; i < NABILITIES; i++)
		printf("%-36s %s\n", can[i].name, can[i].can ? "yes" : "no");
	return cli_finish(CLI_OK);
}

static int print_findings_json(const struct findings *f, const struct ability *can)
{
	static const char *const names[] = { "ok", "note", "bad" };
	json_t *checks = json_array(), *abilities_json = json_object();

	for (size_t i = 0; i < f->nchecks; i++) {
		const struct check *c = &f->checks[i];

		json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s*}", "name", c->name,
							"health", names[c->health], "found",
							c->found, "advice", c->advice));
	}
	for (int i = 0; i < NABILITIES; i++)
		json_object_set_new(abilities_json, can[i].key, json_boolean(can[i].can));
	return cli_print_json(json_pack("{s:o, s:o}", "checks", checks, "can", abilities_json));
}

static void examine(struct findings *f)
{
	check_kernel(f);
	check_kvm(f);
	check_cpu(f);
	check_firmware(f);
	check_kvm_sev(f);
	check_mirror(f);
	check_page_kinds(f);
	check_memlock(f);
	check_uffd(f);
	check_tsc(f);
	if (f->vm_fd >= 0)
		close(f->vm_fd);
	if (f->kvm_fd >= 0)
		close(f->kvm_fd);
}

static int run(int argc, char **argv)
{
	struct findings findings = { .kvm_fd = -1, .vm_fd = -1 };
	struct ability can[NABILITIES];
	bool json = false;
	int c, code;

	while ((c = cli_getopt(&cli_doctor, argc, argv)) != -1) {
		if (c != 'j')
			return c == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
		json = true;
	}
	if (cli_no_operands(argc, argv))
		return CLI_USAGE;
	examine(&findings);
	abilities(&findings, can);
	code = json ? print_findings_json(&findings, can) : print_findings(&findings, can);
	if (code)
		return code;
	for (int i = 0; i < NABILITIES; i++) {
		if (!can[i].can)
			return CLI_UNSUPPORTED;
	}
	return CLI_OK;
}

const struct cli_command cli_doctor = {
	.name = "doctor",
	.summary = "check what this host supports, and how to get what is missing",
	.synopsis = { "[--json]" },
	.about = "Checks what this host supports: KVM, SEV, mirrors, post-copy and limits. For "
		 "each thing that is missing it says how to get it.",
	.groups = { { NULL, options } },
	.statuses = statuses,
	.run = run,
};
