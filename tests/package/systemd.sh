#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The unit under systemd: in a container over this machine's own files, with a systemd of its own,
# in which sevmirror is installed by `make install`. A guest comes from outside, with its memory and
# before it; is stopped; and leaves.
#
# usage: systemd.sh BUILD-DIR PAYLOAD-DIRTIER
set -u
build=$(realpath "${1:?usage: $0 BUILD-DIR PAYLOAD-DIRTIER}")
dirtier=$(realpath "${2:?usage: $0 BUILD-DIR PAYLOAD-DIRTIER}")
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

missing=
[ -w /dev/kvm ] || missing="no usable /dev/kvm"
[ "$(id -u)" -eq 0 ] || missing="only root starts containers"
command -v systemd-nspawn >/dev/null ||
	missing="systemd-nspawn is not installed (systemd-container)"
if [ "$missing" ]; then
	echo "1..0 # SKIP the unit has not been run: $missing"
	exit 0
fi

unit="sevmirror-receive@vm"
prefix=$(meson introspect --buildoptions "$build" | python3 -c 'import json, sys
print({o["name"]: o["value"] for o in json.load(sys.stdin)}["prefix"])')
container=
leader=
# shellcheck disable=SC2317  # by tap.sh
cleanup() {
	host stop vm --force
	[ -z "$container" ] || { kill -TERM "$container" && wait "$container"; }
} >/dev/null 2>&1

# host COMMAND...: sevmirror outside of the container; inside COMMAND...: a command in it
host() { SEVMIRROR_RUNTIME_DIR=$tmp/run "$prefix_bin/sevmirror" "$@"; }
inside() { nsenter -t "$leader" -a -- "$@"; }
# Silently: what is waited for may say a lot.
until_true() { within 60 quietly "$@"; }
quietly() { "$@" >/dev/null 2>&1; }

# What is installed, and a configuration.
check "it installs below DESTDIR" env DESTDIR="$tmp/dest" meson install -C "$build" --no-rebuild
prefix_bin=$tmp/dest$prefix/bin
mkdir -p "$tmp/etc/receive" "$tmp/root"
mkdir -m 700 "$tmp/run"
(umask 077 && od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$tmp/etc/psk")
# The example as it is installed, with the values of this test: its OPTIONS have two lines.
example=$tmp/dest$prefix/share/doc/sevmirror/examples/receive.conf.example
sed -e 's|^LISTEN=.*|LISTEN=127.0.0.1:0|' \
	-e 's|^OPTIONS=--tls-cert.* \\$|OPTIONS=--sev off --psk-file /etc/sevmirror/psk \\|' \
	-e 's|^--tls-ca .*|--timeout 60|' "$example" >"$tmp/etc/receive/vm.conf"

# The root file system is bound where only this container sees it, with changes in memory.
unit_file=lib/systemd/system/sevmirror-receive@.service
options=(--volatile=overlay --register=no --keep-unit --bind=/dev/kvm
	"--bind-ro=$tmp/etc:/etc/sevmirror"
	"--bind-ro=$prefix_bin/sevmirror:$prefix/bin/sevmirror"
	"--bind-ro=$tmp/dest$prefix/$unit_file:/etc/${unit_file#lib/}")
[ ! -e /dev/userfaultfd ] || options+=(--bind=/dev/userfaultfd)
# shellcheck disable=SC2016  # for the shell that it starts
unshare -m sh -c 'mount --bind / "$0" && exec systemd-nspawn -q -D "$0" "$@"' "$tmp/root" \
	"${options[@]}" \
	-b systemd.unit=basic.target systemd.mask=sockets.target \
	systemd.mask=timers.target </dev/null >"$tmp/boot" 2>&1 &
container=$!
# shellcheck disable=SC2317  # by until_true
booted() {
	leader=$(pgrep -P "$container" | head -n 1)
	[ "$leader" ] && inside systemctl is-active basic.target
}
if ! until_true booted; then
	tail -n 5 "$tmp/boot" | sed 's/^/# /'
	skip "the unit under systemd" \
		"systemd-nspawn does not start a container here, so it has not been run"
	done_testing
fi

state() { inside systemctl show -p "$1" --value "$unit"; }
# shellcheck disable=SC2317  # by until_true
is_inactive() { [ "$(state ActiveState)" = inactive ]; }
# shellcheck disable=SC2317  # by until_true
is_failed() { [ "$(state ActiveState)" = failed ]; }
# What this start of the unit has said: an earlier one's address may be less than a second older.
# shellcheck disable=SC2317  # by until_true
has_said() { inside journalctl --no-pager -o cat "_SYSTEMD_INVOCATION_ID=$(state InvocationID)" |
	grep "$1" >"$tmp/line"; }
journal() { inside journalctl --no-pager -o cat -u "$unit" -n 15 >"$tmp/said" 2>&1; }

# comes WHAT OPTIONS...: the unit is started, and a guest comes to it from outside
comes() {
	local what=$1 source
	shift
	inside systemctl start "$unit"
	until_true has_said 'waiting for the source'
	host run --name vm --sev off --payload "$dirtier" --memory 64M --arg 1 --arg 1000 \
		--arg 1048576 </dev/null >"$tmp/source" 2>&1 &
	source=$!
	until_true host status vm
	if host migrate vm --to "$(awk '{ print $NF }' "$tmp/line")" --psk-file "$tmp/etc/psk" \
		"$@" >"$tmp/said" 2>&1; then
		ok "$what: the guest has left its first host"
	else
		not_ok "$what: the guest has left its first host"
		host stop vm --force >/dev/null 2>&1 || kill $source
	fi
	wait $source
	if until_true has_said 'the guest runs here now'; then
		ok "$what: the journal says that it runs"
	else
		journal
		not_ok "$what: the journal says that it runs"
	fi
	is "$what: the unit is active" active "$(state ActiveState)"
}

comes "pre-copy"
is "both lines of OPTIONS reach the command" \
	"--sev off --psk-file /etc/sevmirror/psk --timeout 60 " \
	"$(inside cat "/proc/$(state MainPID)/cmdline" | tr '\0' ' ' | grep -o -e '--sev.*')"
status=/proc/$(state MainPID)/status
# shellcheck disable=SC2016  # for awk
is "in the sandbox, under the unit's own" "0000000000000000 2" \
	"$(inside awk '/^(CapEff|Seccomp):/ { print $2 }' "$status" | xargs)"
check "the VM is found by its name" inside sevmirror status vm
inside systemctl stop "$unit"
journal
is "systemctl stop ends it, and that is no failure" "inactive success" \
	"$(state ActiveState) $(state Result)"

if [ -e /dev/userfaultfd ]; then
	comes "post-copy" --postcopy always
else
	skip "post-copy" "no /dev/userfaultfd"
	comes "pre-copy again"
fi
# It leaves: nothing is left to wait for.
host receive --sev off --name vm --listen 127.0.0.1:0 --psk-file "$tmp/etc/psk" \
	--timeout 60 </dev/null >"$tmp/back" 2>&1 &
back=$!
until_true grep 'waiting for the source' "$tmp/back"
address=$(awk '/waiting for the source/ { print $NF }' "$tmp/back" | tr -d '\r')
check "the guest leaves" inside sevmirror migrate vm --to "$address" --psk-file /etc/sevmirror/psk
if until_true is_inactive; then ok "the unit has ended by itself"
else not_ok "the unit has ended by itself"; fi
journal
is "and that is no failure" success "$(state Result)"
host stop vm --force >/dev/null 2>&1 || kill $back
wait $back

# What cannot work is a failure.
sed -i 's,/psk,/none,' "$tmp/etc/receive/vm.conf"
inside systemctl start "$unit"
until_true is_failed
is "a key that is not there: the unit fails" "failed exit-code" \
	"$(state ActiveState) $(state Result)"
done_testing
