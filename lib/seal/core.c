/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The handshake: the target's offer, and the helper's core with the session's secret in it, which
 * only the platform of the offer can open (SEV API: SEND_START, SEND_UPDATE_DATA, RECEIVE_START,
 * RECEIVE_UPDATE_DATA).
 */
#include "lib/seal/seal_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/psp-sev.h>

#include "helper/layout.h"
#include "lib/sev/platform.h"
#include "lib/sev/sev_cpuid.h"
#include "lib/util/page.h"

#define VENDOR_CERTS_MAX (2u * 1600)
#define CERTS_BYTES	 (SEV_CERT_BYTES + SEV_CERT_CHAIN_BYTES)
#define PACKET_BYTES	 (sizeof(struct sev_packet_header) + PAGE_BYTES)

static uint8_t cbit_of(uint64_t mask)
{
	return mask ? (uint8_t)__builtin_ctzll(mask) : 0;
}

static int platform_certs(struct sevmirror_seal *seal, uint8_t *pdh, uint8_t *chain)
{
	struct sev_error error;
	int fd = seal->has_vm ? seal->vm.sev_fd : seal->sev_fd, err;

	err = sev_platform_export_certs(fd, pdh, chain, &error);
	if (!err || error.fw != SEV_FW_NO_CALL)
		seal->platform_commands++;
	return err ? seal_fail_firmware(seal, err, &error,
					"cannot read the platform's certificates") :
		     0;
}

/* A target without a VM makes its offer for encrypted guests. */
static int find_platform(struct sevmirror_seal *seal, bool *sev, uint8_t *cbit)
{
	struct sev_error error;
	struct sev_cpuid cpuid;

	*sev = !seal->has_vm || seal->sev;
	*cbit = cbit_of(seal->vm.cbit_mask);
	if (seal->has_vm)
		return 0;
	*cbit = sev_cpuid_host(&cpuid) ? cpuid.c_bit : 0;
	if (seal->sev_fd < 0)
		seal->sev_fd = sev_device_open(&error);
	return seal->sev_fd < 0 ? seal_fail_firmware(seal, seal->sev_fd, &error,
						     "the target cannot use its secure processor") :
				  0;
}

int sevmirror_seal_offer(struct sevmirror_seal *seal, struct sevmirror_blob *blob)
{
	size_t vendor = seal->config.vendor_chain ? seal->config.vendor_chain_bytes : 0, len;
	struct seal_offer offer = { .helper_version = HELPER_ABI_VERSION };
	uint8_t *at;
	bool sev;
	int err;

	*blob = (struct sevmirror_blob){ 0 };
	if (vendor > VENDOR_CERTS_MAX)
		return seal_fail(seal, -EINVAL, "ASK and ARK have %zu bytes, which is too much",
				 vendor);
	err = find_platform(seal, &sev, &offer.cbit);
	if (err)
		return err;
	len = sizeof(offer) + (sev ? CERTS_BYTES + vendor : 0);
	at = calloc(1, len);
	if (!at)
		return seal_fail(seal, -ENOMEM, "out of memory for the sealing session");
	memcpy(offer.helper_digest, region_image_digest(), sizeof(offer.helper_digest));
	offer.blob = seal_blob_head(SEAL_OFFER, len);
	if (sev) {
		offer.flags = SEAL_F_SEV;
		offer.pdh_bytes = SEV_CERT_BYTES;
		offer.chain_bytes = SEV_CERT_CHAIN_BYTES;
		offer.vendor_bytes = (uint32_t)vendor;
		err = platform_certs(seal, at + sizeof(offer), at + sizeof(offer) + SEV_CERT_BYTES);
		if (vendor)
			memcpy(at + sizeof(offer) + CERTS_BYTES, seal->config.vendor_chain, vendor);
	}
	if (err) {
		free(at);
		return err;
	}
	memcpy(at, &offer, sizeof(offer));
	blob->bytes = at;
	blob->len = len;
	return 0;
}

static int same_helper(struct sevmirror_seal *seal, uint16_t version, const uint8_t digest[32])
{
	if (version == HELPER_ABI_VERSION && memcmp(digest, region_image_digest(), 32) == 0)
		return 0;
	return seal_fail_because(
		seal, SEVMIRROR_REASON_INCOMPATIBLE, -EPROTO,
		"the two hosts have different builds of the Migration Helper: install the same "
		"sevmirror");
}

