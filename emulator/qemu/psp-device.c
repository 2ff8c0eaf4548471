/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The secure processor as Linux' ccp driver finds it: a PCI device with a mailbox
 * (include/linux/psp.h, drivers/crypto/ccp/sp-pci.c: the registers of "pspv1") in front of
 * emulator/psp.
 *
 * A command does not run inside the register write but a moment later, on the vCPU thread between
 * instructions (RESP stays clear as long): there pages may change their forms, whoever wrote the
 * register, a vCPU or another device's DMA.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qemu/guest-random.h"
#include "qemu/log.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "hw/core/cpu.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-properties.h"
#include "system/reset.h"
#include "emulator/psp/fault.h"
#include "emulator/psp/psp.h"
#include "internal.h"

#define TYPE_AMD_PSP "amd-psp"
OBJECT_DECLARE_SIMPLE_TYPE(AmdPsp, AMD_PSP)

#define REG_CMDRESP    0x10580
#define REG_CMDBUF_LO  0x105e0
#define REG_CMDBUF_HI  0x105e4
#define REG_FEATURE    0x105fc
#define REG_INTEN      0x10610
#define REG_INTSTS     0x10614
#define MMIO_BYTES     0x20000
#define FEATURE_SEV    (1 << 0)
#define CMDRESP_IOC    (1 << 0)
#define CMDRESP_RESP   (1u << 31)
#define CMDRESP_CMD(v) (((v) >> 16) & 0x7ff)
#define INT_CMD_DONE   (1 << 1)
#define REG_BAR	       2
#define MSIX_BAR       5
#define NV_MAX_BYTES   (1 << 20)
#define DELAY_MAX_US   600000000

struct AmdPsp {
	PCIDevice parent_obj;

	char *chip_seed;
	char *nv_file;

	MemoryRegion mmio;
	struct psp *psp;
	uint32_t cmdresp, cmdbuf_lo, cmdbuf_hi, inten, intsts;
	bool busy; /* a command waits for its time or for the vCPU thread */

	/* What a test asks for; both may be set while the machine runs. */
	uint32_t delay_us; /* of the machine's time, from a command to its answer */
	char *fail; /* as psp_faults_parse() takes it */
	struct psp_faults faults;
	QEMUTimer *delay;
};

/* True when the whole range is DRAM. */
static bool is_dram(uint64_t spa, uint64_t bytes)
{
	uint64_t offset, chunk;

	if (spa + bytes < spa)
		return false;
	for (; bytes; spa += chunk, bytes -= chunk)
		if (!sev_bus_lookup(spa, bytes, &offset, &chunk))
			return false;
	return true;
}

static int machine_read(void *opaque, uint64_t spa, void *buf, size_t len)
{
	uint64_t offset, chunk;

	if (!is_dram(spa, len))
		return -EFAULT;
	for (uint8_t *to = buf; len; spa += chunk, to += chunk, len -= chunk) {
		if (!sev_bus_lookup(spa, len, &offset, &chunk))
			return -EFAULT;
		sev_forms_read(offset, to, chunk);
	}
	return 0;
}

static int machine_write(void *opaque, uint64_t spa, const void *buf, size_t len)
{
	uint64_t offset, chunk;

	if (!is_dram(spa, len))
		return -EFAULT;
	for (const uint8_t *from = buf; len; spa += chunk, from += chunk, len -= chunk) {
		if (!sev_bus_lookup(spa, len, &offset, &chunk))
			return -EFAULT;
		sev_forms_write(offset, from, chunk);
	}
	return 0;
}

static int machine_encrypt_in_place(void *opaque, uint32_t asid, uint64_t spa, size_t len)
{
	uint64_t offset, chunk;

	if (!is_dram(spa, len))
		return -EFAULT;
	for (; len; spa += chunk, len -= chunk) {
		if (!sev_bus_lookup(spa, len, &offset, &chunk))
			return -EFAULT;
		sev_forms_encrypt(asid, offset, chunk);
	}
	return 0;
}

static void machine_install_key(void *opaque, uint32_t asid, const uint8_t vek[16])
{
	sev_forms_set_key(asid, vek);
}

static void machine_remove_key(void *opaque, uint32_t asid)
{
	sev_forms_set_key(asid, NULL);
}

static bool machine_wbinvd_done(void *opaque)
{
	return sev_platform_wbinvd_done();
}

static void machine_wbinvd_arm(void *opaque)
{
	sev_platform_wbinvd_arm();
}

static void machine_random(void *opaque, void *buf, size_t len)
{
	qemu_guest_getrandom_nofail(buf, len);
}

static int machine_nv_load(void *opaque, void *buf, size_t max)
{
	AmdPsp *s = opaque;
	g_autofree char *data = NULL;
	g_autoptr(GError) err = NULL;
	gsize len;

	if (!s->nv_file)
		return 0;
	if (!g_file_get_contents(s->nv_file, &data, &len, &err))
		return g_error_matches(err, G_FILE_ERROR, G_FILE_ERROR_NOENT) ? 0 : -EIO;
	if (len > max)
		return -EFBIG;
	memcpy(buf, data, len);
	return len;
}

