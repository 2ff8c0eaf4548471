# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The identity of a system host, and SSH to it. Sourced by sev-host.
: "${run:?}" "${cache:?}"

# machine_uuid NAME: the machine's, which libvirt tells hosts apart by: another name or chip is
# another machine
machine_uuid() {
	local hash
	hash=$(printf '%s/%s' "$1" "$opt_seed" | sha256sum)
	echo "${hash:0:8}-${hash:8:4}-4${hash:13:3}-8${hash:17:3}-${hash:20:12}"
}

# system_parameters NAME: the kernel parameters by which the system knows its identity
system_parameters() {
	local uuid
	uuid=$(machine_uuid "$1")
	echo "root=LABEL=sev-host rw net.ifnames=0 systemd.hostname=$1" \
		"systemd.machine_id=${uuid//-/}"
}

# ssh_config NAME TOOLS: how ssh reaches the host. It needs no network: sshd talks over the agent's
# port.
ssh_config() {
	printf '%s\n' "Host $1" "  User root" "  IdentityFile $cache/ssh/id_ed25519" \
		"  IdentitiesOnly yes" "  HostKeyAlias sev-host" \
		"  UserKnownHostsFile $cache/ssh/known_hosts" "  StrictHostKeyChecking yes" \
		"  LogLevel ERROR" \
		"  ProxyCommand $2/client $run/hosts/$1/sock exec /usr/sbin/sshd -i"
}

# ssh NAME [SSH OPTION]... [COMMAND]
cmd_ssh() {
	need_system "${1-}" ssh
	exec ssh -F "$run/hosts/$1/ssh_config" "$@"
}

# ssh-config NAME: the same for scp, rsync and ansible
cmd_ssh_config() {
	[ $# -eq 1 ] || usage_error "ssh-config: which host?"
	need_system "$1" ssh-config
	cat "$run/hosts/$1/ssh_config"
}

# need_system NAME COMMAND
need_system() {
	need "$1"
	[ -n "$(info "$1" system)" ] ||
		die "$2: the host '$1' is a small one without SSH; start it with --system, or use" \
			"'exec' and 'copy'"
}
