#!/usr/bin/env bash
# Boots a kernel in qemu (TCG: no KVM needed) on a Debian system of its own, runs a script in it as root, and ends with the script's exit status.
#
#   vm.sh run KERNEL SCRIPT [OPTION...]   exit status of SCRIPT; 77: this machine cannot; 124: time is up; 125: the kernel did not come as far as the script
#     --put FILE[:DIR]     FILE into DIR of the machine (/payload if not said), with the shared libraries it needs; repeatable
#     --guest NAME:PACKAGES  a Debian guest with PACKAGES as /vservers/NAME; repeatable
#     --append WORDS       more words for the kernel's command line
#     --env NAME=VALUE     for SCRIPT
#     --seconds N          time limit, 300
#     --memory MIB         1024
#   vm.sh kernel KERNEL                   the directory with vmlinuz, config and modules of a kernel
#
# KERNEL is 6.1 or 6.12, Debian's stock cloud kernels of those series, or a directory like the one that `kernel` prints: of a kernel of our own.
# SCRIPT sees pure cgroup v2 at /sys/fs/cgroup, BPF and securityfs mounted, an ext4 root that it may write (all is forgotten afterwards), no network but lo.
# The console goes to stdout.
#
# Cached in ${XDG_CACHE_HOME:-~/.cache}/vserver-toolkit/vm, keyed by what they depend on: kernels, initial ramdisks, disk images. Packages and guests come by
# tests/support/guests.sh, so mirrors and proxies are those of this machine's own apt configuration. Needs root and what packaging/build-packages lists.
set -uo pipefail
vm_here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=tests/support/guests.sh
. "$vm_here/../support/guests.sh"

# What the machine's own system has beside a minimal Debian: the tools that tests call.
VM_SYSTEM="bpftool iproute2 busybox-static kmod e2fsprogs procps attr acl libcap2-bin strace xfsprogs btrfs-progs psmisc quota lvm2 thin-provisioning-tools"
# To mount the disks; and what tests may ask for. Those that a kernel has built in, or lacks, are left out.
VM_MODULES="virtio_pci virtio_blk ext4 crc32c_generic crc32c_intel loop overlay veth macvlan bridge dummy xfs btrfs quota_tree quota_v2 dm_mod dm_snapshot dm_thin_pool"
VM_KEEP_DAYS=30

vm_cache() { local dir="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vserver-toolkit/vm"; mkdir -p "$dir" && printf '%s' "$dir"; }
vm_key() { printf '%s\n' "$@" | sha256sum | cut -c1-20; }

# vm_made PATH MAKER ARG...: `MAKER ARG... NEW` makes it when it is not there yet; one at a time, and whole or not at all.
vm_made() {
  local path="$1"; shift
  ( flock 9
    if [ -e "$path" ]; then touch -c "$path"; exit 0; fi
    rm -rf "$path.new"
    "$@" "$path.new" && mv "$path.new" "$path"
  ) 9>"$path.lock" && printf '%s\n' "$path"
}

# --- kernels -------------------------------------------------------------------------------------------

# Which Debian release has a series as its own.
vm_suite_of() { case "$1" in 6.1) echo bookworm ;; 6.12) echo trixie ;; *) guests_fail "$1: no such kernel (6.1, 6.12 or a directory)" ;; esac; }

# The package that the release's newest cloud kernel is in; what was last found serves while the mirror is away.
vm_kernel_package() {
  local suite="$1" known; known="$(vm_cache)/$suite.package"
  if [ -z "$(find "$known" -mtime -1 2>/dev/null)" ] && guests_apt_prepare "$suite"; then
    apt-cache -c "$(guests_cache)/apt-$suite/apt.conf" depends "linux-image-cloud-$(dpkg --print-architecture)" |
      awk '$1 == "Depends:" && $2 ~ /^linux-image-/ {print $2; exit}' >"$known.$$" && [ -s "$known.$$" ] && mv "$known.$$" "$known"
  fi
  cat "$known" 2>/dev/null || guests_fail "no package with a cloud kernel of $suite is known"
}