static int machine_nv_store(void *opaque, const void *buf, size_t len)
{
	AmdPsp *s = opaque;

	if (!s->nv_file)
		return 0;
	if (len > NV_MAX_BYTES)
		return -EFBIG;
	return g_file_set_contents_full(
		       s->nv_file, buf, len,
		       G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, NULL) ?
		       0 :
		       -EIO;
}

static const struct psp_machine machine = {
	.read = machine_read,
	.write = machine_write,
	.install_key = machine_install_key,
	.remove_key = machine_remove_key,
	.encrypt_in_place = machine_encrypt_in_place,
	.wbinvd_done = machine_wbinvd_done,
	.wbinvd_arm = machine_wbinvd_arm,
	.random = machine_random,
	.nv_load = machine_nv_load,
	.nv_store = machine_nv_store,
	.min_asid = SEV_EMU_MIN_ASID,
	.max_asid = SEV_EMU_MAX_ASID,
};

static void run_command(CPUState *cs, run_on_cpu_data data)
{
	AmdPsp *s = data.host_ptr;
	uint32_t cmd = CMDRESP_CMD(s->cmdresp), status;
	bool interrupt = s->cmdresp & CMDRESP_IOC;

	if (!s->busy) /* the machine was reset meanwhile */
		return;
	status = psp_faults_next(&s->faults, cmd);
	if (!status)
		status = psp_command(s->psp, cmd, (uint64_t)s->cmdbuf_hi << 32 | s->cmdbuf_lo);
	if (status)
		qemu_log_mask(LOG_GUEST_ERROR, "amd-psp: command %#x status %#x\n", cmd, status);
	s->busy = false;
	s->cmdresp = CMDRESP_RESP | cmd << 16 | (status & 0xffff);
	if (!interrupt)
		return;
	s->intsts |= INT_CMD_DONE;
	if (s->inten & INT_CMD_DONE)
		msix_notify(PCI_DEVICE(s), 0);
}

static void delay_over(void *opaque)
{
	async_run_on_cpu(first_cpu, run_command, RUN_ON_CPU_HOST_PTR(opaque));
}

static void write_cmdresp(AmdPsp *s, uint32_t value)
{
	s->cmdresp = value & ~CMDRESP_RESP;
	s->busy = true;
	if (s->delay_us)
		timer_mod(s->delay, qemu_clock_get_us(QEMU_CLOCK_VIRTUAL) + s->delay_us);
	else
		delay_over(s);
}

static uint64_t psp_mmio_read(void *opaque, hwaddr addr, unsigned size)
{
	AmdPsp *s = opaque;

	switch (addr) {
	case REG_CMDRESP:
		return s->cmdresp;
	case REG_CMDBUF_LO:
		return s->cmdbuf_lo;
	case REG_CMDBUF_HI:
		return s->cmdbuf_hi;
	case REG_FEATURE:
		return FEATURE_SEV;
	case REG_INTEN:
		return s->inten;
	case REG_INTSTS:
		return s->intsts;
	}
	return 0;
}

static void psp_mmio_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
	AmdPsp *s = opaque;

	if (s->busy && addr <= REG_CMDBUF_HI) {
		qemu_log_mask(LOG_GUEST_ERROR, "amd-psp: mailbox written while a command runs\n");
		return;
	}
	switch (addr) {
	case REG_CMDBUF_LO:
		s->cmdbuf_lo = value;
		break;
	case REG_CMDBUF_HI:
		s->cmdbuf_hi = value;
		break;
	case REG_INTEN:
		s->inten = value;
		break;
	case REG_INTSTS:
		s->intsts &= ~value;
		break;
	case REG_CMDRESP:
		write_cmdresp(s, value);
		break;
	}
}

static const MemoryRegionOps psp_mmio_ops = {
	.read = psp_mmio_read,
	.write = psp_mmio_write,
	.endianness = DEVICE_LITTLE_ENDIAN,
	.impl = { .min_access_size = 4, .max_access_size = 4 },
};

/*
 * System reset only, with the vCPUs stopped. Not the PCI device's own reset, which a guest can
 * cause at any moment through a bridge: the real firmware does not care for that either.
 */
static void psp_system_reset(void *opaque)
{
	AmdPsp *s = opaque;

	s->cmdresp = s->cmdbuf_lo = s->cmdbuf_hi = s->inten = s->intsts = 0;
	s->busy = false;
	timer_del(s->delay);
	psp_reset(s->psp);
	sev_forms_reset();
	sev_platform_wbinvd_arm();
}

