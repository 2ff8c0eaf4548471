/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile host: sequences of mailbox commands with arbitrary command buffers, over guest memory
 * it may write between them. The input is a program: an opcode byte, then its operands. So that it
 * gets past the address checks, an address is a 16-bit number of 16-byte units in a small RAM
 * unless its top bit says to take eight raw bytes; so that it gets past certificates, the
 * platform's own ones are ready in that RAM (a platform may send a guest to itself).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator/psp/memenc.h"
#include "emulator/psp/psp.h"
#include "emulator/psp/state.h"
#include "emulator/psp/vendor.h"
#include "emulator/psp/wire.h"

#define RAM_BASE  0x10000ull
#define RAM_BYTES 0x20000ull
#define MAX_ASID  4
#define CMD_BUF	  RAM_BASE

/* Where the platform's own certificates are. */
#define PDH_AT	  (RAM_BASE + 0x1000)
#define CHAIN_AT  (RAM_BASE + 0x2000)
#define VENDOR_AT (RAM_BASE + 0x4000)

struct host {
	uint8_t ram[RAM_BYTES];
	bool keys[MAX_ASID + 1];
	bool wbinvd_pending;
	uint64_t rng;
	uint8_t nv[PSP_NV_MAX_BYTES];
	size_t nv_len;
};

static bool is_ram(uint64_t spa, size_t len)
{
	return spa >= RAM_BASE && spa < RAM_BASE + RAM_BYTES && len <= RAM_BASE + RAM_BYTES - spa;
}

static int host_read(void *opaque, uint64_t spa, void *buf, size_t len)
{
	struct host *h = opaque;

	if (!is_ram(spa, len))
		return -EFAULT;
	memcpy(buf, h->ram + (spa - RAM_BASE), len);
	return 0;
}

static int host_write(void *opaque, uint64_t spa, const void *buf, size_t len)
{
	struct host *h = opaque;

	if (!is_ram(spa, len))
		return -EFAULT;
	memcpy(h->ram + (spa - RAM_BASE), buf, len);
	return 0;
}

static void install_key(void *opaque, uint32_t asid, const uint8_t vek[16])
{
	struct host *h = opaque;

	if (asid < 1 || asid > MAX_ASID || h->keys[asid])
		abort();
	h->keys[asid] = true;
}

static void remove_key(void *opaque, uint32_t asid)
{
	struct host *h = opaque;

	if (asid < 1 || asid > MAX_ASID || !h->keys[asid])
		abort();
	h->keys[asid] = false;
}

static bool wbinvd_done(void *opaque)
{
	return !((struct host *)opaque)->wbinvd_pending;
}

static void wbinvd_arm(void *opaque)
{
	((struct host *)opaque)->wbinvd_pending = true;
}

static void host_random(void *opaque, void *buf, size_t len)
{
	struct host *h = opaque;
	uint8_t *p = buf;

	while (len--) {
		h->rng ^= h->rng << 13;
		h->rng ^= h->rng >> 7;
		h->rng ^= h->rng << 17;
		*p++ = h->rng >> 32;
	}
}

static int nv_load(void *opaque, void *buf, size_t max)
{
	struct host *h = opaque;

	if (h->nv_len > max)
		return -EFBIG;
	memcpy(buf, h->nv, h->nv_len);
	return h->nv_len;
}

static int nv_store(void *opaque, const void *buf, size_t len)
{
	struct host *h = opaque;

	if (len)
		memcpy(h->nv, buf, len);
	h->nv_len = len;
	return 0;
}

/* What is left of the input. */
struct input {
	const uint8_t *p;
	size_t left;
};

static void take(struct input *in, void *buf, size_t len)
{
	size_t n = in->left < len ? in->left : len;

	memset(buf, 0, len);
	if (n)
		memcpy(buf, in->p, n);
	in->p += n;
	in->left -= n;
}

static uint8_t take8(struct input *in)
{
	uint8_t v;

	take(in, &v, sizeof(v));
	return v;
}

static uint64_t take_addr(struct input *in)
{
	static const uint64_t ready[] = { PDH_AT, CHAIN_AT, VENDOR_AT, 0 };
	uint64_t raw;
	uint16_t v;

	take(in, &v, sizeof(v));
	if (v & 0x8000) {
		take(in, &raw, sizeof(raw));
		return raw;
	}
	if (v & 0x4000)
		return ready[v % 4];
	return RAM_BASE + 16 * (v & 0x1fffu);
}

static uint32_t take_len(struct input *in)
{
	static const uint32_t likely[] = { 0,	16,   32,   52,	  48,	64,   128,	  208,
					   256, 2084, 4096, 8192, 3200, 6252, UINT32_MAX, 16384 };
	uint8_t v = take8(in);
	uint32_t raw;

	if (v < 0xc0)
		return likely[v % 16];
	take(in, &raw, sizeof(raw));
	return raw;
}

/*
 * Which command buffer fields are what: h handle, w word, b byte, A address, L length, . zero word,
 * n nonce.
 */
