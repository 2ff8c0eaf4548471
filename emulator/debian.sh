# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Where this machine gets Debian from: other releases of it are fetched from there, too. Sourced by the scripts that build the emulated host.

# debian_archive [-security]: the address of the archive that apt takes this machine's release from, or its security updates; nothing if it
# takes them from nowhere
debian_archive() {
	apt-get update --print-uris 2>/dev/null |
		sed -nE "s#^'(.*)/dists/($(debian_release)|stable|oldstable)${1-}/InRelease' .*#\1#p" | head -n 1
}

# debian_release: the code name of the release that this machine runs
debian_release() {
	local VERSION_CODENAME=
	# shellcheck source=/dev/null
	. /etc/os-release
	echo "${VERSION_CODENAME:-bookworm}"
}
