/* SPDX-License-Identifier: Apache-2.0 */
/* /dev/sev: what its clients ask of a platform without guests, and with one. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/emulated/vm.h"

#define PSTATE_INIT    1
#define PSTATE_WORKING 2
#define CEK_OFFSET     (2 * SEV_CERT_BYTES)

struct identity {
	uint8_t pdh[SEV_CERT_BYTES];
	uint8_t chain[SEV_CHAIN_BYTES];
};

/* Does the kernel log hold this? */
static bool logged(const char *what)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	bool found = false;
	char line[8192];
	ssize_t n;

	if (fd < 0)
		return false;
	while (!found && ((n = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE)) {
		if (n <= 0)
			continue;
		line[n] = 0;
		found = strstr(line, what);
	}
	close(fd);
	return found;
}

static void test_kernel(struct tap *tap)
{
	char param[8] = "";

	tap_ok(tap, logged("SEV API:0.24"), "ccp found the firmware: 'SEV API:0.24' in the log");
	tap_ok(tap, logged("SEV enabled") || logged("SEV supported"),
	       "kvm_amd says 'SEV enabled' in the log");
	file_read("/sys/module/kvm_amd/parameters/sev", param, sizeof(param) - 1);
	tap_ok(tap, param[0] == 'Y', "kvm_amd's parameter sev is Y");
}

static void test_status(struct tap *tap, struct host *host)
{
	struct sev_user_data_status status;

	tap_sev_good(tap, sev_platform_cmd(host->sev_fd, SEV_PLATFORM_STATUS, &status),
		     "PLATFORM_STATUS");
	tap_ok(tap, status.api_major == 0 && status.api_minor == 24, "API version is 0.24");
	tap_ok(tap, status.state == PSTATE_INIT, "state is INIT (1): %u", status.state);
	tap_ok(tap, status.guest_count == 0, "no guests: %u", status.guest_count);
	tap_ok(tap, !(status.flags & 1), "self-owned");
}

static void test_id(struct tap *tap, struct host *host)
{
	struct sev_user_data_get_id2 query = { 0 };
	struct sev_user_data_get_id legacy;
	struct sev_result result;
	uint8_t id[256] = { 0 }, zero[64] = { 0 };

	result = sev_platform_cmd(host->sev_fd, SEV_GET_ID2, &query);
	tap_sev_status(tap, result, SEV_RET_INVALID_LEN, "GET_ID2 with length 0");
	tap_ok(tap, query.length >= 64 && query.length <= sizeof(id),
	       "GET_ID2 tells the length it needs: %u", query.length);
	query.address = (uintptr_t)id;
	tap_sev_good(tap, sev_platform_cmd(host->sev_fd, SEV_GET_ID2, &query), "GET_ID2");
	tap_ok(tap, memcmp(id, zero, 64) != 0, "the chip's id is not zero");
	tap_sev_good(tap, sev_platform_cmd(host->sev_fd, SEV_GET_ID, &legacy), "GET_ID");
	tap_ok(tap, !memcmp(legacy.socket1, id, 64), "GET_ID and GET_ID2 agree");
}

static bool export_to(struct host *host, struct identity *id)
{
	return !sev_export(host->sev_fd, id->pdh, id->chain).errnum;
}

static void test_export(struct tap *tap, struct host *host)
{
	struct sev_user_data_pdh_cert_export query = { 0 };
	struct identity first, again;
	struct sev_result result;

	result = sev_platform_cmd(host->sev_fd, SEV_PDH_CERT_EXPORT, &query);
	tap_sev_status(tap, result, SEV_RET_INVALID_LEN, "PDH_CERT_EXPORT with lengths 0");
	tap_ok(tap, query.pdh_cert_len == SEV_CERT_BYTES && query.cert_chain_len == SEV_CHAIN_BYTES,
	       "PDH_CERT_EXPORT tells the lengths: %u and %u", query.pdh_cert_len,
	       query.cert_chain_len);
	tap_ok(tap, export_to(host, &first) && export_to(host, &again), "PDH_CERT_EXPORT, twice");
	tap_ok(tap, !memcmp(&first, &again, sizeof(first)), "the same certificates both times");
}

/* A CSR is a certificate with the PEK's public key and no signature yet. */
static void test_csr(struct tap *tap, struct host *host)
{
	struct sev_user_data_pek_csr query = { 0 };
	uint8_t csr[SEV_CERT_BYTES];
	struct identity id;

	tap_sev_status(tap, sev_platform_cmd(host->sev_fd, SEV_PEK_CSR, &query),
		       SEV_RET_INVALID_LEN, "PEK_CSR with length 0");
	tap_ok(tap, query.length == SEV_CERT_BYTES, "PEK_CSR tells the length: %u", query.length);
	query.address = (uintptr_t)csr;
	tap_sev_good(tap, sev_platform_cmd(host->sev_fd, SEV_PEK_CSR, &query), "PEK_CSR");
	tap_ok(tap, export_to(host, &id) && !memcmp(csr + 8, id.chain + 8, 8 + 1028),
	       "the CSR has the PEK's usage, algorithm and public key");
}

