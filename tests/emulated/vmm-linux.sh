#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `sevmirror run` of Linux guests on an emulated host, and their owner, who is outside of it and has
# nothing but what the host sends.
# shellcheck disable=SC2018,SC2317 # a-z is meant; check and its like call functions
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"
# shellcheck source=tests/emulated/vmm-guest.sh
. "$here/vmm-guest.sh"
# shellcheck source=tests/emulated/vmm-refusals.sh
. "$here/vmm-refusals.sh"

host=emu-$$-vmm
guest_host=$host
host_bytes=$((1 << 30))
secret_gpa=0xef000
start "$host" --cpus 2 --memory $((host_bytes >> 20))M --chip-seed emulated-vmm
put "$host" certs vmm-host
check "copy the debugger" "$sev_host" copy "$programs/libvmm-debugger.so" "$host:/t/vmm-debugger.so"
check "a Linux guest's files" guest_files || exit 1
check "sevmirror doctor finds all that is needed" on "$host" sevmirror doctor
check "and says so as JSON" grep -q '"mirror"' <<<"$(on "$host" sevmirror doctor --json)"
on "$host" sh -c 'tunctl -t tap0 && ip addr add 10.77.0.1/24 dev tap0 && ip link set tap0 up &&
	{ setsid /t/vmm-host echo </dev/null >/tmp/echo 2>&1 & }' >/dev/null

# The owner's things: a platform to trust, keys, a secret; a canary that is nowhere as the guest
# will have it.
dir=$tmp/owner
mkdir "$dir"
on "$host" sevmirror platform certs --out /certs >/dev/null
check "the certificates go to the owner" "$sev_host" copy "$host:/certs" "$dir/certs"
check "owner: verify-platform" "$sevmirror" owner verify-platform --root emulation "$dir/certs"
check "owner: session" "$sevmirror" owner session --root emulation --name "$dir/vm" "$dir/certs"
for file in vm_godh.b64 vm_session.b64; do "$sev_host" copy "$dir/$file" "$host:/g/"; done
random_word() { head -c 600 /dev/urandom | LC_ALL=C tr -dc a-z | head -c 24; }
secret=$(random_word)$(random_word)
printf %s "$secret" >"$dir/secret"
word=$(random_word)
canary=$(LC_ALL=C tr a-z n-za-m <<<"$word")
cmdline="console=ttyS0 -- secret=$secret_gpa canary=$word wait"

# measure KERNEL INITRD CMDLINE OPTIONS...: the digest, outside
measure() {
	"$sevmirror" owner measure --c-bit 47 --kernel "$1" --initrd "$2" --cmdline "$3" \
		--memory 256M --cpus 1 "${@:4}"
}

# verify DIGEST OPTIONS...: is it what the guest's firmware has measured?
verify() {
	"$sevmirror" owner verify --digest "$1" --tik "$dir/vm_tik.bin" \
		--measurement "$dir/measurement" --api 0.24 --build "$build" "${@:2}"
}

# refused WHAT COMMAND...: exit status 3
refused() {
	local what=$1
	shift
	"$@" >"$tmp/refused" 2>&1
	check "$what: exit status 3" test $? -eq 3
}

# changed FILE: a copy with another byte in the middle
changed() {
	local byte at=$(($(stat -c %s "$1") / 2))
	byte=$(od -An -tu1 -j $at -N 1 "$1")
	cp "$1" "$1.changed"
	# shellcheck disable=SC2059 # the format is the byte
	printf "\\x$(printf %x $((byte ^ 1)))" |
		dd of="$1.changed" bs=1 seek=$at conv=notrunc status=none
	echo "$1.changed"
}

# What the guest was started from, by the firmware's measurement and without the host's word.
owner_verifies() {
	local digest
	build=$(on "$host" sevmirror platform status | sed -n 's/.*build \([0-9]*\).*/\1/p')
	on "$host" sevmirror measurement owned >"$dir/measurement"
	digest=$(measure "$tmp/vmlinuz" "$tmp/guest.cpio.gz" "$cmdline" --dump-image "$dir/image")
	check "owner: the offline digest is the firmware's" verify "$digest"
	refused "owner: not under another policy" verify "$digest" --policy "SEV"
	refused "owner: not with another byte in the kernel" verify \
		"$(measure "$(changed "$tmp/vmlinuz")" "$tmp/guest.cpio.gz" "$cmdline")"
	refused "owner: nor in the initrd" verify \
		"$(measure "$tmp/vmlinuz" "$(changed "$tmp/guest.cpio.gz")" "$cmdline")"
	refused "owner: nor in the command line" verify \
		"$(measure "$tmp/vmlinuz" "$tmp/guest.cpio.gz" "${cmdline/wait/wai7}")"
	refused "owner: nor with another CPU" verify \
		"$(measure "$tmp/vmlinuz" "$tmp/guest.cpio.gz" "$cmdline" --cpus 2)"
	libvirts_validator
}