static int same_encryption(struct sevmirror_seal *seal, uint32_t flags, uint8_t cbit)
{
	if (flags & ~SEAL_F_SEV)
		return seal_fail(seal, -EPROTO, "the other host sent unknown flags (%#x)", flags);
	if (!(flags & SEAL_F_SEV) != !seal->sev)
		return seal_fail_because(seal, SEVMIRROR_REASON_INCOMPATIBLE, -ENOTSUP,
					 "the guest is encrypted on one of the hosts only");
	if (seal->sev && cbit != cbit_of(seal->vm.cbit_mask))
		return seal_fail_because(
			seal, SEVMIRROR_REASON_INCOMPATIBLE, -ENOTSUP,
			"the C-bit is at position %u on this host and %u on the other",
			cbit_of(seal->vm.cbit_mask), cbit);
	return 0;
}

static int check_offer(struct sevmirror_seal *seal, const void *bytes, size_t len,
		       struct seal_offer *offer)
{
	int err = seal_read_head(seal, bytes, len, SEAL_OFFER, offer, sizeof(*offer));

	if (err)
		return err;
	err = same_helper(seal, offer->helper_version, offer->helper_digest);
	if (!err)
		err = same_encryption(seal, offer->flags, offer->cbit);
	if (err || !seal->sev)
		return err;
	if (offer->pdh_bytes != SEV_CERT_BYTES || offer->chain_bytes != SEV_CERT_CHAIN_BYTES ||
	    offer->vendor_bytes > VENDOR_CERTS_MAX ||
	    len != sizeof(*offer) + CERTS_BYTES + offer->vendor_bytes)
		return seal_fail_because(seal, SEVMIRROR_REASON_CERTIFICATES, -EPROTO,
					 "the target's certificates have wrong sizes");
	return 0;
}

static int make_session(struct sevmirror_seal *seal)
{
	uint16_t flags = (uint16_t)((seal->any_ring ? HELPER_SESSION_ANY_RING : 0) |
				    (seal->config.zero_marks ? HELPER_SESSION_ZERO_MARKS : 0));
	enum helper_state state;
	int err = rings_hello(seal->rings, &state, seal->session);

	/* A session that broke off with batches under way could not be wiped. */
	if (!err && state != HELPER_EMPTY)
		err = rings_session_wipe(seal->rings);
	if (!err)
		err = rings_session_make(seal->rings, flags, seal->session);
	return err ? seal_fail_because(seal, SEVMIRROR_REASON_HELPER, err,
				       "the helper cannot make a session on the source: %s",
				       rings_explain(seal->rings, err)) :
		     0;
}

static int send_start(struct sevmirror_seal *seal, const uint8_t *certs,
		      const struct seal_offer *offer, uint32_t *policy,
		      struct sev_session_blob *session)
{
	const struct sev_send_target target = {
		.pdh = certs,
		.chain = certs + SEV_CERT_BYTES,
		.vendor_chain =
			seal->config.vendor_chain ? seal->config.vendor_chain : certs + CERTS_BYTES,
		.vendor_chain_bytes = seal->config.vendor_chain ? seal->config.vendor_chain_bytes :
								  offer->vendor_bytes,
	};
	struct sev_error error;
	int err;

	seal->sending = true;
	err = sev_guest_send_start(seal->sev, &target, policy, session, &error);
	if (err && error.fw == SEV_RET_INVALID_GUEST_STATE) {
		struct sev_error unused;

		/*
		 * The firmware still sends the guest for an earlier session, whose SEND_CANCEL
		 * failed.
		 */
		if (!sev_guest_send_cancel(seal->sev, &unused))
			err = sev_guest_send_start(seal->sev, &target, policy, session, &error);
	}
	return err ? seal_fail_firmware(
			     seal, err, &error,
			     "the source's secure processor refuses to send this guest") :
		     0;
}

static int cancelled(struct sevmirror_seal *seal)
{
	return atomic_load(&seal->cancelled) ? seal_fail(seal, -ECANCELED, "cancelled") : 0;
}

