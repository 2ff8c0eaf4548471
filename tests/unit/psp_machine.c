/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/psp_machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "emulator/psp/vendor.h"
#include "tests/unit/cmocka_all.h"

/* The first page of RAM is for command buffers. */
#define CMD_BUF	  RAM_BASE
#define FIRST_PUT (RAM_BASE + 0x1000)

static bool is_ram(uint64_t spa, size_t len)
{
	return spa >= RAM_BASE && spa < RAM_BASE + RAM_BYTES && len <= RAM_BASE + RAM_BYTES - spa;
}

static int machine_read(void *opaque, uint64_t spa, void *buf, size_t len)
{
	struct machine *m = opaque;

	if (!is_ram(spa, len))
		return -EFAULT;
	memcpy(buf, m->ram + (spa - RAM_BASE), len);
	return 0;
}

static int machine_write(void *opaque, uint64_t spa, const void *buf, size_t len)
{
	struct machine *m = opaque;

	if (!is_ram(spa, len))
		return -EFAULT;
	memcpy(m->ram + (spa - RAM_BASE), buf, len);
	return 0;
}

static void install_key(void *opaque, uint32_t asid, const uint8_t vek[16])
{
	struct machine *m = opaque;

	assert_in_range(asid, MIN_ASID, MAX_ASID);
	assert_null(m->slots[asid]);
	m->slots[asid] = memenc_key_create(vek);
}

static void remove_key(void *opaque, uint32_t asid)
{
	struct machine *m = opaque;

	assert_in_range(asid, MIN_ASID, MAX_ASID);
	assert_non_null(m->slots[asid]);
	memenc_key_destroy(m->slots[asid]);
	m->slots[asid] = NULL;
}

static int encrypt_in_place(void *opaque, uint32_t asid, uint64_t spa, size_t len)
{
	struct machine *m = opaque;

	assert_non_null(m->slots[asid]);
	assert_true(len <= 4096 - spa % 4096);
	if (!is_ram(spa, len))
		return -EFAULT;
	memenc_encrypt(m->slots[asid], spa, m->ram + (spa - RAM_BASE), len);
	return 0;
}

static bool wbinvd_done(void *opaque)
{
	return !((struct machine *)opaque)->wbinvd_pending;
}

static void wbinvd_arm(void *opaque)
{
	((struct machine *)opaque)->wbinvd_pending = true;
}

/* xorshift64: the tests are to repeat exactly */
static void machine_random(void *opaque, void *buf, size_t len)
{
	struct machine *m = opaque;
	uint8_t *p = buf;

	while (len--) {
		m->rng ^= m->rng << 13;
		m->rng ^= m->rng >> 7;
		m->rng ^= m->rng << 17;
		*p++ = m->rng >> 32;
	}
}

static int nv_load(void *opaque, void *buf, size_t max)
{
	struct machine *m = opaque;

	if (m->nv_load_fails)
		return -EIO;
	if ((size_t)m->nv_len > max)
		return -EFBIG;
	memcpy(buf, m->nv, m->nv_len);
	return m->nv_len;
}

static int nv_store(void *opaque, const void *buf, size_t len)
{
	struct machine *m = opaque;

	if (m->nv_store_fails)
		return -EIO;
	assert_true(len <= sizeof(m->nv));
	memset(m->nv, 0, sizeof(m->nv));
	if (len)
		memcpy(m->nv, buf, len);
	m->nv_len = len;
	return 0;
}

static void power_up(struct machine *m)
{
	struct psp_machine table = {
		.read = machine_read,
		.write = machine_write,
		.install_key = install_key,
		.remove_key = remove_key,
		.encrypt_in_place = m->encrypt_in_place ? encrypt_in_place : NULL,
		.wbinvd_done = wbinvd_done,
		.wbinvd_arm = wbinvd_arm,
		.random = machine_random,
		.nv_load = nv_load,
		.nv_store = nv_store,
		.min_asid = MIN_ASID,
		.max_asid = MAX_ASID,
	};
	uint8_t seed[PSP_CHIP_SEED_BYTES];
	const char *why = NULL;

	memset(seed, m->chip, sizeof(seed));
	m->psp = psp_create(&table, m, seed, &why);
	if (!m->psp)
		fail_msg("psp_create: %s", why);
}

void machine_up(struct machine *m, uint8_t chip)
{
	memset(m, 0, sizeof(*m));
	m->chip = chip;
	m->rng = 0x9e3779b97f4a7c15ull * (chip + 1u);
	m->ram = calloc(1, RAM_BYTES);
	assert_non_null(m->ram);
	m->next = FIRST_PUT;
	power_up(m);
}

static void drop_slots(struct machine *m)
{
	for (uint32_t asid = 0; asid <= MAX_ASID; asid++) {
		memenc_key_destroy(m->slots[asid]);
		m->slots[asid] = NULL;
	}
}

void machine_down(struct machine *m)
{
	psp_destroy(m->psp);
	drop_slots(m);
	free(m->ram);
	m->psp = NULL;
	m->ram = NULL;
}

