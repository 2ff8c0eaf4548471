# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
# What works with the tables above, which `sevmirror help --bash` printed: in the installed file
# they are one.

# Only those that run: a socket file may be what a crash left.
_sevmirror_vms()
{
	"${COMP_WORDS[0]:-sevmirror}" status --names 2>/dev/null
}

# Words and @kinds, as the tables have them, to what begins with $cur.
_sevmirror_offer()
{
	local kind found

	for kind in $1; do
		found=()
		case $kind in
		@file)
			compopt -o filenames 2>/dev/null
			mapfile -t found < <(compgen -f -- "$cur")
			;;
		@folder)
			compopt -o filenames 2>/dev/null
			mapfile -t found < <(compgen -d -- "$cur")
			;;
		@vm) mapfile -t found < <(compgen -W "$(_sevmirror_vms)" -- "$cur") ;;
		@interface) mapfile -t found < \
			<(compgen -W "$(ls /sys/class/net 2>/dev/null)" -- "$cur") ;;
		*) mapfile -t found < <(compgen -W "$kind" -- "$cur") ;;
		esac
		COMPREPLY+=("${found[@]}")
	done
}

_sevmirror()
{
	local cur=${COMP_WORDS[COMP_CWORD]} key=: option='' word next i

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $word == --* ]]; then
			option=${_sevmirror_values["$key $word"]+"$key $word"}
			# bash cuts --option=value into three words
			[[ $option && ${COMP_WORDS[i + 1]} == '=' ]] && ((i++))
			[[ $option ]] && ((++i < COMP_CWORD)) && option=''
			continue
		fi
		next=$word
		[[ $key != : ]] && next="$key $word"
		[[ ${_sevmirror_options["$next"]+x} ]] && key=$next
	done
	[[ $cur == '=' ]] && cur=''
	if [[ $option ]]; then
		_sevmirror_offer "${_sevmirror_values["$option"]}"
	elif [[ $cur == -* ]]; then
		_sevmirror_offer "${_sevmirror_options["$key"]}"
	else
		_sevmirror_offer "${_sevmirror_words["$key"]}"
	fi
}

complete -F _sevmirror sevmirror
