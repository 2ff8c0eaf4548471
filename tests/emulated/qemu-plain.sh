#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The patched QEMU on this machine's /dev/kvm, without SEV: a guest that was started with the
# Migration Helper all the same (x-plain) and stays stopped goes from one QEMU to another by sealed
# pages. What is forged on the way is refused, and the source can try again.
# shellcheck source=tests/emulated/driver.sh disable=SC2317 # called by check
. "$(dirname "$0")/driver.sh"

if [ ! -w /dev/kvm ]; then
	echo "1..0 # SKIP this machine has no /dev/kvm"
	exit 0
fi
top_build=$(cd "$programs/../.." && pwd)
qemu=$("$top/qemu/build" | tail -n 1)
check "the patched QEMU is built" test -x "$qemu"
export LD_LIBRARY_PATH=$top_build/lib
cd "$tmp" || exit 1
head -c 60M /dev/urandom >noise
truncate -s 64K bios # no instruction is executed
# What runs in the background has left its number
cleanup() {
	local f
	for f in "$tmp"/*.pid; do kill "$(cat "$f")" 2>/dev/null; done
}

# start_qemu NAME OPTIONS...: with its monitor at NAME.qmp; the guest is stopped
start_qemu() {
	local name=$1 n=100
	shift
	"$qemu" -machine q35 -cpu qemu64 -accel kvm -m 128M -nodefaults -display none \
		-S -bios bios -qmp "unix:$name.qmp,server=on,wait=off" \
		-object sevmirror-helper,id=mh0,x-plain=on -pidfile "$name.pid" \
		"$@" </dev/null >"$name.log" 2>&1 &
	until execute "$name" query-status; do
		[ $((n -= 1)) -gt 0 ] || { cat "$name.log" && return 1; }
		sleep 0.1
	done >/dev/null 2>&1
}

qmp() { "$programs/qmp" "$1.qmp" "${@:2}"; }
execute() { qmp "$1" "{\"execute\":\"$2\"${3:+,\"arguments\":$3}}"; }

# status NAME: of its migration
status() { execute "$1" query-migrate | sed -n 's/^{"return": {.*"status": "\([a-z-]*\)".*/\1/p'; }

# comes_to NAME STATUS
comes_to() {
	local n=300 now
	until now=$(status "$1") && [ "$now" = "$2" ]; do
		[ $((n -= 1)) -gt 0 ] || { echo "it is $now: $(execute "$1" query-migrate)" &&
			return 1; }
		sleep 0.1
	done
}

# migrate ADDRESS: from the source
migrate() {
	qmp source '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"return-path","state":true}]}}' \
		'{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":10000000000}}' \
		"{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:$tmp/$1\"}}"
}

memory() { execute "$1" pmemsave "{\"val\":0,\"size\":134217728,\"filename\":\"$tmp/$1.memory\"}" \
	>/dev/null; }

# forge IN OUT AT: a connection between two sockets on which the byte number AT of the source's is
# changed
forge() {
	python3 - "$@" <<-'END' &
	import os, socket, sys, threading
	listen, to, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
	door = socket.socket(socket.AF_UNIX)
	door.bind(listen)
	door.listen(1)
	source = door.accept()[0]
	target = socket.socket(socket.AF_UNIX)
	target.connect(to)
	def back():
	    try:
	        while data := target.recv(65536):
	            source.sendall(data)
	    except OSError:
	        pass
	    source.close()
	threading.Thread(target=back, daemon=True).start()
	done = 0
	try:
	    while data := bytearray(source.recv(65536)):
	        if done <= at < done + len(data):
	            data[at - done] ^= 1
	        done += len(data)
	        target.sendall(data)
	except OSError:
	    pass
	target.shutdown(socket.SHUT_WR)
	END
	echo $! >"$1.pid"
	local n=100
	until [ -S "$1" ] || [ $((n -= 1)) = 0 ]; do sleep 0.05; done
}

check "the source is started" start_qemu source \
	-device "loader,file=$tmp/noise,addr=0x1000000,force-raw=on"
n=0
for at in 20000000 40000000; do
	n=$((n + 1))
	check "a target is started" start_qemu "forged$n" -incoming "unix:f$n.sock"
	forge "p$n.sock" "f$n.sock" "$at"
	check "migration through somebody who changes byte $at" migrate "p$n.sock"
	check "fails at the source" comes_to source failed
	check "the target has refused" grep 'sevmirror-helper: ' "forged$n.log"
	sed -n 's/^qemu-system-x86_64: sev/# sev/p' "forged$n.log"
done
check "the source's guest is there as before" test \
	"$(execute source query-status | grep -o '"status": "[a-z]*"')" = '"status": "prelaunch"'

check "a target is started" start_qemu target -incoming unix:t.sock
check "migration" migrate t.sock
check "succeeds" comes_to source completed
check "the memory is saved" memory source && memory target
check "and is the same at the target" cmp source.memory target.memory
execute source query-migrate | grep -o '"ram": {[^}]*}' | sed 's/^/# /'

check "another target is started" start_qemu next -incoming unix:n.sock
mv source.qmp old.qmp && ln target.qmp source.qmp
check "the guest that was received is migrated" migrate n.sock
check "and succeeds" comes_to source completed
memory next
check "with its memory" cmp source.memory next.memory
finished
