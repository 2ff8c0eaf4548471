#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What bash offers for a command line that is being typed.
#
# usage: completion.sh DATA-DIR SEVMIRROR
set -u
data=$(realpath "${1:?usage: $0 DATA-DIR SEVMIRROR}")
sevmirror=$(realpath "${2:?usage: $0 DATA-DIR SEVMIRROR}")
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"
# shellcheck source=data/completion.bash
. "$data/sevmirror"

# offers WHAT EXPECTED WORD...: the last word is being typed
offers() {
	local what=$1 expected=$2
	shift 2
	COMP_WORDS=("$sevmirror" "$@")
	COMP_CWORD=$#
	COMPREPLY=()
	_sevmirror 2>"$tmp/said" # as a shell calls it
	is "$what" "$expected" "$(printf '%s\n' "${COMPREPLY[@]}" | sort | xargs)$(cat "$tmp/said")"
}

mkdir -p "$tmp/run" "$tmp/files/folder" "$tmp/files/with blank"
touch "$tmp/files/kernel" "$tmp/files/kernel.old"
export SEVMIRROR_RUNTIME_DIR=$tmp/run
chmod 700 "$tmp/run"
# Sockets, and the locks of those that live; the socket 'dead' is what a crash left.
python3 -c '
import fcntl, os, socket, struct, sys, time
held = []
for name in ("web", "web-2", "db", "dead"):
    socket.socket(socket.AF_UNIX).bind(sys.argv[1] + "/" + name + ".sock")
    if name != "dead":
        held.append(open(sys.argv[1] + "/" + name + ".lock", "w"))
        # F_OFD_SETLK
        fcntl.fcntl(held[-1], 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
open(sys.argv[1] + "/ready", "w")
time.sleep(600)' "$tmp/run" &
holder=$!
trap 'kill $holder; rm -rf "$tmp"' EXIT
while [ ! -e "$tmp/run/ready" ]; do sleep 0.1; done
touch "$tmp/run/no-socket.sock"
cd "$tmp/files" || exit 1

offers "commands" "receive resume run" r
offers "a group's commands" "secret session" owner se
offers "options" "--max-downtime --max-rounds --max-time" migrate web --max-
offers "options after a value" "--memory" run --kernel kernel --mem
offers "a value that is a command's name" "--hold" run --name owner --ho
offers "names of VMs" "db web web-2" stop ''
offers "names of VMs that begin so" "web web-2" migrate w
offers "files" "kernel kernel.old" run --kernel ker
offers "files after a =" "kernel kernel.old" run --kernel = ker
offers "nothing typed after a =" "folder kernel kernel.old with blank" run --kernel =
offers "an option after one with =" "--hold" run --kernel = kernel --ho
offers "folders only" "folder with blank" platform certs --out ''
offers "words" "off on" run --sev ''
offers "words and files" "folder" owner session --root f
offers "no guess for a number" "" run --cpus ''
offers "operands that are files" "kernel kernel.old" owner verify-platform --root milan k
done_testing
