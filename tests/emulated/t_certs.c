/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /dev/sev for the drivers: 'export DIR' writes pdh.cert, chain.cert, id.bin and version; 'csr
 * FILE'; 'import PEK OCA'; 'new-pdh'; 'reset'; 'state' prints the platform's state, owner flag and
 * number of guests. Exit status 0, or 1 with the firmware's status by name on stdout.
 */
#include <stdio.h>
#include <string.h>

#include "tests/emulated/vm.h"

static int said(struct sev_result result)
{
	if (!result.errnum)
		return 0;
	printf("%s, %s\n", strerror(result.errnum), sev_status_name(result.fw));
	return 1;
}

static int store(const char *dir, const char *name, const void *buf, size_t len)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return file_write(path, buf, len) ? 1 : 0;
}

static int export(struct host *host, const char *dir)
{
	uint8_t pdh[SEV_CERT_BYTES], chain[SEV_CHAIN_BYTES], id[128] = { 0 };
	struct sev_user_data_get_id2 get_id = { (uintptr_t)id, sizeof(id) };
	struct sev_user_data_status status;
	char version[32];

	if (said(sev_export(host->sev_fd, pdh, chain)) ||
	    said(sev_platform_cmd(host->sev_fd, SEV_GET_ID2, &get_id)) ||
	    said(sev_platform_cmd(host->sev_fd, SEV_PLATFORM_STATUS, &status)))
		return 1;
	snprintf(version, sizeof(version), "%u.%u.%u\n", status.api_major, status.api_minor,
		 status.build);
	return store(dir, "pdh.cert", pdh, sizeof(pdh)) ||
	       store(dir, "chain.cert", chain, sizeof(chain)) ||
	       store(dir, "id.bin", id, get_id.length) ||
	       store(dir, "version", version, strlen(version));
}

static int csr(struct host *host, const char *path)
{
	uint8_t buf[SEV_CERT_BYTES];
	struct sev_user_data_pek_csr csr = { (uintptr_t)buf, sizeof(buf) };

	if (said(sev_platform_cmd(host->sev_fd, SEV_PEK_CSR, &csr)))
		return 1;
	return file_write(path, buf, csr.length) ? 1 : 0;
}

static int import(struct host *host, const char *pek_path, const char *oca_path)
{
	uint8_t pek[SEV_CERT_BYTES + 16], oca[SEV_CERT_BYTES + 16];
	long pek_len = file_read(pek_path, pek, sizeof(pek));
	long oca_len = file_read(oca_path, oca, sizeof(oca));
	struct sev_user_data_pek_cert_import import = { (uintptr_t)pek, pek_len, (uintptr_t)oca,
							oca_len };

	if (pek_len < 0 || oca_len < 0)
		return 2;
	return said(sev_platform_cmd(host->sev_fd, SEV_PEK_CERT_IMPORT, &import));
}

static int state(struct host *host)
{
	struct sev_user_data_status status;

	if (said(sev_platform_cmd(host->sev_fd, SEV_PLATFORM_STATUS, &status)))
		return 1;
	printf("state %u owned %u guests %u\n", status.state, status.flags & 1, status.guest_count);
	return 0;
}

int main(int argc, char **argv)
{
	struct host host;
	int rc = 2;

	host_open(&host);
	if (argc == 3 && !strcmp(argv[1], "export"))
		rc = export(&host, argv[2]);
	else if (argc == 3 && !strcmp(argv[1], "csr"))
		rc = csr(&host, argv[2]);
	else if (argc == 4 && !strcmp(argv[1], "import"))
		rc = import(&host, argv[2], argv[3]);
	else if (argc == 2 && !strcmp(argv[1], "reset"))
		rc = said(sev_platform_cmd(host.sev_fd, SEV_FACTORY_RESET, NULL));
	else if (argc == 2 && !strcmp(argv[1], "new-pdh"))
		rc = said(sev_platform_cmd(host.sev_fd, SEV_PDH_GEN, NULL));
	else if (argc == 2 && !strcmp(argv[1], "state"))
		rc = state(&host);
	else
		fprintf(stderr,
			"certs export DIR | csr FILE | import PEK OCA | new-pdh | reset | state\n");
	host_close(&host);
	return rc;
}
