/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sev_firmware.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"
#include "tests/unit/psp_machine.h"

#define ASID 1

struct firmware {
	struct machine machine;
};

struct firmware *firmware_up(uint8_t chip)
{
	struct firmware *fw = calloc(1, sizeof(*fw));

	assert_non_null(fw);
	machine_up(&fw->machine, chip);
	machine_init(&fw->machine);
	return fw;
}

void firmware_down(struct firmware *fw)
{
	machine_down(&fw->machine);
	free(fw);
}

void firmware_version(struct firmware *fw, uint8_t *major, uint8_t *minor, uint8_t *build)
{
	struct cmd_platform_status status = platform_status(&fw->machine);

	*major = status.api_major;
	*minor = status.api_minor;
	*build = status.build;
}

void firmware_certs(struct firmware *fw, void *pdh, void *chain)
{
	pdh_export(&fw->machine, pdh, chain);
}

void firmware_new_pek(struct firmware *fw)
{
	assert_int_equal(run(&fw->machine, PSP_CMD_PEK_GEN, NULL, 0), PSP_OK);
}

void firmware_new_pdh(struct firmware *fw)
{
	assert_int_equal(run(&fw->machine, PSP_CMD_PDH_GEN, NULL, 0), PSP_OK);
}

uint32_t firmware_launch_start(struct firmware *fw, uint32_t policy, const void *godh,
			       const void *session, uint32_t *handle)
{
	struct cmd_start start = {
		.policy = policy,
		.dh_cert_addr = put(&fw->machine, godh, sizeof(struct sev_cert)),
		.dh_cert_len = sizeof(struct sev_cert),
		.session_addr = put(&fw->machine, session, sizeof(struct session)),
		.session_len = sizeof(struct session),
	};
	uint32_t status = RUN(&fw->machine, PSP_CMD_LAUNCH_START, &start);

	*handle = start.handle;
	if (status == PSP_OK)
		activate(&fw->machine, start.handle, ASID);
	return status;
}

void firmware_launch_data(struct firmware *fw, uint32_t handle, const void *data, size_t len)
{
	launch_update(&fw->machine, handle, put(&fw->machine, data, len), (uint32_t)len);
}

void firmware_launch_measure(struct firmware *fw, uint32_t handle, uint8_t measurement[48])
{
	struct launch_measure measure;

	launch_measure(&fw->machine, handle, &measure);
	memcpy(measurement, &measure, sizeof(measure));
}

uint32_t firmware_launch_secret(struct firmware *fw, uint32_t handle, const void *header,
				const void *payload, size_t len, void *guest)
{
	struct cmd_packet cmd = {
		.handle = handle,
		.hdr_addr = put(&fw->machine, header, sizeof(struct packet_header)),
		.hdr_len = sizeof(struct packet_header),
		.guest_addr = put(&fw->machine, NULL, len) | C_BIT,
		.guest_len = (uint32_t)len,
		.trans_addr = put(&fw->machine, payload, len),
		.trans_len = (uint32_t)len,
	};
	uint32_t status = RUN(&fw->machine, PSP_CMD_LAUNCH_UPDATE_SECRET, &cmd);

	if (status == PSP_OK)
		guest_sees(&fw->machine, ASID, cmd.guest_addr & ~C_BIT, guest, len);
	return status;
}
