/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_security.h"

#include <errno.h>

const struct cli_option migrate_security_options[] = {
	{ "tls-cert", MIGRATE_OPT_CERT, "FILE", "@file",
	  "this side's certificate (PEM); with --tls-key and --tls-ca, on both sides" },
	{ "tls-key", MIGRATE_OPT_KEY, "FILE", "@file", "its key" },
	{ "tls-ca", MIGRATE_OPT_CA, "FILE", "@file", "the CA that signed the peer's certificate" },
	{ "tls-peer-name", MIGRATE_OPT_PEER, "NAME", NULL,
	  "the name that the peer's certificate must have" },
	{ "psk-file", MIGRATE_OPT_PSK, "FILE", "@file",
	  "a key that both hosts have: 32 to 64 bytes in hexadecimal, mode 0600" },
	{ "insecure", MIGRATE_OPT_INSECURE, NULL, NULL,
	  "no authentication and no encryption: for tests" },
	{ 0 },
};

int migrate_security_take(struct sevmirror_security *security, int id, const char *arg)
{
	switch (id) {
	case MIGRATE_OPT_CERT:
		security->certificate = arg;
		return 0;
	case MIGRATE_OPT_KEY:
		security->key = arg;
		return 0;
	case MIGRATE_OPT_CA:
		security->ca = arg;
		return 0;
	case MIGRATE_OPT_PEER:
		security->peer_name = arg;
		return 0;
	case MIGRATE_OPT_PSK:
		security->psk_file = arg;
		return 0;
	case MIGRATE_OPT_INSECURE:
		security->insecure = true;
		return 0;
	default:
		return -EINVAL;
	}
}

int migrate_security_check(const struct sevmirror_security *s, struct why *why)
{
	bool any = s->certificate || s->key || s->ca, all = s->certificate && s->key && s->ca;

	if (any && !all)
		return why_set(why, -EINVAL,
			       "--tls-cert, --tls-key and --tls-ca are only valid together");
	if (s->peer_name && !any)
		return why_set(why, -EINVAL, "--tls-peer-name needs certificates");
	if (any + (s->psk_file != NULL) + s->insecure != 1)
		return why_set(why, -EINVAL,
			       "give exactly one of --tls-cert (with --tls-key and --tls-ca), "
			       "--psk-file and --insecure");
	return 0;
}