# Debian's tool, which knows nothing of sevmirror, takes the dumped image for a firmware's.
libvirts_validator() {
	local tool=(/usr/bin/python3 /usr/bin/virt-qemu-sev-validate)
	if ! "${tool[@]}" --help >/dev/null 2>&1; then
		ok "virt-qemu-sev-validate # SKIP libvirt-clients-qemu, python3-lxml not installed"
		return
	fi
	tool+=(--tik "$dir/vm_tik.bin" --tek "$dir/vm_tek.bin"
		--measurement "$(cat "$dir/measurement")")
	tool+=(--api-major 0 --api-minor 24 --build-id "$build" --policy 35)
	check "virt-qemu-sev-validate accepts the dumped image" "${tool[@]}" --firmware "$dir/image"
	fails "and not another one" "${tool[@]}" --firmware "$(changed "$dir/image")"
}

owner_sends_secret() {
	check "owner: secret" "$sevmirror" owner secret --tik "$dir/vm_tik.bin" \
		--tek "$dir/vm_tek.bin" --measurement "$dir/measurement" \
		--secret "$dir/secret" --name "$dir/vm"
	changed "$dir/vm_secret_payload.bin" >/dev/null
	for file in vm_secret_header.bin vm_secret_payload.bin vm_secret_payload.bin.changed
	do "$sev_host" copy "$dir/$file" "$host:/g/"; done
	says "inject-secret of a changed packet" "BAD_MEASUREMENT" \
		on "$host" sevmirror inject-secret owned \
		--header /g/vm_secret_header.bin --payload /g/vm_secret_payload.bin.changed
	check "inject-secret" on "$host" sevmirror inject-secret owned \
		--header /g/vm_secret_header.bin --payload /g/vm_secret_payload.bin
}

# in_state NAME STATE: as both forms of status have it
in_state() {
	check "status $1: $2" grep -Eq "^state +$2\$" <<<"$(on "$host" sevmirror status "$1")"
	check "status --json $1: $2" grep -q "\"state\": \"$2\"" \
		<<<"$(on "$host" sevmirror status "$1" --json)"
}

# ram_has TEXT: in all of the host's RAM as the memory bus has it, dumped before
dump_ram() { check "$1: dump-memory" "$sev_host" dump-memory "$host" "$tmp/ram" &&
	test "$(stat -c %s "$tmp/ram")" = $host_bytes; }
ram_has() { LC_ALL=C grep -qaF -- "$1" "$tmp/ram"; }

# The secret by its blocks, as it may be anywhere and in part.
ram_has_secret() { ram_has "${secret:0:16}" || ram_has "${secret:16:16}" ||
	ram_has "${secret:32:16}"; }

# What the host gets to see of a running SEV guest: its RAM, and what the secure processor tells a
# debugger.
host_attacks() {
	dump_ram owned
	check "owned: the host's RAM holds the guest's command line, which sevmirror was given" \
		ram_has "$word"
	fails "owned: and nowhere the guest's canary" ram_has "$canary"
	fails "owned: nor a block of the secret" ram_has_secret
	rm "$tmp/ram"
	on "$host" touch /tmp/debug/go
	wait_for "$host" /tmp/debug/said
	on "$host" cat /tmp/debug/said >"$tmp/debugger"
	check "owned: NODBG: DBG_DECRYPT is refused" grep -qa "POLICY_FAILURE" "$tmp/debugger"
	fails "owned: and shows nothing" grep -qa "${secret:0:16}" "$tmp/debugger"
}

# A guest that its owner attests before it runs, gives a secret, and that is paused, resumed and
# asked to power off.
owned_guest() {
	local before ticks
	on "$host" mkdir -p /tmp/debug
	guest_env=(LD_PRELOAD=/t/vmm-debugger.so DEBUGGER_DIR=/tmp/debug DEBUGGER_GPA="$secret_gpa")
	guest owned --hold --session /g/vm_session.b64 --dh-cert /g/vm_godh.b64 --cmdline "$cmdline"
	guest_env=()
	guest_holds owned
	in_state owned starting
	says "another guest of that name" "owned" \
		"$sev_host" exec "$host" --timeout 60 -- sevmirror run --name owned \
		--kernel /boot/vmlinuz --hold
	owner_verifies
	owner_sends_secret
	check "resume: the guest starts" on "$host" sevmirror resume owned
	guest_says owned 'guest: count [0-9]'
	said owned "its kernel says that SEV is active" \
		'Memory Encryption Features active: AMD SEV\s*$'
	said owned "it has read the secret" \
		"guest: secret of 48 bytes, checksum $("$programs/vmm-host" checksum \
			<"$dir/secret")"
	said owned "it has its canary" "guest: canary good"
	in_state owned running
	check "status lists it" grep -Eq '^owned +running .*SEV' <<<"$(on "$host" sevmirror status)"
	says "inject-secret into a running guest" "runs already" \
		on "$host" sevmirror inject-secret owned \
		--header /g/vm_secret_header.bin --payload /g/vm_secret_payload.bin
	check "pause" on "$host" sevmirror pause owned
	in_state owned paused
	before=$(stat -c %s "$tmp/owned.console")
	host_attacks
	check "owned: says nothing while it is paused" test "$before" \
		-eq "$(stat -c %s "$tmp/owned.console")"
	ticks=$(grep -ac 'guest: count' "$tmp/owned.console")
	check "resume" on "$host" sevmirror resume owned
	guest_says owned "guest: count $((ticks + 2))\>"
	said owned "continues where it was" "guest: count $((ticks + 1))\>"
	check "stop" on "$host" sevmirror stop owned
	guest_ends owned 0
	said owned "the power button was pressed" "guest: button good"
	nothing_left owned
}