/* With SEV the core's pages as packets, else as they are. */
static int send_pages(struct sevmirror_seal *seal, uint8_t *at, uint32_t npages)
{
	const uint8_t *core = seal->vm.helper.hva;
	struct sev_packet_header header;
	struct sev_error error;
	uint32_t i;
	int err;

	if (!seal->sev) {
		memcpy(at, core, npages * PAGE_BYTES);
		return 0;
	}
	for (i = 0; i < npages; i++, at += PACKET_BYTES) {
		err = cancelled(seal);
		if (err)
			return err;
		err = sev_guest_send_update_data(seal->sev, core + i * PAGE_BYTES, PAGE_BYTES,
						 &header, at + sizeof(header), &error);
		if (err)
			return seal_fail_firmware(
				seal, err, &error,
				"the source's secure processor cannot send a page of the "
				"helper's core");
		memcpy(at, &header, sizeof(header));
	}
	return 0;
}

/* Where the parts of a core blob are. */
struct core_parts {
	uint32_t npages;
	size_t ranges, pdh, session, pages, end;
};

static struct core_parts parts_of(const struct sevmirror_seal *seal)
{
	struct core_parts at = { .npages = (uint32_t)(seal->plan.core_bytes / PAGE_BYTES),
				 .ranges = sizeof(struct seal_core) };

	at.pdh = at.ranges + seal->plan.nram * sizeof(struct seal_range);
	at.session = at.pdh + (seal->sev ? SEV_CERT_BYTES : 0);
	at.pages = at.session + (seal->sev ? sizeof(struct sev_session_blob) : 0);
	at.end = at.pages + at.npages * (seal->sev ? PACKET_BYTES : PAGE_BYTES);
	return at;
}

static void put_ranges(const struct sevmirror_seal *seal, uint8_t *at)
{
	unsigned int i;

	for (i = 0; i < seal->plan.nram; i++, at += sizeof(struct seal_range)) {
		struct seal_range range = { seal->plan.ram[i].gpa, seal->plan.ram[i].bytes };

		memcpy(at, &range, sizeof(range));
	}
}

static int write_core(struct sevmirror_seal *seal, const uint8_t *offer_bytes,
		      const struct seal_offer *offer, const struct core_parts *at, uint8_t *core)
{
	struct seal_core head = { .blob = seal_blob_head(SEAL_CORE, at->end),
				  .flags = seal->sev ? SEAL_F_SEV : 0,
				  .helper_version = HELPER_ABI_VERSION,
				  .cbit = cbit_of(seal->vm.cbit_mask),
				  .nranges = seal->plan.nram,
				  .npages = at->npages,
				  .rings = seal->any_ring ? 0 : seal->nrings };
	uint8_t chain[SEV_CERT_CHAIN_BYTES];
	struct sev_session_blob session;
	int err = 0;

	memcpy(head.helper_digest, region_image_digest(), sizeof(head.helper_digest));
	put_ranges(seal, core + at->ranges);
	if (seal->sev) {
		err = send_start(seal, offer_bytes + sizeof(*offer), offer, &head.policy, &session);
		if (!err)
			err = platform_certs(seal, core + at->pdh, chain);
		if (!err)
			memcpy(core + at->session, &session, sizeof(session));
	}
	memcpy(core, &head, sizeof(head));
	return err ? err : send_pages(seal, core + at->pages, at->npages);
}

int sevmirror_seal_core(struct sevmirror_seal *seal, const void *bytes, size_t len,
			struct sevmirror_blob *blob)
{
	struct core_parts at = parts_of(seal);
	struct seal_offer offer;
	uint8_t *core;
	int err;

	*blob = (struct sevmirror_blob){ 0 };
	if (!seal->config.source || seal->rings || seal->over)
		return seal_fail(seal, -EPERM, "the session is past its beginning");
	err = check_offer(seal, bytes, len, &offer);
	if (!err)
		err = cancelled(seal);
	if (err)
		return err;
	core = calloc(1, at.end);
	if (!core)
		return seal_fail(seal, -ENOMEM, "out of memory for the sealing session");
	seal->any_ring = seal->config.any_ring;
	err = seal_start_helper(seal, seal->config.rings);
	if (!err)
		err = make_session(seal);
	if (!err)
		err = write_core(seal, bytes, &offer, &at, core);
	if (err) {
		explicit_bzero(core, at.end);
		free(core);
		sevmirror_seal_abort(seal);
		return err;
	}
	*blob = (struct sevmirror_blob){ core, at.end };
	return 0;
}

