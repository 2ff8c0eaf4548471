/* SPDX-License-Identifier: Apache-2.0 */
#include "payloads/memscan.h"

#include "helper/crypto.h"
#include "payloads/sdk/runtime.h"

PAYLOAD_NOTE(MEMSCAN_NAME, 0);

static struct sha256 sha;

/* What helper/sha256.c wants of its surroundings. */
void copy_once(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
	__asm__ volatile("" : : : "memory");
}

void wipe(void *at, size_t bytes)
{
	memset(at, 0, bytes);
	__asm__ volatile("" : : "r"(at) : "memory");
}

/* False when told to stop on the way. */
static bool hash(const uint8_t *at, uint64_t bytes, struct memscan_mailbox *mailbox)
{
	static uint64_t total;

	sha256_init(&sha);
	for (uint64_t done = 0; done < bytes; done += MEMSCAN_PAGE_BYTES) {
		if (payload_stopping())
			return false;
		sha256_update(&sha, at + done, MEMSCAN_PAGE_BYTES);
		total += MEMSCAN_PAGE_BYTES;
		__atomic_store_n(&mailbox->bytes_done, total, __ATOMIC_RELAXED);
		payload_beat(0);
	}
	return true;
}

static bool scan(const struct payload_params *params, struct memscan_mailbox *mailbox,
		 struct memscan_range *range)
{
	/* Copied once, then checked: the host may change them at any time. */
	uint64_t gpa = __atomic_load_n(&range->gpa, __ATOMIC_RELAXED);
	uint64_t bytes = __atomic_load_n(&range->bytes, __ATOMIC_RELAXED);
	uint32_t status = MEMSCAN_REFUSED;
	const uint8_t *at = payload_memory(params, gpa, bytes);
	uint8_t digest[32];

	if (at && bytes && gpa % MEMSCAN_PAGE_BYTES == 0 && bytes % MEMSCAN_PAGE_BYTES == 0) {
		if (!hash(at, bytes, mailbox))
			return false;
		sha256_final(&sha, digest);
		memcpy(range->sha256, digest, sizeof(digest));
		status = MEMSCAN_GOOD;
	}
	__atomic_store_n(&range->status, status, __ATOMIC_RELEASE);
	return true;
}

void payload_main(const struct payload_params *params, unsigned int vcpu)
{
	struct memscan_mailbox *mailbox = (void *)(params->shared_va + MEMSCAN_PAGE_BYTES);
	uint32_t n;

	if (!(params->flags & PAYLOAD_IN_MIRROR) ||
	    params->shared_bytes < MEMSCAN_PAGE_BYTES + sizeof(*mailbox)) {
		payload_fail(vcpu, MEMSCAN_ERROR_REQUEST, (const uint64_t[4]){ 0 });
		return;
	}
	n = __atomic_load_n(&mailbox->nranges, __ATOMIC_ACQUIRE);
	if (n > MEMSCAN_RANGES_MAX) {
		payload_fail(vcpu, MEMSCAN_ERROR_REQUEST, (const uint64_t[4]){ n });
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (!scan(params, mailbox, &mailbox->range[i]))
			return;
		__atomic_store_n(&mailbox->ndone, i + 1, __ATOMIC_RELEASE);
	}
}
