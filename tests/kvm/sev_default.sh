#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A guest is encrypted unless somebody says --sev off, at the source and at the target: on a host
# without SEV there is no guest otherwise.
#
# usage: sev_default.sh SEVMIRROR PAYLOAD-DIRTIER
set -u
sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
dirtier=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"

if [ -e /dev/sev ]; then
	echo "1..0 # SKIP this host has SEV"
	exit 0
fi

# refused WHAT STATUS TEXT COMMAND...
refused() {
	local what=$1 expected=$2 text=$3
	shift 3
	at 1 "$@" </dev/null >"$tmp/said" 2>&1
	is "$what: exit status" "$expected" $?
	if grep -qF -- "$text" "$tmp/said"; then ok "$what: $text"; else not_ok "$what: $text"; fi
	is "$what: nothing is left" "" "$(find "$tmp/1" -name '*.sock')"
}

head -c 64 /dev/urandom >"$tmp/chain"
psk=(--psk-file "$tmp/psk")
for mode in "" "--sev on"; do
	# shellcheck disable=SC2086  # none, or two words
	refused "run $mode" 4 "this host cannot run SEV guests" run --name guest $mode \
		--payload "$dirtier" --memory 64M
	# shellcheck disable=SC2086
	refused "receive $mode" 4 "this host cannot run SEV guests" receive $mode --name guest \
		--listen 127.0.0.1:0 "${psk[@]}" --vendor-chain "$tmp/chain"
done
refused "--sev auto is gone" 2 "(expected on or off)" run --sev auto --payload "$dirtier"
refused "receive without certificates" 2 "--vendor-chain is needed for an encrypted guest" receive \
	--listen 127.0.0.1:0 "${psk[@]}"
for policy in 'NODBG|NOKS' DOMAIN 0; do
	refused "policy $policy" 2 "it permits sending the guest without SEV" run \
		--payload "$dirtier" --policy "$policy"
	refused "policy $policy, allowed" 4 "this host cannot run SEV guests" run \
		--payload "$dirtier" --policy "$policy" --allow-weak-policy
done
refused "an ES policy with key sharing" 2 "a second guest with the same key" run \
	--payload "$dirtier" --policy 'NODBG|ES|SEV'
launch 1 1 1
is "--sev off runs one in the clear" 0 $?
at 1 stop guest --force >/dev/null
ended 1
finished
