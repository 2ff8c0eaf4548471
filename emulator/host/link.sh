# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Links: Ethernet segments between emulated hosts. Sourced by sev-host.
#
# A link is a process (switch.c) that the hosts' QEMUs connect to; it ends when the last of them has
# gone. $run/links/LINK holds
#   sock, ctl   where the hosts and the command `link` find it
#   number      L of its network 10.77.L.0/24
#   hosts/NAME  N of each host's address 10.77.L.N
: "${run:?}"

link_dir() { echo "$run/links/$1"; }

# link_alive LINK TOOLS; asking also makes a link without hosts stay for a while
link_alive() { "$2/switch" --ping "$(link_dir "$1")/ctl"; }

# lowest_free USED...: the smallest number from 1 to 254 that is not among them
lowest_free() {
	local n
	for ((n = 1; n < 255; n++)); do
		[[ " $* " == *" $n "* ]] || { echo "$n"; return 0; }
	done
	return 1
}

# join LINK HOST TOOLS: makes the link if need be, prints 'L N'. The caller holds the lock on all
# links.
join() {
	local link=$1 host=$2 tools=$3 dir used=() f l n
	valid_name "$link" ||
		usage_error "--link: '$link' is not a name (letters, digits and '-', at most 31)"
	dir=$(link_dir "$link")
	if ! link_alive "$link" "$tools"; then
		for f in "$run"/links/*; do
			n=${f##*/}
			if [ "$n" = "$link" ] || ! link_alive "$n" "$tools"; then
				rm -rf "$f"
			else
				used+=("$(<"$f/number")")
			fi
		done
		mkdir -p "$dir/hosts"
		l=$(lowest_free "${used[@]}") || die "there are too many links"
		echo "$l" >"$dir/number"
		"$tools/switch" --daemon "$dir" || die "the link '$link' does not start"
	fi
	used=()
	for f in "$dir"/hosts/*; do
		[ -e "$f" ] || continue
		if [ "${f##*/}" = "$host" ] || ! alive "${f##*/}"; then
			rm -f "$f"
		else
			used+=("$(<"$f")")
		fi
	done
	n=$(lowest_free "${used[@]}") || die "there are too many hosts on link '$link'"
	echo "$n" >"$dir/hosts/$host"
	echo "$(<"$dir/number") $n"
}

# address LINK HOST
address() {
	local dir
	dir=$(link_dir "$1")
	echo "10.77.$(<"$dir/number").$(<"$dir/hosts/$2")"
}

# links_of HOST: the links it is on
links_of() { info "$1" links | tr ' ' '\n'; }

# tell_peers HOST: every host that shares a link with HOST, and HOST itself, learns the names again
tell_peers() {
	local link f
	for link in $(links_of "$1"); do
		for f in "$run/links/$link/hosts"/*; do
			[ -e "$f" ] && alive "${f##*/}" && echo "${f##*/}"
		done
	done | sort -u | while read -r f; do
		hosts_file "$f" | "$(info "$f" tools)/client" --timeout 20 "$run/hosts/$f/sock" \
			exec /bin/sh -c 'cat >/etc/hosts.new && mv /etc/hosts.new /etc/hosts' \
			2>/dev/null || :
	done
}

# hosts_file HOST: its /etc/hosts
hosts_file() {
	local link f
	echo "127.0.0.1 localhost"
	[ -n "$(links_of "$1")" ] || echo "127.0.1.1 $1"
	for link in $(links_of "$1"); do
		for f in "$run/links/$link/hosts"/*; do
			alive "${f##*/}" && echo "$(address "$link" "${f##*/}") ${f##*/}"
		done
	done
}

cmd_link() {
	local link=${1-} tools
	valid_name "$link" ||
		usage_error "link: which one? ('sev-host list' shows the links of each host)"
	shift
	tools=$(tools) || exit 125
	link_alive "$link" "$tools" ||
		die "there is no link '$link'; it exists while a host started with --link $link" \
			"runs"
	case ${1-} in
	--capture)
		[ $# -eq 2 ] || usage_error "link: --capture needs a file"
		set -- --capture "$(realpath -m -- "$2")"
		;;
	--no-capture | --cut | --restore | --status)
		[ $# -eq 1 ] || usage_error "link: $1 takes no argument"
		;;
	*) usage_error "link: one of --capture FILE, --no-capture, --cut, --restore, --status" ;;
	esac
	exec "$tools/switch" --control "$(link_dir "$link")/ctl" "${@#--}"
}
