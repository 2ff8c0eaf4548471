# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What `sevmirror run` and the owner's tools refuse: a clear message, the promised exit status,
# nothing left. Sourced by vmm-linux.sh.
# shellcheck disable=SC2154 # host, dir, ... are vmm-linux.sh's

# refuses WHAT STATUS TEXT COMMAND...: the command in the host ends with STATUS and says TEXT
refuses() {
	local what=$1 status=$2 text=$3 got
	shift 3
	on "$host" "$@" >"$tmp/refused" 2>&1 </dev/null
	got=$?
	check "$what: '$text', exit status $status" test "$got" -eq "$status" \
		-a -n "$(grep -F -- "$text" "$tmp/refused")" ||
		echo "# status $got: $(cat "$tmp/refused")"
}

guest_run=(sevmirror run --name refused --initrd /g/guest.cpio.gz --memory 256M)
owned_run=("${guest_run[@]}" --kernel /boot/vmlinuz --session)

run_refusals() {
	on "$host" sh -c 'head -c 1000000 /boot/vmlinuz >/g/short
		head -c 300 /boot/vmlinuz >/g/shorter; chmod 666 /dev/kvm /dev/sev
		mkdir /tmp/user && chmod 700 /tmp/user && chown 1000 /tmp/user'
	refuses "a missing kernel" 1 "/nowhere: No such file" "${guest_run[@]}" --kernel /nowhere
	refuses "a missing initrd" 1 "/nowhere: No such file" "${guest_run[@]}" \
		--kernel /boot/vmlinuz --initrd /nowhere
	refuses "a truncated bzImage" 1 "truncated" "${guest_run[@]}" --kernel /g/short
	refuses "a bzImage without its header" 1 "kernel" "${guest_run[@]}" --kernel /g/shorter
	refuses "an initrd for a kernel" 1 "gzip" "${guest_run[@]}" --kernel /g/guest.cpio.gz
	refuses "too little memlock" 4 "locked memory" \
		/t/vmm-host as 1000 65536 /bin/busybox env SEVMIRROR_RUNTIME_DIR=/tmp/user \
		"${guest_run[@]}" --kernel /boot/vmlinuz
	on "$host" mv /dev/kvm /dev/away
	refuses "no /dev/kvm" 4 "/dev/kvm" "${guest_run[@]}" --kernel /boot/vmlinuz
	refuses "doctor without /dev/kvm" 4 "/dev/kvm" sevmirror doctor
	on "$host" mv /dev/away /dev/kvm
	on "$host" mv /dev/sev /dev/away
	refuses "no /dev/sev" 4 "/dev/sev" "${guest_run[@]}" --kernel /boot/vmlinuz
	on "$host" mv /dev/away /dev/sev
	check "no sockets of these" on "$host" sh -c '! ls /tmp/user/*.sock 2>/dev/null'
	nothing_left "refused guests"
}

# Sessions that are not for this guest, chains that do not hold.
owner_refusals() {
	"$sevmirror" owner session --root emulation --name "$dir/other" "$dir/certs" >/dev/null 2>&1
	base64 -d "$dir/vm_session.b64" >"$dir/session" &&
		base64 -d "$dir/other_godh.b64" >"$dir/godh"
	changed "$dir/session" >/dev/null
	head -c 100 "$dir/session" >"$dir/session.short"
	for file in session.changed session.short godh; do "$sev_host" copy "$dir/$file" \
		"$host:/g/"; done
	refuses "a session with a changed byte" 1 "BAD_MEASUREMENT" "${owned_run[@]}" \
		/g/session.changed --dh-cert /g/vm_godh.b64
	refuses "a session of another DH certificate" 1 "BAD_MEASUREMENT" "${owned_run[@]}" \
		/g/vm_session.b64 --dh-cert /g/godh
	refuses "a session for another policy" 1 "BAD_MEASUREMENT" \
		"${owned_run[@]}" /g/vm_session.b64 --dh-cert /g/vm_godh.b64 --policy "NODBG|SEV"
	refuses "a truncated session" 1 "is not a session" "${owned_run[@]}" /g/session.short \
		--dh-cert /g/vm_godh.b64
	cp -r "$dir/certs" "$dir/broken"
	cp "$(changed "$dir/certs/pek.cert")" "$dir/broken/pek.cert" &&
		rm "$dir/broken/cert_chain.cert"
	refused "owner: a broken chain" "$sevmirror" owner verify-platform --root emulation \
		"$dir/broken"
	refused "owner: no session for it" "$sevmirror" owner session --root emulation \
		--name "$dir/no" "$dir/broken"
	fails "owner: nor files of one" ls "$dir"/no_*
	refused "owner: an emulated host is not AMD's" "$sevmirror" owner verify-platform \
		--root milan "$dir/certs"
	expired_root
	expired_platform
	nothing_left "refused owners"
}

# A root in X.509 has an end; the key is the emulation's, so that all but the date is right.
expired_root() {
	local ark=$top/emulator/psp/vendor/ark.pem
	openssl req -new -key "$ark" -subj /CN=ARK -out "$tmp/csr" 2>/dev/null
	openssl x509 -req -in "$tmp/csr" -signkey "$ark" -days 1 -out "$tmp/valid.pem" 2>/dev/null
	openssl x509 -req -in "$tmp/csr" -signkey "$ark" -days -1 -out "$tmp/expired.pem" \
		2>/dev/null
	check "owner: the root as X.509" "$sevmirror" owner verify-platform \
		--root "$tmp/valid.pem" "$dir/certs"
	refused "owner: the root when it has expired" "$sevmirror" owner verify-platform \
		--root "$tmp/expired.pem" "$dir/certs"
	check "owner: that it has expired" grep -q "has expired" "$tmp/refused"
}

# The platform was reset by its owner: what was made for its former PDH is worth nothing, and old
# and new certificates do not mix.
expired_platform() {
	check "FACTORY_RESET" on "$host" /t/certs reset
	on "$host" sevmirror platform certs --out /new >/dev/null
	"$sev_host" copy "$host:/new" "$dir/new"
	check "owner: the new certificates hold" "$sevmirror" owner verify-platform \
		--root emulation "$dir/new"
	refuses "a session for the platform before its reset" 1 "BAD_MEASUREMENT" \
		"${owned_run[@]}" /g/vm_session.b64 --dh-cert /g/vm_godh.b64
	refused "owner: the new PDH under the old chain" \
		"$sevmirror" owner verify-platform --root emulation "$dir/certs/cert_chain.cert" \
		"$dir/new/pdh.cert"
}
