# vunify.service as it is shipped, under a real systemd: what its sandbox leaves must be enough to see a guest's programs and to make them stand still (a minute).
. /payload/checks.sh
say "$(uname -r)"
host=/vservers/host
mount --bind "$host" "$host"
cp /usr/local/sbin/vunify "$host/usr/sbin/"
cp -n /payload/lib/* "$host/usr/lib/x86_64-linux-gnu/"  # found by LD_LIBRARY_PATH out here
cp /payload/vunify.service "$host/etc/systemd/system/"
mkdir -p "$host/etc/vservers" "$host/pool"
modprobe -a loop
truncate -s 200M "$host/disk" && mkfs.ext4 -q "$host/disk" && mount -o loop "$host/disk" "$host/pool"
for name in one two; do
  tree=$host/pool/$name
  mkdir -p "$tree/usr/sbin" "$tree/var/lib/dpkg/info" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/run" "$tree/tmp" "$tree/etc"
  cp "$(command -v busybox)" "$tree/usr/sbin/sleep" && touch -d 2020-02-02 "$tree/usr/sbin/sleep"
  printf 'Package: daemon\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n' >"$tree/var/lib/dpkg/status"
  echo /usr/sbin/sleep >"$tree/var/lib/dpkg/info/daemon.list"
  (cd "$tree" && md5sum usr/sbin/sleep >var/lib/dpkg/info/daemon.md5sums)
  echo "tree = $name=/pool/$name" >>"$host/etc/vservers/vunify.conf"
done
unshare --pid --mount --uts --ipc --fork sh -c "
  mount -t proc proc $host/proc && mount --rbind /sys $host/sys && mount --rbind /dev $host/dev && mount -t tmpfs -o mode=755 run $host/run &&
  cd $host && exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other chroot . /lib/systemd/systemd --system" >/tmp/systemd.log 2>&1 &
systemd() { pgrep -o -x systemd; }
inside() { nsenter -t "$(systemd)" -a -r -w "$@"; }
up() { inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; }
night() { inside systemctl start vunify.service || { inside systemctl status vunify.service --no-pager; return 1; }; }
runs_as() { inside readlink "/proc/$(inside systemctl show -p MainPID --value guest)/exe"; }
# Seen from the root of this machine the guest's own path has something before it.
is() { local got; got=$(runs_as); echo "it is: $got"; case "$got" in *"$1") ;; *) false ;; esac; }
sealed() { inside lsattr "/pool/$1/usr/sbin/sleep" | grep -q '^....i'; }

check "systemd is up" within 120 up
check "a guest's daemon runs" inside systemd-run --unit=guest --property=RootDirectory=/pool/one /usr/sbin/sleep 6000
check "it has its own path" within 20 is /usr/sbin/sleep
check "the night's unit succeeds" night
check "the daemon's file is shared" sealed one
check "with the other guest" sh -c "[ \$(stat -c %i $host/pool/one/usr/sbin/sleep) = \$(stat -c %i $host/pool/two/usr/sbin/sleep) ]"
check "the daemon is known as after an upgrade" is "/usr/sbin/sleep (deleted)"
check "it runs on" inside systemctl is-active --quiet guest
[ "$failures" = 0 ] || { inside journalctl -b --no-pager -u vunify | tail -n 40; tail -n 20 /tmp/systemd.log; }
exit "$failures"
