#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A workload in a mirror of a running, encrypted Linux guest: measured with the guest, made by
# another process, it finds what the guest itself has in its private pages and the host does not
# see. Mirror and guest are killed in every order.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

build=$programs/../..
sevmirror=$build/cli/sevmirror
host=mir-$$
start $host --cpus 2 --memory 1G --chip-seed mirror
"$sev_host" copy "$sevmirror" "$host:/usr/bin/sevmirror" || exit 1
"$sev_host" copy "$build/payloads/payload-memscan" "$host:/memscan" || exit 1
mkdir "$tmp/root" "$tmp/owner"
"$sev_host" copy "$host:/usr/bin/busybox" "$tmp/root/busybox" &&
	cp "$here/mirror-guest-init" "$tmp/root/init" &&
	cp "$programs/mirror-guest" "$tmp/root/mirror-guest" || exit 1
(cd "$tmp/root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) | gzip -n >"$tmp/initrd"
"$sev_host" copy "$tmp/initrd" "$host:/initrd" &&
	"$sev_host" copy "$host:/boot/vmlinuz" "$tmp/vmlinuz" || exit 1
# shellcheck disable=SC2018 # a-z is meant
word=$(head -c 600 /dev/urandom | LC_ALL=C tr -dc a-z | head -c 24)
# shellcheck disable=SC2018
canary=$(LC_ALL=C tr a-z n-za-m <<<"$word")
cmdline="console=ttyS0 quiet canary=$word"

# The guest's owner makes a session for this host.
on $host sevmirror platform certs --out /certs >/dev/null
"$sev_host" copy "$host:/certs" "$tmp/certs" || exit 1
check "owner: session" "$sevmirror" owner session --root emulation --name "$tmp/owner/vm" \
	"$tmp/certs"
for file in vm_godh.b64 vm_session.b64; do "$sev_host" copy "$tmp/owner/$file" "$host:/$file" ||
	exit 1; done

# guest OPTIONS...: an encrypted Linux guest with memscan begins, console in /console
guest() {
	# In the foreground: a guest that was killed has left its words, and they are looked for.
	on $host sh -c 'rm -f /console /out /status; touch /console'
	on $host sh -c "setsid sevmirror run --sev on --name guest --kernel /boot/vmlinuz \
		--initrd /initrd --memory 256M --cmdline '$cmdline' --mirror-payload /memscan $* \
			</dev/null >/console 2>/out
		echo \$? >/status" >/dev/null 2>&1 &
	wait_for $host /run/sevmirror/guest.sock
}

# says_in FILE TEXT: until the text is in the file in the host
says_in() { true_on $host grep -q "$2" "$1"; }

# mirror OPTIONS...: attach, in another process than the guest's
mirror() { "$sev_host" exec $host --timeout 400 -- sevmirror mirror attach guest "$@"; }

# mirror_runs: attach to a job that takes minutes, until the workload has the mirror; its status
# will be in /mirror.status
mirror_runs() {
	# The kernel's pages are private from the first instruction on.
	on $host sh -c 'rm -f /mirror.*; ranges=; i=0
		while [ $i -lt 1000 ]; do ranges="$ranges --range 0x1000000+8M"; i=$((i + 1)); done
		setsid sevmirror mirror attach guest $ranges </dev/null >/mirror.out \
			2>/mirror.err; echo $? >/mirror.status' >/dev/null 2>&1 &
	true_on $host sh -c 'sevmirror status guest | grep -q "^mirror *attached"'
}

# kill_in WHICH...: guest, mirror or both, at once
kill_in() {
	local patterns=()
	[[ $* != *guest* ]] || patterns+=('sevmirror run')
	[[ $* != *mirror* ]] || patterns+=('sevmirror mirror')
	# shellcheck disable=SC2016 # expanded in the host
	on $host sh -c 'pids=; for p in "$@"; do for d in /proc/[0-9]*; do
			tr "\0" " " <$d/cmdline 2>/dev/null | grep -q "^$p" &&
				pids="$pids ${d#/proc/}"; done; done
		kill -9 $pids' sh "${patterns[@]}"
}

# goes_on WHAT: the guest ticks
goes_on() {
	local ticks
	ticks=$(on $host grep -c '^tick' /console)
	check "$1: the guest keeps running" says_in /console "^tick $((ticks + 3))\>"
}

nothing_left() {
	# shellcheck disable=SC2016 # for the host's shell
	check "$1: nothing is left behind" on $host sh -c 'n=600
		until ! pidof sevmirror >/dev/null && sevmirror platform status --json |
			grep -q "\"guests\": 0\>"; do
			n=$((n - 1)); [ $n -gt 0 ] || exit 1; sleep 0.1; done'
}

# verify [OPTIONS...]: does the guest's measurement hold for what the owner computes?
verify() {
	local digest
	digest=$("$sevmirror" owner measure --c-bit 47 --kernel "$tmp/vmlinuz" \
		--initrd "$tmp/initrd" --cmdline "$cmdline" --memory 256M "$@") || return
	"$sevmirror" owner verify --digest "$digest" --tik "$tmp/owner/vm_tik.bin" \
		--measurement "$tmp/measurement" --api 0.24 --build "$fw_build"
}

check "a guest is launched" guest --hold --session /vm_session.b64 --dh-cert /vm_godh.b64
fw_build=$(on $host sevmirror platform status | sed -n 's/.*build \([0-9]*\).*/\1/p')
on $host sevmirror measurement guest >"$tmp/measurement"
check "owner: the offline digest with the workload is the firmware's" verify \
	--mirror-payload "$build/payloads/payload-memscan"
fails "owner: not without it" verify
fails "owner: nor with another one" verify --mirror-payload "$build/payloads/payload-zeropages"
says "a guest that has not started has no mirrors" "has not started" mirror
check "resume" on $host sevmirror resume guest
check "the guest has its pages" says_in /console '^tick'
on $host cat /console | tr -d '\r' >"$tmp/console"
check "its kernel knows that it is encrypted" grep -q 'AMD SEV' "$tmp/console"
awk '$1 == "page" { print $3, $2 }' "$tmp/console" >"$tmp/guests"
check "sixteen of them" test "$(wc -l <"$tmp/guests")" -eq 16

ranges=()
while read -r _ gpa; do ranges+=(--range "$gpa+4096"); done <"$tmp/guests"
mirror "${ranges[@]}" >"$tmp/scan" 2>"$tmp/scan.err"
check "memscan in a mirror, from another process" test $? -eq 0
sed 's/  \(0x[0-9a-f]*\)+.*/ \1/' "$tmp/scan" >"$tmp/mirrors"
check "its hashes are those that the guest computed" cmp "$tmp/guests" "$tmp/mirrors"
mapfile -t gpas < <(awk '{ print $2 }' "$tmp/guests")
# shellcheck disable=SC2016 # expanded in the host
on $host sh -c 'for fd in /proc/$(pidof sevmirror)/fd/*; do
		case $(readlink $fd) in /memfd:guest-ram*) break;; esac
	done
	for gpa in "$@"; do echo $(dd if=$fd bs=4096 skip=$((gpa / 4096)) count=1 2>/dev/null |
		sha256sum | cut -d " " -f 1) $gpa; done' \
	sh "${gpas[@]}" >"$tmp/hosts"