void machine_power_cycle(struct machine *m)
{
	psp_destroy(m->psp);
	drop_slots(m);
	power_up(m);
}

uint64_t put(struct machine *m, const void *data, size_t len)
{
	uint64_t spa = m->next;

	m->next += (len + 4095) / 4096 * 4096;
	assert_true(m->next <= RAM_BASE + RAM_BYTES);
	if (data)
		memcpy(at(m, spa), data, len);
	return spa;
}

void *at(struct machine *m, uint64_t spa)
{
	assert_true(is_ram(spa, 1));
	return m->ram + (spa - RAM_BASE);
}

uint32_t run(struct machine *m, uint32_t cmd, void *buf, size_t len)
{
	uint32_t status;

	if (!len)
		return psp_command(m->psp, cmd, 0);
	memcpy(at(m, CMD_BUF), buf, len);
	status = psp_command(m->psp, cmd, CMD_BUF);
	memcpy(buf, at(m, CMD_BUF), len);
	return status;
}

uint32_t run_handle(struct machine *m, uint32_t cmd, uint32_t handle)
{
	struct cmd_handle buf = { .handle = handle };

	return RUN(m, cmd, &buf);
}

void wbinvd(struct machine *m)
{
	m->wbinvd_pending = false;
}

void machine_init(struct machine *m)
{
	struct cmd_init init = { .flags = 0 };

	assert_int_equal(RUN(m, PSP_CMD_INIT, &init), PSP_OK);
	wbinvd(m);
	assert_int_equal(run(m, PSP_CMD_DF_FLUSH, NULL, 0), PSP_OK);
}

uint32_t launch_start(struct machine *m, uint32_t policy)
{
	struct cmd_start start = { .policy = policy };

	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_START, &start), PSP_OK);
	assert_int_not_equal(start.handle, 0);
	return start.handle;
}

void activate(struct machine *m, uint32_t handle, uint32_t asid)
{
	struct cmd_activate cmd = { .handle = handle, .asid = asid };

	assert_int_equal(RUN(m, PSP_CMD_ACTIVATE, &cmd), PSP_OK);
}

void launch_update(struct machine *m, uint32_t handle, uint64_t spa, uint32_t len)
{
	struct cmd_guest_buffer cmd = { .handle = handle, .addr = spa, .len = len };

	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_UPDATE_DATA, &cmd), PSP_OK);
}

void launch_measure(struct machine *m, uint32_t handle, struct launch_measure *measure)
{
	uint64_t spa = put(m, NULL, sizeof(*measure));
	struct cmd_guest_buffer cmd = { .handle = handle, .addr = spa, .len = sizeof(*measure) };

	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_MEASURE, &cmd), PSP_OK);
	memcpy(measure, at(m, spa), sizeof(*measure));
}

uint32_t launch(struct machine *m, uint32_t policy, uint32_t asid, uint64_t spa, uint32_t len)
{
	struct launch_measure measure;
	uint32_t handle = launch_start(m, policy);

	activate(m, handle, asid);
	launch_update(m, handle, spa, len);
	launch_measure(m, handle, &measure);
	assert_int_equal(run_handle(m, PSP_CMD_LAUNCH_FINISH, handle), PSP_OK);
	return handle;
}

void release(struct machine *m, uint32_t handle)
{
	assert_int_equal(run_handle(m, PSP_CMD_DEACTIVATE, handle), PSP_OK);
	assert_int_equal(run_handle(m, PSP_CMD_DECOMMISSION, handle), PSP_OK);
}

struct cmd_guest_status guest_status(struct machine *m, uint32_t handle)
{
	struct cmd_guest_status cmd = { .handle = handle };

	assert_int_equal(RUN(m, PSP_CMD_GUEST_STATUS, &cmd), PSP_OK);
	return cmd;
}

struct cmd_platform_status platform_status(struct machine *m)
{
	struct cmd_platform_status cmd;

	memset(&cmd, 0xee, sizeof(cmd));
	assert_int_equal(RUN(m, PSP_CMD_PLATFORM_STATUS, &cmd), PSP_OK);
	return cmd;
}

void pdh_export(struct machine *m, struct sev_cert *pdh, struct cert_chain *chain)
{
	struct cmd_pdh_cert_export cmd = {
		.pdh_addr = put(m, NULL, sizeof(*pdh)),
		.pdh_len = sizeof(*pdh),
		.chain_addr = put(m, NULL, sizeof(*chain)),
		.chain_len = sizeof(*chain),
	};

	assert_int_equal(RUN(m, PSP_CMD_PDH_CERT_EXPORT, &cmd), PSP_OK);
	memcpy(pdh, at(m, cmd.pdh_addr), sizeof(*pdh));
	memcpy(chain, at(m, cmd.chain_addr), sizeof(*chain));
}

void guest_sees(struct machine *m, uint32_t asid, uint64_t spa, void *buf, size_t len)
{
	memcpy(buf, at(m, spa), len);
	assert_non_null(m->slots[asid]);
	memenc_decrypt(m->slots[asid], spa, buf, len);
}

