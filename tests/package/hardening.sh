#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the compiler and the linker did against the exploitation of bugs, read from the command and
# the shared library.
#
# usage: hardening.sh BUILD-DIR
set -u
build=$(realpath "${1:?usage: $0 BUILD-DIR}")
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

pie() { readelf -hW "$1" | grep -q 'Type: *DYN'; }
relro() { readelf -lW "$1" | grep -q GNU_RELRO && readelf -dW "$1" |
	grep -Eq '\(BIND_NOW\)|FLAGS.* NOW'; }
no_exec_stack() { readelf -lW "$1" | grep -E 'GNU_STACK' | grep -qv 'RWE'; }
no_writable_code() { ! readelf -lW "$1" | grep LOAD | grep -q 'RWE'; }
canaries() { readelf --dyn-syms -W "$1" | grep -q '__stack_chk_fail'; }
shadow_stack() { readelf -nW "$1" | grep -q 'x86 feature:.*SHSTK'; }
# Each function that a pointer may lead to begins so; the C run-time's own objects have a handful.
branch_targets() { [ "$(objdump -d --no-show-raw-insn "$1" | grep -c endbr64)" -gt 100 ]; }
# A frame larger than a page is touched page by page: `orq $0x0,(%rsp)` comes from nothing else.
# shellcheck disable=SC2016
stack_clash() { objdump -d --no-show-raw-insn "$1" |
	grep -Eq 'or[lq] +\$0x0,(0x[0-9a-f]+)?\(%rsp'; }
fortified() { readelf --dyn-syms -W "$1" | grep -Eq '__[a-z]+_chk(@|$)'; }

for file in "$build/cli/sevmirror" "$build"/lib/libsevmirror.so.0.*[0-9]; do
	name=$(basename "$file")
	check "$name: code that can be anywhere" pie "$file"
	check "$name: full RELRO" relro "$file"
	check "$name: a stack that is not executed" no_exec_stack "$file"
	check "$name: no code that can be written" no_writable_code "$file"
	check "$name: stack canaries" canaries "$file"
	check "$name: _FORTIFY_SOURCE" fortified "$file"
	check "$name: stack clash protection" stack_clash "$file"
	check "$name: a shadow stack is possible" shadow_stack "$file"
	check "$name: targets of indirect branches are marked" branch_targets "$file"
done

done_testing