check "the host sees sixteen pages there" test "$(wc -l <"$tmp/hosts")" -eq 16
check "and none of them as the guest does" test -z "$(sort "$tmp/guests" "$tmp/hosts" | uniq -d)"
check "all of its private memory, too" mirror --json --timeout 360
goes_on "mirrors have come and gone"

# With a mirror at work: the canary is in no byte of the host's memory.
check "a mirror runs" mirror_runs
says "a second one is refused" "a mirror is attached" mirror
check "dump-memory" "$sev_host" dump-memory $host "$tmp/ram"
check "what is in clear in the host's memory is found" grep -aqF "canary=$word" "$tmp/ram"
fails "the canary is nowhere" grep -aqF "$canary" "$tmp/ram"
rm -f "$tmp/ram"
check "the mirror still runs" on $host sh -c "sevmirror status guest | grep -q '^mirror *attached'"

check "the mirror is killed" kill_in mirror
wait_for $host /mirror.status
goes_on "the mirror is killed"
check "another one can be made" mirror "${ranges[0]}" "${ranges[1]}"

check "a mirror runs" mirror_runs
check "the guest is killed" kill_in guest
check "the mirror ends" wait_for $host /mirror.status
check "with 1" test "$(on $host cat /mirror.status)" = 1
check "and says why" grep -q 'has ended, and the mirror with it' <(on $host cat /mirror.err)
nothing_left "guest first"

check "a guest is launched again" guest
check "and works" says_in /console '^tick'
check "a mirror runs" mirror_runs
check "both are killed" kill_in guest mirror
nothing_left "both"
finished