void target_certs(struct machine *target, struct target_certs *certs)
{
	pdh_export(target, &certs->pdh, &certs->chain);
	memcpy(&certs->vendor, psp_vendor_ask_ark, sizeof(certs->vendor));
}

uint32_t send_start(struct machine *m, uint32_t handle, const struct target_certs *target,
		    struct session *session)
{
	struct cmd_send_start cmd = {
		.handle = handle,
		.pdh_cert_addr = put(m, &target->pdh, sizeof(target->pdh)),
		.pdh_cert_len = sizeof(target->pdh),
		.plat_certs_addr = put(m, &target->chain, sizeof(target->chain)),
		.plat_certs_len = sizeof(target->chain),
		.vendor_certs_addr = put(m, &target->vendor, sizeof(target->vendor)),
		.vendor_certs_len = sizeof(target->vendor),
		.session_addr = put(m, NULL, sizeof(*session)),
		.session_len = sizeof(*session),
	};
	uint32_t status = RUN(m, PSP_CMD_SEND_START, &cmd);

	memcpy(session, at(m, cmd.session_addr), sizeof(*session));
	return status;
}

uint32_t send_data(struct machine *m, uint32_t handle, uint64_t spa, uint32_t len,
		   struct packet_header *hdr, void *payload)
{
	struct cmd_packet cmd = {
		.handle = handle,
		.hdr_addr = put(m, NULL, sizeof(*hdr)),
		.hdr_len = sizeof(*hdr),
		.guest_addr = spa | C_BIT, /* as KVM does */
		.guest_len = len,
		.trans_addr = put(m, NULL, len),
		.trans_len = len,
	};
	uint32_t status = RUN(m, PSP_CMD_SEND_UPDATE_DATA, &cmd);

	memcpy(hdr, at(m, cmd.hdr_addr), sizeof(*hdr));
	memcpy(payload, at(m, cmd.trans_addr), len);
	return status;
}

uint32_t receive_start(struct machine *m, uint32_t policy, const struct sev_cert *pdh,
		       const struct session *session, uint32_t *handle)
{
	struct cmd_start cmd = {
		.policy = policy,
		.dh_cert_addr = put(m, pdh, sizeof(*pdh)),
		.dh_cert_len = sizeof(*pdh),
		.session_addr = put(m, session, sizeof(*session)),
		.session_len = sizeof(*session),
	};
	uint32_t status = RUN(m, PSP_CMD_RECEIVE_START, &cmd);

	*handle = cmd.handle;
	return status;
}

uint32_t receive_data(struct machine *m, uint32_t handle, uint64_t spa, uint32_t len,
		      const struct packet_header *hdr, const void *payload)
{
	struct cmd_packet cmd = {
		.handle = handle,
		.hdr_addr = put(m, hdr, sizeof(*hdr)),
		.hdr_len = sizeof(*hdr),
		.guest_addr = spa | C_BIT,
		.guest_len = len,
		.trans_addr = put(m, payload, len),
		.trans_len = len,
	};

	return RUN(m, PSP_CMD_RECEIVE_UPDATE_DATA, &cmd);
}

void pair_up(struct pair *p, uint32_t policy)
{
	struct cert_chain chain;

	machine_up(&p->src, 1);
	machine_up(&p->dst, 2);
	machine_init(&p->src);
	machine_init(&p->dst);
	pdh_export(&p->src, &p->src_pdh, &chain);
	target_certs(&p->dst, &p->target);
	psp_random(p->src.psp, p->plain, sizeof(p->plain));
	p->image = put(&p->src, p->plain, sizeof(p->plain));
	p->policy = policy;
	p->handle = launch(&p->src, policy, 5, p->image, sizeof(p->plain));
}

void pair_down(struct pair *p)
{
	machine_down(&p->src);
	machine_down(&p->dst);
}

struct snapshot *snapshot_take(const struct machine *m)
{
	struct snapshot *s = malloc(sizeof(*s));

	assert_non_null(s);
	memcpy(&s->psp, m->psp, sizeof(s->psp));
	memcpy(s->asids, m->psp->asids, sizeof(s->asids));
	memcpy(s->nv, m->nv, sizeof(s->nv));
	memcpy(s->ram, m->ram, sizeof(s->ram));
	return s;
}

void snapshot_check(struct snapshot *s, const struct machine *m)
{
	const size_t skip = FIRST_PUT - RAM_BASE;

	assert_memory_equal(&s->psp, m->psp, sizeof(s->psp));
	assert_memory_equal(s->asids, m->psp->asids, sizeof(s->asids));
	assert_memory_equal(s->nv, m->nv, sizeof(s->nv));
	assert_memory_equal(s->ram + skip, m->ram + skip, sizeof(s->ram) - skip);
	for (uint32_t asid = 0; asid <= MAX_ASID; asid++)
		assert_int_equal(m->slots[asid] != NULL, s->asids[asid].users != 0);
	free(s);
}