static int check_core(struct sevmirror_seal *seal, const uint8_t *bytes, size_t len,
		      struct seal_core *core)
{
	struct core_parts at = parts_of(seal);
	int err = seal_read_head(seal, bytes, len, SEAL_CORE, core, sizeof(*core));
	unsigned int i;

	if (err)
		return err;
	err = same_helper(seal, core->helper_version, core->helper_digest);
	if (!err)
		err = same_encryption(seal, core->flags, core->cbit);
	if (err)
		return err;
	if (core->nranges != seal->plan.nram || core->npages != at.npages || len != at.end ||
	    core->rings > HELPER_VCPUS_MAX)
		return seal_fail(seal, -EPROTO,
				 "the guest has %u ranges of memory and %u pages of the helper on "
				 "the source, %u and %u on the target",
				 core->nranges, core->npages, seal->plan.nram, at.npages);
	for (i = 0; i < seal->plan.nram; i++) {
		struct seal_range range;

		memcpy(&range, bytes + at.ranges + i * sizeof(range), sizeof(range));
		if (range.gpa != seal->plan.ram[i].gpa || range.bytes != seal->plan.ram[i].bytes)
			return seal_fail_because(
				seal, SEVMIRROR_REASON_INCOMPATIBLE, -EPROTO,
				"the guest's memory at %#llx is not the same at both hosts",
				(unsigned long long)range.gpa);
	}
	return 0;
}

static int receive_by_psp(struct sevmirror_seal *seal, const uint8_t *bytes,
			  const struct seal_core *core, const struct core_parts *at)
{
	const uint8_t *packet = bytes + at->pages;
	uint8_t *to = seal->vm.helper.hva;
	struct sev_session_blob session;
	struct sev_packet_header header;
	struct sev_error error;
	uint32_t i;
	int err;

	memcpy(&session, bytes + at->session, sizeof(session));
	err = sev_guest_receive_start(seal->sev, core->policy, bytes + at->pdh, &session, &error);
	if (err)
		return seal_fail_firmware(
			seal, err, &error,
			"the target's secure processor refuses to receive this guest");
	for (i = 0; i < at->npages; i++, packet += PACKET_BYTES) {
		err = cancelled(seal);
		if (err)
			return err;
		memcpy(&header, packet, sizeof(header));
		err = sev_guest_receive_update_data(seal->sev, &header, packet + sizeof(header),
						    PAGE_BYTES, to + i * PAGE_BYTES, &error);
		if (err)
			return seal_fail_firmware(
				seal, err, &error,
				"the target's secure processor cannot receive a page of the "
				"helper's core");
	}
	/* At once, so that the mirror never runs under a context that is still receiving. */
	err = sev_guest_receive_finish(seal->sev, &error);
	return err ? seal_fail_firmware(
			     seal, err, &error,
			     "the target's secure processor cannot finish receiving the guest") :
		     0;
}

static int check_session(struct sevmirror_seal *seal)
{
	enum helper_state state;
	int err = rings_hello(seal->rings, &state, seal->session);

	if (!err && state != HELPER_TARGET)
		err = -EPROTO;
	return err ? seal_fail_because(seal, SEVMIRROR_REASON_HELPER, err,
				       "the helper on the target has no session to receive pages") :
		     0;
}

int sevmirror_seal_accept(struct sevmirror_seal *seal, const void *bytes, size_t len)
{
	struct core_parts at = parts_of(seal);
	struct seal_core core;
	int err;

	if (seal->config.source || !seal->has_vm || seal->rings || seal->over)
		return seal_fail(seal, -EPERM, "the session is past its beginning");
	err = check_core(seal, bytes, len, &core);
	if (err)
		return err;
	if (seal->sev)
		err = receive_by_psp(seal, bytes, &core, &at);
	else
		memcpy(seal->vm.helper.hva, (const uint8_t *)bytes + at.pages,
		       at.npages * PAGE_BYTES);
	seal->any_ring = core.rings == 0;
	if (!err)
		err = seal_start_helper(seal, core.rings ? core.rings : seal->config.rings);
	if (!err)
		err = check_session(seal);
	if (err && !seal->sev)
		explicit_bzero((uint8_t *)seal->vm.helper.hva + HELPER_CORE_KEYS * PAGE_BYTES,
			       PAGE_BYTES);
	if (err)
		sevmirror_seal_abort(seal);
	return err;
}