static const char *layout(uint32_t cmd)
{
	switch (cmd) {
	case PSP_CMD_INIT:
		return "b.AL";
	case PSP_CMD_INIT_EX:
		return "LbAL.AL";
	case PSP_CMD_PEK_CSR:
	case PSP_CMD_GET_ID:
	case PSP_CMD_DOWNLOAD_FIRMWARE:
		return "AL";
	case PSP_CMD_PEK_CERT_IMPORT:
	case PSP_CMD_PDH_CERT_EXPORT:
		return "AL.AL";
	case PSP_CMD_ACTIVATE:
		return "hh";
	case PSP_CMD_LAUNCH_START:
	case PSP_CMD_RECEIVE_START:
		return "hbAL.AL";
	case PSP_CMD_LAUNCH_UPDATE_DATA:
	case PSP_CMD_LAUNCH_MEASURE:
		return "h.AL";
	case PSP_CMD_LAUNCH_UPDATE_SECRET:
	case PSP_CMD_SEND_UPDATE_DATA:
	case PSP_CMD_RECEIVE_UPDATE_DATA:
		return "h.AL.AL.AL";
	case PSP_CMD_ATTESTATION_REPORT:
		return "h.AnL";
	case PSP_CMD_SEND_START:
		return "hbAL.AL.AL.AL";
	case PSP_CMD_DBG_DECRYPT:
	case PSP_CMD_DBG_ENCRYPT:
		return "h.AAL";
	default:
		return "hww";
	}
}

static void command(struct psp *psp, struct host *h, struct input *in)
{
	uint32_t cmd = take8(in);
	uint8_t buf[128] = { 0 }, *p = buf;
	uint64_t addr;
	uint32_t word;

	for (const char *f = layout(cmd); *f; f++) {
		switch (*f) {
		case 'A':
			addr = take_addr(in);
			memcpy(p, &addr, 8);
			p += 8;
			continue;
		case 'n':
			take(in, p, 16);
			p += 16;
			continue;
		case 'L':
			word = take_len(in);
			break;
		case 'h':
			word = take8(in) % 8;
			break;
		case 'b':
			word = take8(in);
			break;
		case 'w':
			take(in, &word, sizeof(word));
			break;
		default:
			word = 0;
		}
		memcpy(p, &word, 4);
		p += 4;
	}
	memcpy(h->ram + (CMD_BUF - RAM_BASE), buf, sizeof(buf));
	if (psp_command(psp, cmd, CMD_BUF) > PSP_SECURE_DATA_INVALID)
		abort();
}

static void step(struct psp *psp, struct host *h, struct input *in)
{
	uint8_t bytes[64];
	uint64_t addr;
	uint32_t cmd;

	switch (take8(in) % 8) {
	case 0: /* write guest memory */
		addr = take_addr(in);
		take(in, bytes, sizeof(bytes));
		host_write(h, addr, bytes, sizeof(bytes));
		break;
	case 1: /* flip a byte of it, of a certificate or of a session */
		addr = take_addr(in) + take8(in);
		if (is_ram(addr, 1))
			h->ram[addr - RAM_BASE] ^= take8(in);
		break;
	case 2:
		h->wbinvd_pending = false;
		break;
	case 3: /* any number, any buffer */
		take(in, &cmd, sizeof(cmd));
		addr = take_addr(in);
		if (psp_command(psp, cmd, addr) > PSP_SECURE_DATA_INVALID)
			abort();
		break;
	default:
		command(psp, h, in);
	}
}

/* What must hold whatever was asked. */
static void check(struct psp *psp, const struct host *h)
{
	uint32_t users[MAX_ASID + 1] = { 0 };
	unsigned int guests = psp_guest_count(psp);

	if ((psp->state == PLATFORM_WORKING) != (guests > 0))
		abort();
	for (size_t i = 0; i < GUESTS_MAX; i++) {
		const struct guest *g = &psp->guests[i];

		if (g->state > GUEST_SENT || g->asid > MAX_ASID ||
		    (g->state == GUEST_UNINIT) != (g->mem == NULL))
			abort();
		if (g->asid && psp->asids[g->asid].key_id != g->key_id)
			abort();
		users[g->asid] += g->asid != 0;
	}
	for (uint32_t asid = 1; asid <= MAX_ASID; asid++)
		if (users[asid] != psp->asids[asid].users || (users[asid] > 0) != h->keys[asid])
			abort();
}

static struct psp *power_up(struct host *h)
{
	const struct psp_machine table = {
		.read = host_read,
		.write = host_write,
		.install_key = install_key,
		.remove_key = remove_key,
		.wbinvd_done = wbinvd_done,
		.wbinvd_arm = wbinvd_arm,
		.random = host_random,
		.nv_load = nv_load,
		.nv_store = nv_store,
		.min_asid = 1,
		.max_asid = MAX_ASID,
	};
	const uint8_t seed[PSP_CHIP_SEED_BYTES] = { 1 };
	struct cmd_pdh_cert_export export = { PDH_AT, 2084, 0, CHAIN_AT, 6252 };
	struct cmd_init init = { 0 };
	struct psp *psp;

	h->rng = 1;
	psp = psp_create(&table, h, seed, NULL);
	if (!psp)
		abort();
	memcpy(h->ram, &init, sizeof(init));
	if (psp_command(psp, PSP_CMD_INIT, CMD_BUF))
		abort();
	memcpy(h->ram, &export, sizeof(export));
	if (psp_command(psp, PSP_CMD_PDH_CERT_EXPORT, CMD_BUF))
		abort();
	memcpy(h->ram + (VENDOR_AT - RAM_BASE), psp_vendor_ask_ark, sizeof(psp_vendor_ask_ark));
	return psp;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct host host, host_at_start;
	static struct identity identity;
	static struct psp *psp;
	struct input in = { data, size };

	if (!psp) {
		psp = power_up(&host);
		identity = psp->identity;
		host_at_start = host;
	}
	/* Making new keys for each input would be slow: back to where power_up() left it. */
	psp_reset(psp);
	host = host_at_start;
	psp->identity = identity;
	psp->state = PLATFORM_INIT;

	while (in.left) {
		step(psp, &host, &in);
		check(psp, &host);
	}
	return 0;
}
