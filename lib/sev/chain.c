/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/chain.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BIT(link) (1U << (link))

static const struct {
	const char *name;
	uint32_t usage;
	const char *where; /* to find it when it is missing */
} links[SEV_CHAIN_LINKS] = {
	[SEV_CHAIN_PDH] = { "PDH", SEV_CERT_PDH, "pdh.cert of the platform" },
	[SEV_CHAIN_PEK] = { "PEK", SEV_CERT_PEK, "cert_chain.cert of the platform" },
	[SEV_CHAIN_OCA] = { "OCA", SEV_CERT_OCA, "cert_chain.cert of the platform" },
	[SEV_CHAIN_CEK] = { "CEK", SEV_CERT_CEK, "AMD's key server, for the chip's id" },
	[SEV_CHAIN_ASK] = { "ASK", SEV_CERT_ASK, "ask_ark_*.cert of the vendor" },
	[SEV_CHAIN_ARK] = { "ARK", SEV_CERT_ARK, "ask_ark_*.cert of the vendor" },
};

void sev_chain_init(struct sev_chain *chain)
{
	memset(chain, 0, sizeof(*chain));
}

const char *sev_chain_link_name(enum sev_chain_link link)
{
	return links[link].name;
}

const void *sev_chain_link_bytes(const struct sev_chain *chain, enum sev_chain_link link,
				 size_t *bytes)
{
	const struct sev_vendor_cert *vendor = link == SEV_CHAIN_ASK ? &chain->ask : &chain->ark;

	if (link <= SEV_CHAIN_CEK) {
		*bytes = SEV_CERT_BYTES;
		return &chain->certs[link];
	}
	*bytes = vendor->bytes;
	return vendor->raw;
}

/* Which of the platform's own certificates begins here, whole or not; SEV_CHAIN_LINKS when none. */
static enum sev_chain_link platform_link(const uint8_t *at, size_t left)
{
	uint32_t version, usage;

	if (left < offsetof(struct sev_cert, algo))
		return SEV_CHAIN_LINKS;
	memcpy(&version, at, sizeof(version));
	memcpy(&usage, at + offsetof(struct sev_cert, usage), sizeof(usage));
	if (left < SEV_CERT_BYTES && le32toh(version) != 1)
		return SEV_CHAIN_LINKS;
	for (unsigned int link = 0; link <= SEV_CHAIN_CEK; link++) {
		if (links[link].usage == le32toh(usage))
			return link;
	}
	return SEV_CHAIN_LINKS;
}

static int add_platform(struct sev_chain *chain, enum sev_chain_link link, const uint8_t *at,
			struct sev_error *error)
{
	struct sev_cert cert;
	int err;

	memcpy(&cert, at, sizeof(cert));
	err = sev_cert_check(&cert, links[link].usage, error);
	if (err)
		return err;
	chain->certs[link] = cert;
	chain->present |= BIT(link);
	return 0;
}

static int add_vendor(struct sev_chain *chain, const uint8_t *at, size_t left, size_t *bytes,
		      struct sev_error *error)
{
	struct sev_vendor_cert cert;
	int err = sev_vendor_cert_parse(&cert, at, left, error);

	if (err)
		return err;
	*bytes = cert.bytes;
	if (cert.usage == SEV_CERT_ASK) {
		chain->present |= BIT(SEV_CHAIN_ASK);
		return sev_vendor_cert_parse(&chain->ask, at, left, error);
	}
	chain->present |= BIT(SEV_CHAIN_ARK);
	return sev_vendor_cert_parse(&chain->ark, at, left, error);
}

int sev_chain_add(struct sev_chain *chain, const void *buf, size_t len, const char *source,
		  struct sev_error *error)
{
	const uint8_t *in = buf;
	struct sev_error why;
	size_t at = 0, bytes;

	if (len == 0)
		return sev_error_set(error, -EBADMSG, "%s is empty: it has no certificate", source);
	for (; at < len; at += bytes) {
		enum sev_chain_link link = platform_link(in + at, len - at);
		int err;

		bytes = SEV_CERT_BYTES;
		if (link != SEV_CHAIN_LINKS && len - at < SEV_CERT_BYTES)
			return sev_error_set(
				error, -EBADMSG,
				"%s: at byte %zu: a %s certificate of %zu bytes instead of "
				"%u: the file is truncated",
				source, at, links[link].name, len - at, SEV_CERT_BYTES);
		if (link != SEV_CHAIN_LINKS)
			err = add_platform(chain, link, in + at, &why);
		else
			err = add_vendor(chain, in + at, len - at, &bytes, &why);
		if (err)
			return sev_error_set(error, err, "%s: at byte %zu: %s", source, at,
					     why.message);
	}
	return 0;
}

static int check_present(const struct sev_chain *chain, struct sev_error *error)
{
	char missing[256] = "";
	size_t used = 0;

	for (unsigned int link = 0; link < SEV_CHAIN_LINKS; link++) {
		if (chain->present & BIT(link))
			continue;
		used += (size_t)snprintf(missing + used, sizeof(missing) - used, "%s%s (%s)",
					 used ? ", " : "", links[link].name, links[link].where);
	}
	if (used)
		return sev_error_set(error, -ENOENT, "the chain is incomplete: missing %s",
				     missing);
	return 0;
}

int sev_chain_verify(const struct sev_chain *chain, const struct sev_root *root,
		     struct sev_error *error)
{
	const struct sev_cert *certs = chain->certs;
	int err = check_present(chain, error);

	if (err)
		return err;
	if (!sev_root_is(root, &chain->ark))
		return sev_error_set(
			error, -EBADMSG,
			"the ARK certificate does not have the key of the root that was chosen: "
			"another generation of processors, another vendor, or an emulated host");
	err = sev_vendor_cert_verify(&chain->ark, &chain->ark, error);
	if (err)
		return err;
	err = sev_vendor_cert_verify(&chain->ask, &chain->ark, error);
	if (err)
		return err;
	err = sev_cert_verify_by_vendor(&certs[SEV_CHAIN_CEK], &chain->ask, error);
	if (err)
		return err;
	err = sev_cert_verify(&certs[SEV_CHAIN_OCA], &certs[SEV_CHAIN_OCA], error);
	if (err)
		return err;
	err = sev_cert_verify(&certs[SEV_CHAIN_PEK], &certs[SEV_CHAIN_CEK], error);
	if (err)
		return err;
	err = sev_cert_verify(&certs[SEV_CHAIN_PEK], &certs[SEV_CHAIN_OCA], error);
	if (err)
		return err;
	return sev_cert_verify(&certs[SEV_CHAIN_PDH], &certs[SEV_CHAIN_PEK], error);
}
