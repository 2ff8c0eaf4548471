# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A Debian guest for the VMMs in emulated hosts, on a disk that UEFI firmware boots. Sourced by
# sev-host.
#
# $cache/guest-HASH/disk.img has a GPT with an EFI system partition (systemd-boot, kernel, initrd)
# and an ext4 root (label sev-guest).
: "${top:?}" "${cache:?}"

guest_packages=(systemd-boot-efi)
guest_disk_default=2G
# The EFI system partition is this large, at 1 MiB; the root follows it.
guest_esp_mib=96
# Each byte on a serial port costs: the kernel says on it what is wrong, and dmesg has the rest.
guest_parameters='root=LABEL=sev-guest rw quiet systemd.show_status=false console=ttyS0 panic=-1'

# guest_kernel RELEASE: the package; the kernel for virtual machines is the same with fewer drivers
guest_kernel() { echo linux-image-cloud-amd64; }

# guest_image debian12|debian13 SIZE PACKAGE...: prints the image's path, building it if needed
guest_image() {
	local release size=$2 packages dir
	release=$(system_name "$1") || exit 2
	shift 2
	locked ssh make_ssh_keys >&2 || return 1
	packages=$(package_list "$(guest_kernel "$release")" "${guest_packages[@]}" "$@")
	dir=$cache/guest-$({
		echo "$release $size $packages $guest_parameters"
		cat "$top"/emulator/host/{guest.sh,system.sh} "$cache/ssh"/*
		debian_files common guest
	} | sha256sum | cut -c1-16)
	[ -e "$dir/disk.img" ] || locked "system-$release" build_debian guest "$dir" disk.img \
		"$release" "$packages" "$size" >&2 || return 1
	echo "$dir/disk.img"
}

# finish_guest TMP SIZE: from $TMP/root to $TMP/disk.img
finish_guest() {
	local tmp=$1 size=$2 first=$((1 + guest_esp_mib))
	fill_esp "$tmp/esp" "$tmp/root" && make_esp "$tmp/esp.img" "$tmp/esp" &&
		truncate -s "$size" "$tmp/disk.img" || return 1
	sfdisk --quiet "$tmp/disk.img" <<-END || return 1
		label: gpt
		start=1MiB, size=${guest_esp_mib}MiB, type=uefi
		start=${first}MiB, type=linux
	END
	# the last MiB has the second copy of the partition table
	dd if="$tmp/esp.img" of="$tmp/disk.img" bs=1M seek=1 conv=notrunc,sparse status=none &&
		mke2fs -q -F -t ext4 -L sev-guest -m 0 \
		-E "lazy_itable_init=1,offset=$((first << 20))" -d "$tmp/root" "$tmp/disk.img" \
			$((($(bytes "$size") >> 10) - ((first + 1) << 10)))k &&
			rm -rf "$tmp/esp" "$tmp/esp.img"
}

# fill_esp DIR ROOT: the files of the EFI system partition; the kernel leaves ROOT for it
fill_esp() {
	local esp=$1 root=$2 kernel
	kernel=$(basename "$root"/boot/vmlinuz-*)
	kernel=${kernel#vmlinuz-}
	mkdir -p "$esp/loader/entries" "$esp/EFI/BOOT" &&
		cp "$root/usr/lib/systemd/boot/efi/systemd-bootx64.efi" \
		"$esp/EFI/BOOT/BOOTX64.EFI" &&
		mv "$root/boot/vmlinuz-$kernel" "$esp/vmlinuz" &&
		mv "$root/boot/initrd.img-$kernel" "$esp/initrd.img" || return 1
	rm -f "$root"/{vmlinuz,initrd.img}*
	printf '%s\n' 'default debian.conf' 'timeout 0' >"$esp/loader/loader.conf"
	printf '%s\n' "title Debian $kernel" 'linux /vmlinuz' 'initrd /initrd.img' \
		"options $guest_parameters" \
		>"$esp/loader/entries/debian.conf"
}

# make_esp IMAGE DIR
make_esp() {
	truncate -s "${guest_esp_mib}M" "$1" && mkfs.vfat -F 32 -n ESP "$1" >/dev/null &&
		mcopy -s -i "$1" "$2"/* ::
}

# guest-disk FILE [OPTIONS]
cmd_guest_disk() {
	local file=${1-} system=debian13 size=$guest_disk_default packages=() image
	[ -n "$file" ] && [[ $file != -* ]] || usage_error "guest-disk: which file?"
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--system | --package | --packages | --disk-size) [ $# -ge 2 ] ||
			usage_error "guest-disk: $1 needs a value" ;;
		*) usage_error "guest-disk: unknown option '$1'" ;;
		esac
		case $1 in
		--system) system=$2 ;;
		--package*) add_packages packages "$2" ;;
		--disk-size) size=$2 ;;
		esac
		shift 2
	done
	[[ $size =~ ^[1-9][0-9]*G$ ]] ||
		usage_error "guest-disk: --disk-size: '$size' is not a size such as 4G"
	[ -d "$(dirname -- "$file")" ] ||
		die "guest-disk: there is no folder '$(dirname -- "$file")'"
	image=$(guest_image "$system" "$size" "${packages[@]}") || exit $?
	cp --sparse=always --reflink=auto -- "$image" "$file"
}
