#!/usr/bin/env bash
# Real guests for demo, tests and benchmarks: Debian trees made by mmdebstrap, RPM trees whose databases
# and files come from real packages, and loop filesystems to put them on.
#
#   guests.sh debian SUITE DIR "PACKAGES"            a minbase Debian tree plus PACKAGES
#   guests.sh rpm DIR BACKEND "PACKAGES" [LAYOUT]    a tree of rpm packages; BACKEND sqlite, ndb or bdb;
#                                                    LAYOUT merged (/bin -> usr/bin, the default) or split
#   guests.sh batch < RECIPES                        one `debian ...` or `rpm ...` a line, two at a time
#   guests.sh mass N DIR                             N Debian trees of >= 10,000 regular files: DIR/guest-001 ...
#   guests.sh verify DIR                             rpm -qa and rpm -V of an RPM tree; fails on a changed file
#   guests.sh deb DIR PACKAGE                        path of the cached .deb of PACKAGE as installed in DIR
#   guests.sh loopfs ext4|xfs|btrfs SIZE DIR         make a filesystem in DIR.img and mount it on DIR
#   guests.sh unmount DIR                            unmount it and delete DIR.img
#   guests.sh suite | other-suite                    the release of this machine | another one its mirror has
#
# It may also be sourced; the functions are then called guests_debian, guests_rpm and so on.
#
# Everything is cached in ${XDG_CACHE_HOME:-~/.cache}/vserver-toolkit/guests:
#   <key>.tar    a finished guest (pax: numeric owners, xattrs, times to the nanosecond). The key is a hash of
#                the recipe: kind, release, packages, architecture and GUESTS_VERSION. With it in place a guest
#                costs one unpacking and needs no network.
#   debs/ rpms/  downloaded packages, shared by all guests, and their conversions
# Mirrors, their keyrings, proxies and retries are those of this machine's own apt configuration; sources of
# other origins than Debian are left out. Needs root and what packaging/build-packages lists.

GUESTS_SELF=$(readlink -f "${BASH_SOURCE[0]}")
GUESTS_VERSION=2   # raise it when the same arguments give another tree

# --- small things --------------------------------------------------------------------------------------

guests_say()  { printf 'guests: %s\n' "$*" >&2; }
guests_fail() { printf 'guests: error: %s\n' "$*" >&2; return 1; }

guests_need_root() {
  [ "$(id -u)" = 0 ] || guests_fail "must be root: guests hold files of many owners, and loop filesystems need mount"
}

guests_cache() {
  local dir="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vserver-toolkit/guests"
  mkdir -p "$dir/debs" "$dir/rpms" "$dir/scratch" "$dir/log" && printf '%s' "$dir"
}

# The words of $1, sorted and unique, so that "a b" and "b  a" are one recipe.
guests_words() { tr -s ' \t\n' '\n' <<<"$1" | sed '/^$/d' | LC_ALL=C sort -u | paste -sd' '; }

# A temporary directory on the cache's own filesystem, so that packages can be hard-linked into it.
guests_scratch() { mktemp -d "$(guests_cache)/scratch/$1.XXXXXX"; }

# Runs "$@" with its output in a log file, which is shown when it fails.
guests_logged() {
  local log="$1"; shift
  "$@" >"$log" 2>&1 </dev/null && return
  guests_say "this failed: $*"; tail -n 30 "$log" >&2; guests_fail "the whole log is in $log"
}

# --- this machine's Debian mirrors ---------------------------------------------------------------------

