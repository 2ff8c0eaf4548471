# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Where this machine gets Debian from: other releases of it are fetched from there, too. Sourced by
# the scripts that build the emulated host.

# debian_source [-security]: the address of the archive that apt takes this machine's release from,
# or its security updates; nothing if it takes them from nowhere
debian_source() {
	apt-get update --print-uris 2>/dev/null |
		sed -nE "s#^'(.*)/dists/($(debian_release)|stable|oldstable)${1-}/In.*' .*#\1#p" |
		head -n 1
}

# debian_archive: where releases are; nothing if apt has no source of this machine's
debian_archive() { debian_source; }

# debian_security_archive: where their security updates are. A machine that has no source of them
# finds them next to the releases, as mirrors have it.
debian_security_archive() {
	local main security
	security=$(debian_source -security)
	main=$(debian_source)
	echo "${security:-${main:+${main%/*}/debian-security}}"
}

# debian_release: the code name of the release that this machine runs
debian_release() {
	local VERSION_CODENAME=
	# shellcheck source=/dev/null
	. /etc/os-release
	echo "${VERSION_CODENAME:-bookworm}"
}