static int hex_bytes(const char *hex, uint8_t *out, size_t bytes)
{
	if (strlen(hex) != bytes * 2)
		return -EINVAL;
	for (size_t i = 0; i < bytes; i++) {
		int hi = g_ascii_xdigit_value(hex[2 * i]),
		    lo = g_ascii_xdigit_value(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		out[i] = hi << 4 | lo;
	}
	return 0;
}

/* 64 hexadecimal digits, or any other string by its SHA-256. */
static void parse_seed(const char *text, uint8_t seed[PSP_CHIP_SEED_BYTES])
{
	g_autoptr(GChecksum) hash = g_checksum_new(G_CHECKSUM_SHA256);
	gsize len = PSP_CHIP_SEED_BYTES;

	if (!hex_bytes(text, seed, PSP_CHIP_SEED_BYTES))
		return;
	g_checksum_update(hash, (const guchar *)text, strlen(text));
	g_checksum_get_digest(hash, seed, &len);
}

static void psp_realize(PCIDevice *pdev, Error **errp)
{
	AmdPsp *s = AMD_PSP(pdev);
	uint8_t seed[PSP_CHIP_SEED_BYTES];
	const char *why = NULL;

	if (!s->chip_seed || !*s->chip_seed) {
		error_setg(
			errp,
			"amd-psp needs chip-seed=, 64 hexadecimal digits or any string: it is the "
			"chip's identity");
		return;
	}
	if (!sev_platform_check(errp))
		return;
	parse_seed(s->chip_seed, seed);
	s->psp = psp_create(&machine, s, seed, &why);
	explicit_bzero(seed, sizeof(seed));
	if (!s->psp) {
		error_setg(errp, "the PSP firmware does not start: %s%s%s",
			   why ? why : "out of memory", s->nv_file ? ", nv-file=" : "",
			   s->nv_file ? s->nv_file : "");
		return;
	}
	s->delay = timer_new_us(QEMU_CLOCK_VIRTUAL, delay_over, s);
	memory_region_init_io(&s->mmio, OBJECT(s), &psp_mmio_ops, s, "amd-psp", MMIO_BYTES);
	pci_register_bar(pdev, REG_BAR, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
	if (msix_init_exclusive_bar(pdev, 2, MSIX_BAR, errp))
		return;
	msix_vector_use(pdev, 0);
	qemu_register_reset(psp_system_reset, s);
}

static const Property psp_properties[] = {
	DEFINE_PROP_STRING("chip-seed", AmdPsp, chip_seed),
	DEFINE_PROP_STRING("nv-file", AmdPsp, nv_file),
};

static char *get_fail(Object *obj, Error **errp)
{
	AmdPsp *s = AMD_PSP(obj);

	return g_strdup(s->fail ? s->fail : "none");
}

static void set_fail(Object *obj, const char *value, Error **errp)
{
	AmdPsp *s = AMD_PSP(obj);
	const char *why;

	if (!psp_faults_parse(value, &s->faults, &why)) {
		error_setg(errp, "amd-psp: fail=%s: %s", value, why);
		return;
	}
	g_free(s->fail);
	s->fail = g_strdup(value);
}

static void get_delay(Object *obj, Visitor *v, const char *name, void *opaque, Error **errp)
{
	visit_type_uint32(v, name, &AMD_PSP(obj)->delay_us, errp);
}

static void set_delay(Object *obj, Visitor *v, const char *name, void *opaque, Error **errp)
{
	uint32_t value;

	if (!visit_type_uint32(v, name, &value, errp))
		return;
	if (value > DELAY_MAX_US) {
		error_setg(errp, "amd-psp: delay-us=%u: at most %u", value, DELAY_MAX_US);
		return;
	}
	AMD_PSP(obj)->delay_us = value;
}

static void psp_class_init(ObjectClass *klass, void *data)
{
	DeviceClass *dc = DEVICE_CLASS(klass);
	PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

	k->realize = psp_realize;
	k->vendor_id = 0x1022;
	k->device_id = 0x1456;
	k->class_id = 0x1080; /* encryption controller, other */
	dc->desc = "AMD Secure Processor with the SEV firmware";
	dc->hotpluggable = false;
	dc->user_creatable = true;
	device_class_set_props(dc, psp_properties);
	object_class_property_add_str(klass, "fail", get_fail, set_fail);
	object_class_property_set_description(
		klass, "fail", "CMD:N:STATUS[/...]: commands that fail, by their numbers");
	object_class_property_add(klass, "delay-us", "uint32", get_delay, set_delay, NULL, NULL);
	object_class_property_set_description(klass, "delay-us",
					      "from a command to its answer, in microseconds");
	set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo psp_info = {
	.name = TYPE_AMD_PSP,
	.parent = TYPE_PCI_DEVICE,
	.instance_size = sizeof(AmdPsp),
	.class_init = psp_class_init,
	.interfaces = (InterfaceInfo[]){ { INTERFACE_CONVENTIONAL_PCI_DEVICE }, {} },
};

static void psp_register(void)
{
	type_register_static(&psp_info);
}

type_init(psp_register)
