# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The patched QEMU on this machine's /dev/kvm, without SEV: guests that are started with the
# Migration Helper all the same (x-plain). Sourced by drivers after driver.sh; it skips the test
# when there is no /dev/kvm, and goes to $tmp, where each QEMU has NAME.qmp, NAME.log and NAME.pid.
: "${top:?}" "${programs:?}" "${tmp:?}"

if [ ! -w /dev/kvm ]; then
	echo "1..0 # SKIP this machine has no /dev/kvm"
	exit 0
fi
qemu=${QEMU_SEVMIRROR:-$("$top/qemu/build" | tail -n 1)}
check "the patched QEMU is built" test -x "$qemu"
export LD_LIBRARY_PATH=${QEMU_LIBRARY:-$(cd "$programs/../../lib" && pwd)}
cd "$tmp" || exit 1
bios=$programs/qemu-bios
machine=(-machine q35 -m 128M)
helper=(-object "sevmirror-helper,id=mh0,x-plain=on")

cleanup() {
	local f
	for f in "$tmp"/*.pid; do kill -9 "$(cat "$f")" 2>/dev/null; done
}

# start_qemu NAME OPTIONS...: the guest of qemu_bios.S
start_qemu() {
	local name=$1
	shift
	"$qemu" "${machine[@]}" -cpu qemu64 -accel kvm -nodefaults -display none -bios "$bios" \
		-qmp "unix:$name.qmp,server=on,wait=off" "${helper[@]}" \
		"$@" </dev/null >"$name.log" 2>&1 &
	echo $! >"$name.pid"
	disown
	until_true --of "$(cat "$name.pid")" execute "$name" query-status
}
# start_target NAME OPTIONS...: one that listens on the socket NAME.in
start_target() { start_qemu "$1" -incoming "unix:$1.in" "${@:2}"; }
# ended NAME: its process has; end NAME: kill it, and wait
ended() { ! kill -0 "$(cat "$1.pid")" 2>/dev/null; }
end() {
	kill -9 "$(cat "$1.pid")" 2>/dev/null
	until_true ended "$1"
}

qmp() { "$programs/qmp" "$1.qmp" "${@:2}"; }
execute() { qmp "$1" "{\"execute\":\"$2\"${3:+,\"arguments\":$3}}"; }
hmp() {
	execute "$1" human-monitor-command "{\"command-line\":\"$2\"}" |
		sed 's/^{"return": "\(.*\)"}$/\1/; s/\\r\\n/\n/g'
}

# status NAME: of its migration; comes_to NAME STATUS
status() { execute "$1" query-migrate | sed -n 's/^{"return": {.*"status": "\([a-z-]*\)".*/\1/p'; }
has_status() {
	now=$(status "$1")
	[ "$now" = "$2" ]
}
comes_to() {
	local now=
	within 200 has_status "$1" "$2" || {
		echo "it is '$now': $(execute "$1" query-migrate)"
		return 1
	}
}
# sent NAME FIELD: a number of its migration's statistics
sent() { execute "$1" query-migrate | sed -n "s/.*\"$2\": \([0-9]*\).*/\1/p"; }

# set_up NAME PARAMETERS [CAPABILITY...]: for a migration from there
set_up() {
	local name=$1 parameters=$2 c all='{"capability":"return-path","state":true}'
	shift 2
	for c in "$@"; do all+=",{\"capability\":\"${c#-}\",\"state\":$(
		[ "${c#-}" = "$c" ] && echo true || echo false)}"; done
	qmp "$name" "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":[$all]}}" \
		"{\"execute\":\"migrate-set-parameters\",\"arguments\":$parameters}"
}
fast='{"max-bandwidth":10000000000,"downtime-limit":300}'
# migrate NAME SOCKET
migrate() { execute "$1" migrate "{\"uri\":\"unix:$tmp/$2\"}"; }

# word NAME ADDRESS: of the guest's memory, decimal
word() { echo $(($(hmp "$1" "xp /1xw $2" | sed -n 's/.*: //p'))); }
run_state() { execute "$1" query-status | sed -n 's/.*"status": "\([a-z-]*\)".*/\1/p'; }
counts_past() { [ "$(word "$1" 0x604)" -gt "$2" ]; }
# runs_on NAME: the guest runs there, writes memory, and has found what it wrote
runs_on() {
	local before
	before=$(word "$1" 0x604)
	[ "$(run_state "$1")" = running ] && [ "$(word "$1" 0x600)" = 0 ] &&
		within 60 counts_past "$1" "$before" || {
		echo "$1: $(run_state "$1"), round $(word "$1" 0x604), error $(word "$1" 0x600)"
		return 1
	}
}