vm_make_kernel() {
  local suite="$1" package="$2" new="$3" deb
  mkdir -p "$new/deb" "$new/tree" || return
  guests_apt_prepare "$suite" && (cd "$new/deb" && guests_apt "$suite" download "$package") >"$new/log" 2>&1 || { cat "$new/log" >&2; return 1; }
  deb=$(echo "$new"/deb/*.deb)
  dpkg-deb -x "$deb" "$new/tree" && mv "$new"/tree/boot/vmlinuz-* "$new/vmlinuz" && mv "$new"/tree/boot/config-* "$new/config" || return
  mkdir -p "$new/lib" && if [ -d "$new/tree/usr/lib/modules" ]; then mv "$new/tree/usr/lib/modules" "$new/lib/"; else mv "$new/tree/lib/modules" "$new/lib/"; fi || return
  depmod -b "$new" "$(ls "$new/lib/modules")" && rm -rf "$new/deb" "$new/tree"
}

vm_kernel() {
  local suite package
  if [ -d "$1" ]; then readlink -f "$1"; return; fi
  suite=$(vm_suite_of "$1") && package=$(vm_kernel_package "$suite") || return
  vm_made "$(vm_cache)/$package" vm_make_kernel "$suite" "$package"
}

# --- the initial ramdisk: mounts the disks and goes on in them ------------------------------------------

vm_make_ramdisk() {
  local kernel="$1" new="$2" tree version module file
  tree=$(mktemp -d) && mkdir -p "$tree"/{bin,dev,proc,sys,root} "$tree/lib/modules" || return
  cp /usr/bin/busybox "$tree/bin/busybox" && install -m 755 "$vm_here/ramdisk_init" "$tree/init" || return
  version=$(ls "$kernel/lib/modules" 2>/dev/null)
  if [ -n "$version" ]; then
    mkdir -p "$tree/lib/modules/$version" && cp "$kernel/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$tree/lib/modules/$version" || return
    for module in $VM_MODULES; do
      modprobe -d "$kernel" -S "$version" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" {print $2}'
    done | sort -u | while read -r file; do
      mkdir -p "$tree/$(dirname "${file#"$kernel"}")" && cp "$file" "$tree/${file#"$kernel"}" || exit 1
    done
    find "$tree/lib/modules" -name '*.ko.xz' -exec xz -d {} +
    depmod -b "$tree" "$version" || return
  fi
  (cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$new" && rm -rf "$tree"
}

vm_ramdisk() {
  local kernel="$1"
  vm_made "$(vm_cache)/$(vm_key "$(ls -l --time-style=full-iso "$kernel/vmlinuz" | cut -d' ' -f5-)" "$kernel" "$VM_MODULES" "$(cat "$vm_here/ramdisk_init" "$vm_here/vm.sh" | sha256sum)").ramdisk" vm_make_ramdisk "$kernel"
}

# --- disks ---------------------------------------------------------------------------------------------

# vm_image TREE NEW: an ext4 image of a tree, with room to write.
vm_image() {
  local size; size=$(du -sm --apparent-size "$1" | cut -f1)
  truncate -s "$((size + size / 4 + 512))M" "$2" && mke2fs -q -t ext4 -m 0 -E lazy_itable_init=1,lazy_journal_init=1 -O ^has_journal -d "$1" "$2"
}

vm_make_disk() {  # NAME:PACKAGES... NEW: one Debian tree, or with a name several below it
  local new="${*: -1}" work one name; work=$(guests_scratch vm) && chmod 755 "$work" || return
  for one in "${@:1:$#-1}"; do
    name=${one%%:*}
    guests_debian "$(guests_suite)" "$work/tree${name:+/$name}" "${one#*:}" || return
  done
  vm_image "$work/tree" "$new"; local rc=$?; rm -rf "$work"; return $rc
}
vm_disk() { vm_made "$(vm_cache)/$(vm_key disk2 "$(guests_suite)" "$GUESTS_VERSION" "$@").ext4" vm_make_disk "$@"; }

# A program, and the shared libraries it needs that are not the C library's.
vm_put() {
  local file="$1" dir="$2" payload="$3" library
  mkdir -p "$payload/put$dir" "$payload/lib" && cp "$file" "$payload/put$dir/" || return
  while read -r library; do cp -Lu "$library" "$payload/lib/" || return; done < <(ldd "$file" 2>/dev/null |
    awk '$2 == "=>" && $3 ~ /^\// && $3 !~ /\/lib(c|m|pthread|dl|rt|resolv)\.so/ {print $3}')
}

# --- a run ---------------------------------------------------------------------------------------------

# Why this machine cannot, whatever is installed on it.
vm_impossible() {
  [ "$(id -u)" = 0 ] || { echo "[root] makes disks and mounts them"; return; }
  [ "$(uname -m)" = x86_64 ] || echo "[machine] needs an x86_64 machine"
}

# A program that is not there is no reason to skip: packaging/install-packages brings it.
vm_missing() {
  local program
  for program in qemu-system-x86_64 mmdebstrap mke2fs cpio depmod xz busybox; do
    PATH="$PATH:/sbin:/usr/sbin" command -v "$program" >/dev/null || { echo "needs $program: packaging/install-packages brings it"; return; }
  done
}

vm_run() {
  local kernel_name="$1" script="$2" seconds=300 memory=1024 append='' puts=() guests=() environment=() why; shift 2
  while [ $# -gt 1 ]; do
    case "$1" in
      --put) puts+=("$2") ;; --guest) guests+=("$2") ;; --append) append="$2" ;; --env) environment+=("$2") ;; --seconds) seconds="$2" ;; --memory) memory="$2" ;;
      *) guests_fail "$1: no such option"; return 125 ;;
    esac
    shift 2
  done
  why=$(vm_impossible); if [ -n "$why" ]; then echo "vm: skipped: $why"; return 77; fi
  why=$(vm_missing); if [ -n "$why" ]; then echo "vm: $why"; return 125; fi
  local kernel ramdisk system pool='' run one disks
  kernel=$(vm_kernel "$kernel_name") && ramdisk=$(vm_ramdisk "$kernel") && system=$(vm_disk ":$VM_SYSTEM") || return 125
  if [ "${#guests[@]}" != 0 ]; then pool=$(vm_disk "${guests[@]}") || return 125; fi
  find "$(vm_cache)" -maxdepth 1 \( -name '*.ramdisk' -o -name '*.ext4' \) -mtime "+$VM_KEEP_DAYS" -delete
  run=$(mktemp -d) || return 125
  # shellcheck disable=SC2064 # the directory of now
  trap "rm -rf '$run'" EXIT
  mkdir "$run/payload" && cp "$vm_here/machine_init" "$run/payload/init" && cp "$script" "$run/payload/script" && cp "$vm_here/checks.sh" "$run/payload/" || return 125
  for one in ${environment[@]+"${environment[@]}"}; do printf "export %q\n" "$one"; done >"$run/payload/environment"
  for one in ${puts[@]+"${puts[@]}"}; do
    case "$one" in *:*) vm_put "${one%%:*}" "${one#*:}" "$run/payload" ;; *) vm_put "$one" /payload "$run/payload" ;; esac || return 125
  done
  vm_image "$run/payload" "$run/payload.ext4" || return 125
  : >"$run/status"
  disks=()
  for one in "$system" "$run/payload.ext4" $pool; do disks+=(-drive "file=$one,if=virtio,format=raw,snapshot=on,cache=unsafe"); done
  TMPDIR="$run" timeout --foreground -k 5 "$seconds" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m "$memory" -nodefaults -no-reboot -display none \
    -kernel "$kernel/vmlinuz" -initrd "$ramdisk" -append "console=ttyS0 quiet panic=-1 oops=panic mitigations=off no_timer_check $append" \
    -serial stdio -serial "file:$run/status" "${disks[@]}" </dev/null | tr -d '\r'
  local ended=${PIPESTATUS[0]} status
  status=$(sed -n 's/^status \([0-9]*\).*/\1/p' "$run/status" | tail -n 1)
  [ -n "$status" ] && return "$status"
  if [ "$ended" = 124 ]; then echo "vm: time is up after $seconds s"; return 124; fi
  echo "vm: the machine ended without a status"; return 125
}

vm_main() {
  case "${1:-}" in
    run|kernel) "vm_$1" "${@:2}" ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$vm_here/vm.sh" | sed '/^set/d' ;;
  esac
}
vm_main "$@"