# Reads one-line and deb822 sources; prints TAB-separated: URI, suite, components, Signed-By. Only
# entries that look like Debian's: binary packages, component main, a Debian suite name. The Origin is checked
# later, by guests_sources, since that needs the network.
guests_machine_entries() {
  perl -e '
    my $names = "(?:(?:old)*stable|testing|stretch|buster|bullseye|bookworm|trixie|forky|duke)";
    sub entry { my ($uris, $suites, $components, $key) = @_;
      return unless grep { $_ eq "main" } split " ", $components;
      for my $suite (split " ", $suites) {
        next unless $suite =~ /^$names(?:-updates|-security)?$/;
        print join("\t", $_, $suite, $components, $key), "\n" for split " ", $uris; } }
    for my $file (@ARGV) {
      open my $in, "<", $file or next; local $/; my $text = <$in>;
      if ($file =~ /\.sources$/) {
        for my $stanza (split /\n(?:[ \t]*\n)+/, $text) {
          my (%field, $last);
          for (split /\n/, $stanza) {
            next if /^#/;
            if (/^([A-Za-z-]+):\s*(.*?)\s*$/) { $field{$last = lc $1} = $2 }
            elsif (/^\s+(.*?)\s*$/ && defined $last) { $field{$last} .= " $1" } }
          next unless ($field{types} // "") =~ /\bdeb\b(?!-src)/ and ($field{enabled} // "yes") =~ /^(yes|true|1)$/i;
          # A key written into the stanza itself cannot be carried on one line: the machine-wide keys serve.
          my $key = $field{"signed-by"} // ""; $key = "" unless $key =~ m{^/\S+$};
          entry($field{uris} // "", $field{suites} // "", $field{components} // "", $key); } }
      else {
        for (split /\n/, $text) {
          next unless /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)/;
          my ($options, $uri, $suite, $components) = ($1 // "", $2, $3, $4);
          my ($key) = $options =~ m{signed-by=(/\S+)}; $components =~ s/\s+$//;
          entry($uri, $suite, $components, $key // ""); } } }
  ' /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources
}

# The apt options of this machine that decide how a mirror is reached, one "Name "value";" a line.
guests_apt_options() {
  apt-config dump | grep -E '^Acquire::((http|https|ftp)::|Check-(Valid-Until|Date) |Retries |ForceIPv)' | grep -v ' "";$'
  echo 'Acquire::Retries "3";'
  echo 'Acquire::Languages "none";'
}

# Release file of URI, suite -> stdout. Through apt, so that every transport and proxy of apt works.
guests_release_file() {
  local dir; dir=$(guests_scratch release)
  /usr/lib/apt/apt-helper download-file "${1%/}/dists/$2/InRelease" "$dir/InRelease" >/dev/null 2>&1 && cat "$dir/InRelease"
  local rc=$?; rm -rf "$dir"; return $rc
}

# A deb822 file of SUITE on this machine's mirrors -> stdout. For another release than the machine's own the
# suite name is exchanged (bookworm-security becomes bullseye-security) and what the mirror lacks is left out.
guests_sources() {
  local suite="$1" uri old key new release found='' all_keys=/usr/share/keyrings/debian-archive-keyring.gpg
  while IFS=$'\t' read -r uri old _ key; do
    new="$suite"; case "$old" in *-updates) new+=-updates ;; *-security) new+=-security ;; esac
    release=$(guests_release_file "$uri" "$new") || continue
    if ! grep -q '^Origin: Debian$' <<<"$release" || ! grep -q "^Codename: $suite" <<<"$release"; then continue; fi
    [ "$new" = "$old" ] || [ ! -e "$all_keys" ] || key="$all_keys"
    [ "$new" = "$suite" ] && found=yes
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n%s\n' "$uri" "$new" "${key:+Signed-By: $key$'\n'}"
  done < <(guests_machine_entries | LC_ALL=C sort -u -t$'\t' -k1,2)
  [ -n "$found" ] || guests_fail "no Debian mirror of this machine's apt configuration has the release $suite"
}

guests_suite() { (. /etc/os-release && printf '%s\n' "$VERSION_CODENAME"); }

# Another release than this machine's that the mirror still has. bullseye comes first: its /bin is a real
# directory and its rpm writes Berkeley databases.
guests_other_suite() {
  local suite
  for suite in bullseye trixie bookworm; do
    [ "$suite" != "$(guests_suite)" ] && guests_sources "$suite" >/dev/null 2>&1 && { printf '%s\n' "$suite"; return; }
  done
  guests_fail "the mirror of this machine has no other Debian release"
}

# --- the cache of finished guests ----------------------------------------------------------------------

# guests_cached DIR MAKER ARG...: unpacks the tarball of this recipe into DIR. When there is none yet,
# `MAKER ARG... TREE` first makes the tree.
guests_cached() {
  local dir="$1" maker="$2" cache key tar work start=$SECONDS; shift 2
  guests_need_root || return
  if [ -e "$dir" ] && [ -n "$(ls -A "$dir")" ]; then guests_fail "$dir: exists and is not empty"; return; fi
  cache=$(guests_cache) || return
  key=$(printf '%s\n' "$GUESTS_VERSION" "$(dpkg --print-architecture)" "$maker" "$@" | sha256sum | cut -c1-20)
  tar="$cache/$key.tar"
  ( flock 9
    [ -e "$tar" ] && exit 0
    work=$(guests_scratch "$key") && chmod 755 "$work" || exit 1
    trap 'rm -rf "$work"' EXIT
    "$maker" "$@" "$work/tree" || exit 1
    tar --format=pax --pax-option='delete=atime,delete=ctime' --xattrs --xattrs-include='*' --numeric-owner --sort=name \
        -C "$work/tree" -cf "$tar.new" . && mv "$tar.new" "$tar" || exit 1
    guests_say "made $(basename "$dir") ($*) in $((SECONDS - start)) s"
  ) 9>"$cache/$key.lock" || return
  mkdir -p "$dir" && tar --xattrs --xattrs-include='*' --numeric-owner -C "$dir" -xpf "$tar"
}

# --- Debian guests -------------------------------------------------------------------------------------

guests_debian() {
  [ $# = 3 ] || { guests_fail 'usage: debian SUITE DIR "PACKAGES"'; return; }
  guests_cached "$2" guests_make_debian "$1" "$(guests_words "$3")"
}

guests_make_debian() {
  local suite="$1" packages="$2" tree="$3" cache work options=() line
  cache=$(guests_cache); work=$(dirname "$tree")
  guests_sources "$suite" >"$work/debian.sources" || return
  while read -r line; do options+=(--aptopt="$line"); done < <(guests_apt_options)
  # shellcheck disable=SC2016 # hooks: mmdebstrap's shell expands them
  # Packages already downloaded go in as hard links, new ones come out as hard links; nothing of this
  # machine's way of building (options of apt and dpkg) stays in the guest.
  guests_logged "$cache/log/$(basename "$work").log" env TMPDIR="$work" DEBS="$cache/debs" mmdebstrap --mode=root --variant=minbase \
    ${packages:+--include="${packages// /,}"} "${options[@]}" --dpkgopt=force-unsafe-io --skip=essential/unlink,download/empty \
    --setup-hook='mkdir -p "$1/var/cache/apt/archives"; find "$DEBS" -maxdepth 1 -name "*.deb" -exec cp -l -t "$1/var/cache/apt/archives" {} +' \
    --customize-hook='cp -ln "$1"/var/cache/apt/archives/*.deb "$DEBS"' \
    --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"' \
    --customize-hook='echo guest >"$1/etc/hostname"; rm -f "$1/etc/resolv.conf"; : >"$1/etc/resolv.conf"' \
    "$suite" "$tree" "$work/debian.sources"
}

# --- packages on their own -----------------------------------------------------------------------------

# apt-get with a private state for SUITE: this machine's package lists and status are neither read nor written.
# The lists stay as they are while it reads them: another run may want to prepare them anew.
guests_apt() {
  local suite="$1" root; root="$(guests_cache)/apt-$suite"; shift
  ( flock -s 9; apt-get -q -c "$root/apt.conf" "$@" 9>&- ) 9>"$root.lock"
}

# Prepares that state; at most once an hour, as guests are made in a row.
guests_apt_prepare() {
  local suite="$1" cache root; cache=$(guests_cache); root="$cache/apt-$suite"
  ( flock 9
    [ -e "$root/apt.conf" ] && [ -n "$(find "$root/apt.conf" -mmin -60)" ] && exit 0
    mkdir -p "$root"/{lists/partial,cache,sources.list.d} "$cache/debs/partial"
    guests_sources "$suite" >"$root/sources.list.d/debian.sources" || exit 1
    : >"$root/status"
    { guests_apt_options
      cat <<END
Dir::State "$root";
Dir::State::lists "$root/lists";
Dir::State::status "$root/status";
Dir::State::extended_states "$root/extended_states";
Dir::Cache "$root/cache";
Dir::Cache::archives "$cache/debs";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$root/sources.list.d";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Debug::NoLocking "true";
END
    } >"$root/apt.conf.new"
    guests_logged "$cache/log/apt-$suite.log" apt-get -q -c "$root/apt.conf.new" update || exit 1
    mv "$root/apt.conf.new" "$root/apt.conf"
  ) 9>"$cache/apt-$suite.lock"
}

# Downloads PACKAGES and all they depend on into the cache; prints the .deb paths, one a line.
guests_closure() {
  local suite="$1" cache; cache=$(guests_cache)
  guests_apt_prepare "$suite" || return
  ( flock 9
    # shellcheck disable=SC2086 # a list of words
    guests_logged "$cache/log/download.log" guests_apt "$suite" install --download-only -y $2 || exit 1
    # shellcheck disable=SC2086 # with an empty archive directory apt names every file, also those already there
    guests_apt "$suite" -o Dir::Cache::archives="$cache/none" install --print-uris -y $2 |
      awk -v dir="$cache/debs/" '/^\x27/ {print dir $2}' | LC_ALL=C sort -u
  ) 9>"$cache/debs.lock"
}

# The cached .deb of PACKAGE in the version that is installed in the Debian guest DIR. No network.
guests_deb() {
  [ $# = 2 ] || { guests_fail 'usage: deb DIR PACKAGE'; return; }
  local version arch file
  read -r version arch < <(dpkg-query --admindir="$1/var/lib/dpkg" -W -f '${Version} ${Architecture}\n' "$2")
  file="$(guests_cache)/debs/$2_${version//:/%3a}_$arch.deb"
  if [ -n "$version" ] && [ -f "$file" ]; then printf '%s\n' "$file"; else guests_fail "$2 of $1: no cached .deb"; fi
}

# --- RPM guests ----------------------------------------------------------------------------------------

guests_rpm() {
  [ $# = 3 ] || [ $# = 4 ] || { guests_fail 'usage: rpm DIR sqlite|ndb|bdb "PACKAGES" [merged|split]'; return; }
  case "$2" in sqlite|ndb|bdb) ;; *) guests_fail "$2: no such database backend (sqlite, ndb, bdb)"; return ;; esac
  case "${4:-merged}" in merged|split) ;; *) guests_fail "$4: no such layout (merged, split)"; return ;; esac
  guests_cached "$1" guests_make_rpm "$(guests_suite)" "$2" "$(guests_words "$3")" "${4:-merged}"
}

# Where the package database of an RPM guest lives: the old place, and for ndb the one newer distributions use.
guests_rpm_dbpath() { case "$1" in ndb) echo /usr/lib/sysimage/rpm ;; *) echo /var/lib/rpm ;; esac; }

# guests_convert DEB -> path of its .rpm. alien unpacks and writes the spec, rpmbuild packs; nothing is stripped,
# compressed or re-dated on the way, so that the files are bit for bit the distribution's, with their own mtime.
# Scripts are left out: they are Debian's, and these guests are installed without running any.
guests_convert() {
  local deb="$1" cache name rpm work spec arch; cache=$(guests_cache)
  name=$(basename "$deb" .deb); rpm="$cache/rpms/$name.v$GUESTS_VERSION.rpm"
  case "$name" in *_all) arch=noarch ;; *) arch=$(rpm --eval '%{_arch}') ;; esac
  ( flock 9
    [ -e "$rpm" ] && exit 0
    work=$(guests_scratch rpm) && trap 'rm -rf "$work"' EXIT && cd "$work" &&
    alien --to-rpm --generate --keep-version "$deb" >log 2>&1 && spec=$(echo "$work"/*/*.spec) &&
    guests_spec "$(dpkg-deb -f "$deb" Source | cut -d' ' -f1)" <"$spec" >package.spec &&
    rpmbuild -bb --quiet --nodeps --target "$arch" --buildroot "$(dirname "$spec")" \
      --define "_topdir $work/top" --define "_rpmdir $work/out" --define '_binary_payload w1.zstdio' \
      --define '__os_install_post %{nil}' --define '__arch_install_post %{nil}' --define '_build_id_links none' \
      --define '_buildhost localhost' --define '__spec_install_pre %{nil}' package.spec >>log 2>&1 &&
    mv "$(find "$work/out" -name '*.rpm')" "$rpm" && exit 0
    tail -n 30 "$work/log" >&2; guests_fail "$deb: conversion to rpm failed"
  ) 9>"$cache/rpms/.$name.lock" && printf '%s\n' "$rpm"
}

# alien's spec -> stdout, with the automatic dependencies off (nobody resolves them here) and, given the source
# package, written as a subpackage of it: rpm then records glibc as the source of libc6, as a distribution's does.
guests_spec() {
  awk -v source="$1" '
    BEGIN { print "AutoReqProv: no" }
    /^%define _rpm(dir|filename)/ || /^Buildroot:/ { next }
    /^Name:/ { name = $2; if (source == "") source = name; sub_of = (source != name); print "Name: " source; next }
    /^(Summary|Group):/ { again = again $0 "\n" }
    sub_of && /^%description$/ && !done { done = 1; print "%description\nSource of " name ".\n\n%package -n " name "\n" again "\n%description -n " name; next }
    sub_of && /^%files$/ { print "%files -n " name; next }
    { print }'
}

# Debian's rpm packages of the closure of PACKAGES, converted; prints their paths.
guests_rpms() {
  local debs; debs=$(guests_closure "$1" "$2") || return
  (set -o pipefail; xargs -d '\n' -P "$(nproc)" -n 1 "$GUESTS_SELF" convert <<<"$debs" | LC_ALL=C sort)
}

# The parts of a root directory that belong to no converted package.
guests_rpm_skeleton() {
  local tree="$1" layout="$2" dir
  mkdir -p "$tree"/{boot,dev,etc,home,media,mnt,opt,proc,root,run,srv,sys,tmp,var/tmp} "$tree"/usr/{bin,sbin,lib,lib64} || return
  chmod 1777 "$tree/tmp" "$tree/var/tmp"; chmod 700 "$tree/root"
  for dir in bin sbin lib lib64; do
    if [ "$layout" = merged ]; then ln -s "usr/$dir" "$tree/$dir"; else mkdir "$tree/$dir"; fi
  done
  mknod -m 666 "$tree/dev/null" c 1 3; mknod -m 666 "$tree/dev/zero" c 1 5; mknod -m 666 "$tree/dev/urandom" c 1 9
  # rpm looks owners up by name inside the tree; Debian makes these two files in a script.
  cp /usr/share/base-passwd/passwd.master "$tree/etc/passwd" && cp /usr/share/base-passwd/group.master "$tree/etc/group"
}

# guests_rpm_command BACKEND TREE PACKAGES_DIR ARG...: rpm on TREE, started in PACKAGES_DIR. Debian 12's
# own rpm knows sqlite only; ndb is written by the rpm of trixie and Berkeley DB by that of bullseye, each run
# from a small tree of that release, in a mount namespace of its own so that nothing stays mounted.
guests_rpm_command() {
  local backend="$1" tree packages suite tool options
  tree=$(readlink -f "$2"); packages=$(readlink -f "$3"); shift 3
  options=(--dbpath "$(guests_rpm_dbpath "$backend")" --define "_db_backend $backend" "$@")
  case "$backend" in
    sqlite) (cd "$packages" && LC_ALL=C rpm --root "$tree" "${options[@]}"); return ;;
    ndb) suite=trixie ;;
    bdb) suite=bullseye ;;
  esac
  tool="$(guests_cache)/tool-$suite"
  ( flock 9; [ -e "$tool/usr/bin/rpm" ] || { rm -rf "$tool"; guests_debian "$suite" "$tool" rpm; } ) 9>"$tool.lock" || return
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare --mount --propagation unchanged sh -c 'mount --make-rprivate / 2>/dev/null; mount --bind "$2" "$1/mnt" && mount --bind "$3" "$1/media" && shift 3 && exec "$@"' - \
    "$tool" "$tree" "$packages" env -i PATH="$PATH" HOME=/root LC_ALL=C chroot "$tool" sh -c 'cd /media && exec rpm --root /mnt "$@"' - "${options[@]}"
}

guests_make_rpm() {
  local suite="$1" backend="$2" packages="$3" layout="$4" tree="$5" cache work rpms
  cache=$(guests_cache); work=$(dirname "$tree")
  rpms=$(guests_rpms "$suite" "$packages base-files base-passwd") || return
  [ -n "$rpms" ] || { guests_fail "no packages for: $packages"; return; }
  # shellcheck disable=SC2086 # names of packages have no spaces
  mkdir "$work/rpms" && cp -l $rpms "$work/rpms" && guests_rpm_skeleton "$tree" "$layout" || return
  # shellcheck disable=SC2086,SC2046
  guests_logged "$cache/log/$(basename "$work").log" guests_rpm_command "$backend" "$tree" "$work/rpms" -i --nodeps --noscripts \
    --nosignature --ignorearch --ignoresize --define '_pkgverify_level none' $(basename -a $rpms) || return
  [ -e "$tree/bin/sh" ] || ln -s bash "$tree/bin/sh"
  ldconfig -r "$tree"
}

# What rpm itself says about an RPM guest.
guests_verify() {
  local tree="$1" backend answer
  if [ -e "$tree/var/lib/rpm/rpmdb.sqlite" ]; then backend=sqlite
  elif [ -e "$tree/usr/lib/sysimage/rpm/Packages.db" ]; then backend=ndb
  elif [ -e "$tree/var/lib/rpm/Packages" ]; then backend=bdb
  else guests_fail "$tree: no rpm database"; return; fi
  printf '%s: %s packages, %s\n' "$tree" "$(guests_rpm_command "$backend" "$tree" / -qa | wc -l)" "$backend"
  answer=$(guests_rpm_command "$backend" "$tree" / -Va --nodeps --noscripts 2>&1) && return
  printf '%s\n' "$answer"; return 1
}

# --- many guests ---------------------------------------------------------------------------------------

# Recipes from stdin, one a line, words as on the command line; two at a time, since dpkg uses one core.
guests_batch() {
  local line running=0 failed=0 args
  while IFS= read -r line; do
    case "$line" in ''|'#'*) continue ;; esac
    eval "args=($line)" || { guests_fail "not a recipe: $line"; return; }
    if [ "$running" -ge 2 ]; then wait -n || failed=1; running=$((running - 1)); fi
    case "${args[0]}" in
      debian|rpm) "guests_${args[0]}" "${args[@]:1}" </dev/null & running=$((running + 1)) ;;
      *) guests_fail "not a recipe: $line" || failed=1 ;;
    esac
  done
  while [ "$running" -gt 0 ]; do wait -n || failed=1; running=$((running - 1)); done
  [ "$failed" = 0 ] || guests_fail "not every guest could be made"
}

# For benchmarks: N trees in DIR from three package sets, each of at least 10,000 regular files, each tree with
# a little of its own as real hosts have (name, machine-id, a log, one edited file of /etc and one of /usr).
guests_mass() {
  [ $# = 2 ] || { guests_fail 'usage: mass N DIR'; return; }
  local count="$1" dir="$2" suite i name tree base files common="perl binutils python3 git vim less" start=$SECONDS
  suite=$(guests_suite); mkdir -p "$dir" || return
  local sets=("$common" "$common rsync openssh-server curl ca-certificates" "$common gettext nginx-light man-db procps iproute2")
  for ((i = 1; i <= count; i++)); do
    tree=$(printf '%s/guest-%03d' "$dir" "$i"); name=$(basename "$tree")
    if [ "$i" -le "${#sets[@]}" ]; then
      guests_debian "$suite" "$tree" "${sets[i - 1]}" || return
      files=$(find "$tree" -type f | wc -l)
      [ "$files" -ge 10000 ] || { guests_fail "$tree has only $files regular files"; return; }
    else
      base=$(printf '%s/guest-%03d' "$dir" $(((i - 1) % ${#sets[@]} + 1)))
      cp -a --reflink=never "$base" "$tree" || return
    fi
    printf '%s\n' "$name" >"$tree/etc/hostname"
    printf '%s\n' "$name" | md5sum | cut -c1-32 >"$tree/etc/machine-id"
    printf 'log of %s\n' "$name" >"$tree/var/log/$name.log"
    printf '# %s\n' "$name" >>"$tree/etc/bash.bashrc"
    printf '# %s\n' "$name" >>"$(find "$tree/usr/share/perl" -name Benchmark.pm)"
  done
  guests_say "$count guests in $dir in $((SECONDS - start)) s, $(find "$dir" -type f | wc -l) regular files"
}

# --- loop filesystems ----------------------------------------------------------------------------------

guests_loopfs() {
  [ $# = 3 ] || { guests_fail 'usage: loopfs ext4|xfs|btrfs SIZE DIR'; return; }
  local type="$1" size="$2" dir="$3" options=()
  guests_need_root || return
  case "$type" in
    ext4) options=(-q -m 0 -F) ;;
    xfs) options=(-q -f) ;;
    btrfs) options=(-q -f) ;;
    *) guests_fail "$type: no such filesystem type (ext4, xfs, btrfs)"; return ;;
  esac
  [ -e "$dir.img" ] && { guests_fail "$dir.img: exists"; return; }
  mkdir -p "$dir" && truncate -s "$size" "$dir.img" && "mkfs.$type" "${options[@]}" "$dir.img" >&2 || return
  mount -o loop "$dir.img" "$dir" && return
  rm -f "$dir.img"; guests_fail "$dir: no loop filesystem could be mounted here (needs root and loop devices)"
}

guests_unmount() {
  [ $# = 1 ] || { guests_fail 'usage: unmount DIR'; return; }
  if mountpoint -q "$1"; then umount "$1" || return; fi
  rm -f "$1.img"
}

# -------------------------------------------------------------------------------------------------------

guests_main() {
  local verb="${1:-}"; [ $# = 0 ] || shift
  case "$verb" in
    debian|rpm|batch|mass|verify|deb|convert|loopfs|unmount|suite) "guests_$verb" "$@" ;;
    other-suite) guests_other_suite ;;
    ''|help|-h|--help) sed -n '2,/^$/s/^# \{0,1\}//p' "$GUESTS_SELF" ;;
    *) guests_fail "$verb: no such command; try --help" ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -uo pipefail
  guests_main "$@"
fi
