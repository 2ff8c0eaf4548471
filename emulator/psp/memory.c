/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <string.h>

uint64_t psp_spa(const struct psp *psp, uint64_t addr)
{
	return addr & psp->machine.addr_mask;
}

size_t psp_page_chunk(uint64_t addr, size_t len)
{
	size_t left = PAGE_BYTES - addr % PAGE_BYTES;

	return len < left ? len : left;
}

enum psp_status psp_read(struct psp *psp, uint64_t addr, void *buf, size_t len)
{
	uint64_t spa = psp_spa(psp, addr);

	if (!spa || psp->machine.read(psp->opaque, spa, buf, len))
		return PSP_INVALID_ADDRESS;
	return PSP_OK;
}

enum psp_status psp_write(struct psp *psp, uint64_t addr, const void *buf, size_t len)
{
	uint64_t spa = psp_spa(psp, addr);

	if (!spa || psp->machine.write(psp->opaque, spa, buf, len))
		return PSP_INVALID_ADDRESS;
	return PSP_OK;
}

enum psp_status psp_probe(struct psp *psp, uint64_t addr, size_t len)
{
	uint8_t page[PAGE_BYTES];
	enum psp_status status = PSP_OK;

	for (size_t n; len && !status; addr += n, len -= n) {
		n = psp_page_chunk(addr, len);
		status = psp_read(psp, addr, page, n);
	}
	return status;
}

enum psp_status psp_reply(struct call *call)
{
	return psp_write(call->psp, call->addr, &call->cmd, call->len);
}

enum psp_status psp_guest_read(struct psp *psp, const struct guest *guest, uint64_t addr, void *buf,
			       size_t len)
{
	enum psp_status status = psp_read(psp, addr, buf, len);

	if (!status)
		memenc_decrypt(guest->mem, psp_spa(psp, addr), buf, len);
	return status;
}

enum psp_status psp_guest_write(struct psp *psp, const struct guest *guest, uint64_t addr,
				void *buf, size_t len)
{
	memenc_encrypt(guest->mem, psp_spa(psp, addr), buf, len);
	return psp_write(psp, addr, buf, len);
}

enum psp_status psp_guest_encrypt_page(struct psp *psp, const struct guest *guest, uint64_t addr,
				       void *buf, size_t len)
{
	uint64_t spa = psp_spa(psp, addr);
	uint8_t page[PAGE_BYTES];
	enum psp_status status = psp_read(psp, addr, buf, len);

	if (status)
		return status;
	if (psp->machine.encrypt_in_place) {
		if (psp->machine.encrypt_in_place(psp->opaque, guest->asid, spa, len))
			return PSP_INVALID_ADDRESS;
		return PSP_OK;
	}
	memcpy(page, buf, len);
	return psp_guest_write(psp, guest, addr, page, len);
}
