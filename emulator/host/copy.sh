# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Copying between this machine and an emulated host, as tar streams. Sourced by sev-host.
: "${run:?}"

in_host() {
	local name=$1
	shift
	"$(info "$name" tools)/client" "$run/hosts/$name/sock" exec "$@"
}

# copy_in NAME SRC DST
copy_in() {
	local name=$1 src=$2 dst=$3 base real kind=file from what
	[ -e "$src" ] || die "copy: there is no '$src'"
	base=$(basename -- "$src")
	real=$(realpath -- "$src")
	if [ -d "$real" ]; then
		kind=dir from=$real what=.
		case $src in . | .. | */. | */..) base=. ;; esac
	else
		from=$(dirname -- "$real") what=$(basename -- "$real")
	fi
	copy_libraries_of "$name" "$real"
	# the name in the stream is the one asked for, not that of what a link leads to
	tar -C "$from" --format=gnu --owner=0 --group=0 \
		--numeric-owner --transform "$(tar_rename "$kind" "$what" "$base")" -cf - \
		-- "./$what" |
		in_host "$name" sh /usr/lib/sev-host/copy-in "$kind" "$base" "$dst" ||
		die "copying '$src' to $name:$dst failed"
}

# tar_rename KIND FROM TO: a transform expression for the one member of a file's stream
tar_rename() {
	local to=$3
	[ "$1" = file ] || { echo 's,^$,,'; return 0; }
	to=${to//\\/\\\\}
	to=${to//&/\\&}
	to=${to//,/\\,}
	echo "s,.*,$to,rSH"
}

# copy_libraries_of NAME PATH: the shared libraries that PATH (a program, or a folder of them) needs
# and the host lacks
copy_libraries_of() {
	local name=$1 libs missing
	libs=$(find "$2" -type f \( -perm /111 -o -name '*.so*' \) -print0 |
		while IFS= read -r -d '' f; do
		[ "$(head -c 4 -- "$f" | tr -d '\0')" = $'\x7fELF' ] || continue
		# a static program is no error
		ldd "$f" 2>/dev/null | sed -n 's/.*=> \(\/.*\) (0x.*/\1/p' || :
	done | sort -u)
	[ -n "$libs" ] || return 0
	# shellcheck disable=SC2016 # for the host's shell
	missing=$(in_host "$name" \
		sh -c 'while read -r f; do [ -e "/usr/lib/x86_64-linux-gnu/${f##*/}" ] ||
			echo "$f"; done' <<<"$libs") ||
		die "the host '$name' does not answer"
	[ -n "$missing" ] || return 0
	tar -P -h --format=gnu --owner=0 --group=0 --transform 's,.*/,,' -cf - -T - <<<"$missing" |
		in_host "$name" tar -C /usr/lib/x86_64-linux-gnu -xf - ||
		die "copying libraries to '$name' failed"
}

# copy_out NAME SRC DST
copy_out() {
	local name=$1 src=$2 dst=$3 base tmp kind
	src=${src%/}
	base=$(basename -- "${src:-/}")
	# shellcheck disable=SC2016 # for the host's shell
	kind=$(in_host "$name" \
		sh -c 'if [ -d "$1" ]; then echo dir; elif [ -e "$1" ]; then echo file; fi' - \
		"$src" </dev/null) ||
		die "the host '$name' does not answer"
	case $kind in
	dir)
		[ ! -d "$dst" ] || dst=${dst%/}/$base
		mkdir -p -- "$dst"
		in_host "$name" tar -C "$src" -cf - . </dev/null |
			tar -C "$dst" --no-same-owner -xpf - || die "copying $name:$src failed"
		;;
	file)
		[ ! -d "$dst" ] || dst=${dst%/}/$base
		[ -d "$(dirname -- "$dst")" ] ||
			die "copy: there is no folder '$(dirname -- "$dst")'"
		# through a folder of its own: the host's tar stream decides about nothing but the
		# contents
		tmp=$(mktemp -d -- "$(dirname -- "$dst")/.copy.XXXXXX")
		# shellcheck disable=SC2064 # now
		trap "rm -rf -- '${tmp//\'/\'\\\'\'}'" EXIT
		# shellcheck disable=SC2016 # for the host's shell
		in_host "$name" \
			sh -c 'f=$(readlink -f "$1") && tar -C "${f%/*}/" -cf - "${f##*/}"' - \
			"$src" </dev/null |
			tar -C "$tmp" --no-same-owner --transform 's,.*,file,rSH' -xpf - ||
			die "copying $name:$src failed"
		[ "$(stat -c %F "$tmp/file")" = "regular file" ] ||
			[ "$(stat -c %F "$tmp/file")" = "regular empty file" ] ||
			die "$name:$src is not a file that can be copied"
		mv -fT -- "$tmp/file" "$dst"
		rm -rf -- "$tmp"
		trap - EXIT
		;;
	*) die "copy: there is no '$src' in the host '$name'" ;;
	esac
}

cmd_copy() {
	local host path
	[ $# -eq 2 ] || usage_error "copy: SRC NAME:DST, or NAME:SRC DST"
	if [[ ! -e $1 && $1 =~ ^([A-Za-z0-9-]+):(.*)$ ]]; then
		host=${BASH_REMATCH[1]} path=${BASH_REMATCH[2]}
		need "$host"
		copy_out "$host" "$path" "$2"
	elif [[ $2 =~ ^([A-Za-z0-9-]+):(.*)$ ]]; then
		host=${BASH_REMATCH[1]} path=${BASH_REMATCH[2]}
		need "$host"
		copy_in "$host" "$1" "${path:-/root}"
	else
		usage_error "copy: neither '$1' nor '$2' is NAME:PATH"
	fi
}