# smp_guest NAME on|off: four CPUs, a disk and a network, under SEV all through shared pages
smp_guest() {
	local name=$1 sev=$2
	on "$host" /t/vmm-host disk /g/disk
	guest "$name" --sev "$sev" --cpus 4 --disk /g/disk --net tap=tap0 \
		--cmdline "console=ttyS0 -- disk net"
	guest_ends "$name" 0
	if [ "$sev" = on ]; then
		said "$name" "SEV is active" 'Memory Encryption Features active: AMD SEV\s*$'
	else
		fails "$name: no memory encryption" grep -aq 'Memory Encryption Features active' \
			"$tmp/$name.console"
	fi
	said "$name" "user space on four CPUs" "guest: user space reached, 4 CPUs"
	said "$name" "disk" "guest: disk good"
	said "$name" "network" "guest: net good"
	check "$name: the host finds on the disk what the guest has written" on "$host" \
		/t/vmm-host answered /g/disk
	nothing_left "$name"
}

# A shell on the console, and a policy that lets a debugger in; a reboot ends an SEV guest.
shell_guest() {
	on "$host" sh -c 'rm -rf /tmp/debug && mkdir /tmp/debug'
	mkfifo "$tmp/typed"
	guest_env=(LD_PRELOAD=/t/vmm-debugger.so DEBUGGER_DIR=/tmp/debug DEBUGGER_GPA=0xe0000)
	guest_stdin=$tmp/typed
	guest shell --policy "NOKS|SEV" --cmdline "console=ttyS0 quiet rdinit=/busybox -- sh -i"
	guest_stdin=/dev/null guest_env=()
	exec 3>"$tmp/typed"
	guest_says shell '/ # '
	# shellcheck disable=SC2016 # for the guest's shell
	echo 'echo six times seven is $((6 * 7))' >&3
	guest_says shell 'seven is 42'
	said shell "the console has a shell" 'seven is 42'
	check "shell: sevmirror warns of the loose policy" grep -q "warning: .*NODBG" \
		"$tmp/shell.said"
	on "$host" touch /tmp/debug/go
	wait_for "$host" /tmp/debug/said
	check "shell: a debugger sees the ACPI tables" grep \
		-qa "RSD PTR" <<<"$(on "$host" cat /tmp/debug/said | tr -d '\0')"
	echo '/busybox reboot -f' >&3
	guest_ends shell 5
	exec 3>&-
	check "shell: sevmirror says that it was a reboot" grep -q "asked for a reboot" \
		"$tmp/shell.said"
	nothing_left shell
}

# The same code without SEV: all works, and the host sees all.
plain_guest() {
	on "$host" /t/vmm-host disk /g/disk
	guest plain --sev off --disk /g/disk --net tap=tap0 \
		--cmdline "console=ttyS0 -- disk net canary=$word wait"
	guest_says plain 'guest: count [0-9]'
	fails "plain: no memory encryption" grep -aq 'Memory Encryption Features active' \
		"$tmp/plain.console"
	said plain "disk" "guest: disk good"
	said plain "network" "guest: net good"
	on "$host" sevmirror measurement plain >"$tmp/refused" 2>&1
	check "plain: no measurement, exit status 4" test $? -eq 4
	dump_ram plain
	check "plain: the host's RAM holds the canary: the search finds what is there" ram_has \
		"$canary"
	rm "$tmp/ram"
	check "plain: stop" on "$host" sevmirror stop plain
	guest_ends plain 0
	check "plain: the host finds on the disk what the guest has written" on "$host" \
		/t/vmm-host answered /g/disk
	nothing_left plain
}

owned_guest
smp_guest smp on
smp_guest smp-plain off
shell_guest
plain_guest
run_refusals
owner_refusals
finished