static void test_generate(struct tap *tap, struct host *host)
{
	struct identity before, after;

	export_to(host, &before);
	tap_sev_good(tap, sev_platform_cmd(host->sev_fd, SEV_PDH_GEN, NULL), "PDH_GEN");
	export_to(host, &after);
	tap_ok(tap, memcmp(before.pdh, after.pdh, SEV_CERT_BYTES) != 0, "PDH_GEN: another PDH");
	tap_ok(tap, !memcmp(before.chain, after.chain, SEV_CHAIN_BYTES), "PDH_GEN: the same PEK");

	export_to(host, &before);
	tap_sev_good(tap, sev_platform_cmd(host->sev_fd, SEV_PEK_GEN, NULL), "PEK_GEN");
	export_to(host, &after);
	tap_ok(tap,
	       memcmp(before.pdh, after.pdh, SEV_CERT_BYTES) != 0 &&
		       memcmp(before.chain, after.chain, SEV_CERT_BYTES) != 0,
	       "PEK_GEN: another PEK and PDH");
	tap_ok(tap, !memcmp(before.chain + CEK_OFFSET + 16, after.chain + CEK_OFFSET + 16, 1028),
	       "PEK_GEN: the same chip (CEK)");

	export_to(host, &before);
	tap_sev_good(tap, sev_platform_cmd(host->sev_fd, SEV_FACTORY_RESET, NULL), "FACTORY_RESET");
	tap_ok(tap, export_to(host, &after), "PDH_CERT_EXPORT after FACTORY_RESET");
	tap_ok(tap,
	       memcmp(before.pdh, after.pdh, SEV_CERT_BYTES) != 0 &&
		       memcmp(before.chain, after.chain, SEV_CERT_BYTES) != 0 &&
		       memcmp(before.chain + SEV_CERT_BYTES, after.chain + SEV_CERT_BYTES,
			      SEV_CERT_BYTES) != 0,
	       "FACTORY_RESET: another OCA, PEK and PDH");
	tap_ok(tap, !memcmp(before.chain + CEK_OFFSET + 16, after.chain + CEK_OFFSET + 16, 1028),
	       "FACTORY_RESET: the same chip (CEK)");
}

static void test_permissions(struct tap *tap)
{
	int fd = open("/dev/sev", O_RDONLY | O_CLOEXEC);
	struct sev_user_data_status status;

	tap_sev_errno(tap, sev_platform_cmd(fd, SEV_PDH_GEN, NULL), EPERM,
		      "PDH_GEN on a read-only /dev/sev");
	tap_sev_errno(tap, sev_platform_cmd(fd, SEV_FACTORY_RESET, NULL), EPERM,
		      "FACTORY_RESET on a read-only /dev/sev");
	tap_sev_good(tap, sev_platform_cmd(fd, SEV_PLATFORM_STATUS, &status),
		     "PLATFORM_STATUS on a read-only /dev/sev");
	tap_sev_errno(tap, sev_platform_cmd(fd, 4711, NULL), EINVAL, "an unknown command");
	close(fd);
}

/* With a guest the platform is WORKING, and what would take the guest's keys away is refused. */
static void test_working(struct tap *tap, struct host *host)
{
	struct sev_user_data_status status;
	struct identity before, after;
	struct vm vm;

	if (!tap_ok(tap, vm_start(host, &vm, 0, "guest"), "a guest starts"))
		return;
	sev_platform_cmd(host->sev_fd, SEV_PLATFORM_STATUS, &status);
	tap_ok(tap, status.state == PSTATE_WORKING && status.guest_count == 1,
	       "state WORKING (2) with 1 guest: %u, %u", status.state, status.guest_count);
	tap_sev_errno(tap, sev_platform_cmd(host->sev_fd, SEV_FACTORY_RESET, NULL), EBUSY,
		      "FACTORY_RESET with a guest");
	tap_sev_status(tap, sev_platform_cmd(host->sev_fd, SEV_PEK_GEN, NULL),
		       SEV_RET_INVALID_PLATFORM_STATE, "PEK_GEN with a guest");
	tap_ok(tap, export_to(host, &before), "PDH_CERT_EXPORT with a guest");
	tap_sev_good(tap, sev_platform_cmd(host->sev_fd, SEV_PDH_GEN, NULL),
		     "PDH_GEN with a guest");
	export_to(host, &after);
	tap_ok(tap, memcmp(before.pdh, after.pdh, SEV_CERT_BYTES) != 0, "it makes another PDH");
	vm_destroy(&vm);
	sev_platform_cmd(host->sev_fd, SEV_PLATFORM_STATUS, &status);
	tap_ok(tap, status.state == PSTATE_INIT && status.guest_count == 0,
	       "INIT (1) again when the guest is gone: %u, %u", status.state, status.guest_count);
}

int main(void)
{
	struct tap tap = { .program = "platform" };
	struct host host;

	host_open(&host);
	test_kernel(&tap);
	test_status(&tap, &host);
	test_id(&tap, &host);
	test_export(&tap, &host);
	test_csr(&tap, &host);
	test_generate(&tap, &host);
	test_permissions(&tap);
	test_working(&tap, &host);
	host_close(&host);
	return tap_done(&tap);
}
