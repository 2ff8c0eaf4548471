# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A secure processor that is slow or fails: sev-host checks --psp-delay and --psp-fail and puts them
# into the words of QEMU's device.
# shellcheck disable=SC2154 # top and run: sev-host sets them

# psp_number PREFIX TEXT: the number that the firmware's header gives this name (PSP_CMD_, PSP_), or
# TEXT when it is one
psp_number() {
	if [[ $2 =~ ^(0[xX][0-9a-fA-F]{1,4}|[0-9]{1,5})$ ]]; then
		echo "$(($2))"
	else
		[[ $2 =~ ^[A-Z_]+$ ]] &&
			sed -n "s/^\t$1$2 = \(0x[0-9a-f]*\),$/\1/p" "$top/emulator/psp/wire.h" \
			| grep .
	fi
}

# psp_fault CMD:N:CODE: in numbers. A usage error when it is not one.
psp_fault() {
	local cmd n code rest cmd_number code_number
	IFS=: read -r cmd n code rest <<<"$1"
	if [ -z "$code" ] || [ -n "$rest" ]; then
		usage_error "--psp-fail: '$1' is not CMD:N:CODE, such as" \
			"LAUNCH_START:1:HWERROR_PLATFORM"
	fi
	cmd_number=$(psp_number PSP_CMD_ "$cmd") || cmd_number=0
	if [ $((cmd_number)) -lt 1 ] || [ $((cmd_number)) -gt 127 ]; then
		usage_error "--psp-fail: '$cmd' is not a command of the SEV API, such as" \
			"LAUNCH_START or 0x30"
	fi
	[[ $n =~ ^([1-9][0-9]{0,8}|all)$ ]] ||
		usage_error "--psp-fail: '$n' is neither a number from 1 nor 'all'"
	code_number=$(psp_number PSP_ "$code") || code_number=0
	if [ $((code_number)) -lt 1 ] || [ $((code_number)) -gt 65535 ]; then
		usage_error "--psp-fail: '$code' is not a status of the firmware, such as" \
			"HWERROR_PLATFORM or 0x13"
	fi
	printf '0x%x:%d:0x%x' "$cmd_number" "${n/all/0}" "$code_number"
}

# psp_options DELAY FAULT...: sets psp_delay and psp_fail, the values of the device's properties
psp_options() {
	local fault numbers
	psp_delay=${1:-0} psp_fail=
	[[ $psp_delay =~ ^(0|[1-9][0-9]{0,7}|[1-5][0-9]{8}|600000000)$ ]] ||
		usage_error "--psp-delay: '$psp_delay' is not a number of microseconds from 0 to" \
			"600000000"
	[ $# -le 33 ] || usage_error "--psp-fail: at most 32 of them"
	for fault in "${@:2}"; do
		numbers=$(psp_fault "$fault") || exit
		psp_fail+=${psp_fail:+/}$numbers
	done
	psp_fail=${psp_fail:-none}
}

# cmd_psp NAME [OPTIONS]: while the host runs
cmd_psp() {
	local name=${1-} delay='' faults=() qmp
	need "$name"
	shift
	qmp=$run/hosts/$name/qmp
	local monitor=("$(info "$name" tools)/monitor" "$qmp" hmp)
	if [ $# -eq 0 ]; then
		echo "delay: $("${monitor[@]}" 'qom-get /machine/peripheral/psp delay-us' |
			tr -d '\r') us"
		echo "fail: $("${monitor[@]}" 'qom-get /machine/peripheral/psp fail' | tr -d '\r"')"
		return
	fi
	while [ $# -gt 0 ]; do
		case $1 in
		--psp-delay | --psp-fail) [ $# -ge 2 ] || usage_error "$1 needs a value" ;;
		*) usage_error "psp: unknown option '$1'" ;;
		esac
		if [ "$1" = --psp-delay ]; then delay=$2
		elif [ "$2" != none ]; then faults+=("$2"); fi
		shift 2
	done
	psp_options "$delay" "${faults[@]}"
	"${monitor[@]}" "qom-set /machine/peripheral/psp delay-us $psp_delay" &&
		"${monitor[@]}" "qom-set /machine/peripheral/psp fail $psp_fail"
}
