# rebootmgr.service and vservers.service under a real systemd: as process 1 of a pid namespace with all that the machine has, on a Debian tree.
. /payload/checks.sh
say "$(uname -r)"
host=/vservers/host
mount --bind "$host" "$host"
mkdir -p "$host/etc/vservers" "$host/vservers/inner/bin" "$host/vservers/inner/etc" "$host/vservers/inner/sbin"
cp /usr/local/sbin/vserver /usr/local/sbin/vservers /usr/local/sbin/rebootmgr "$host/usr/sbin/"
cp -n /payload/lib/* "$host/usr/lib/x86_64-linux-gnu/"  # found by LD_LIBRARY_PATH out here
cp /payload/*.service "$host/etc/systemd/system/"
# What vservers.service waits for is another wing's.
printf '[Unit]\n[Service]\nType=oneshot\nExecStart=/bin/true\n' >"$host/etc/systemd/system/vunify-recover.service"
cp /usr/bin/busybox "$host/vservers/inner/bin/" && ln -s busybox "$host/vservers/inner/bin/sh"
printf 'IPROOT=10.99.0.5\nIPROOTDEV=lo\nONBOOT=yes\nINIT=plain\n' >"$host/etc/vservers/inner.conf"
# Started slowly: ready must not be said before.
printf '#!/bin/sh\n[ "$1" != post-start ] || sleep 3\n' >"$host/etc/vservers/inner.sh" && chmod 755 "$host/etc/vservers/inner.sh"
for unit in rebootmgr vservers; do ln -s "/etc/systemd/system/$unit.service" "$host/etc/systemd/system/multi-user.target.wants/"; done
for unit in networking ssh nginx; do ln -sf /dev/null "$host/etc/systemd/system/$unit.service"; done
unshare --pid --mount --uts --ipc --fork sh -c "
  mount -t proc proc $host/proc && mount --rbind /sys $host/sys && mount --rbind /dev $host/dev && mount -t tmpfs -o mode=755 run $host/run &&
  cd $host && exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other chroot . /lib/systemd/systemd --system" >/tmp/systemd.log 2>&1 &
systemd() { pgrep -o -x systemd; }
inside() { nsenter -t "$(systemd)" -a -r -w "$@"; }
active() { [ "$(inside systemctl is-active "$1" 2>/dev/null)" = active ]; }
starting() { [ "$(inside systemctl is-active rebootmgr 2>/dev/null)" = activating ]; }
inner() { inside vserver --silent inner running; }
stopped() { inner; [ $? = 1 ]; }
restarted() { inside journalctl -u rebootmgr --no-pager | grep -q 'has rebooted'; }
check "rebootmgr.service is starting while the vserver is" within 120 starting
check "rebootmgr.service is active" within 60 active rebootmgr
check "the vserver runs then" inner
check "vservers.service is active after it" within 60 active vservers
check "it is no failed unit" sh -c '! nsenter -t '"$(systemd)"' -a -r -w systemctl is-failed rebootmgr vservers | grep -q failed'
inside vserver --silent inner exec busybox reboot -f
check "reboot(2) inside restarts it" within 60 restarted
check "it runs again" within 30 inner
check "a stop of the unit leaves the vserver" inside systemctl stop rebootmgr
check "it runs on" inner
check "the unit starts again" inside systemctl start rebootmgr
check "stopping vservers.service stops it" inside systemctl stop vservers
check "it has stopped" stopped
[ "$failures" = 0 ] || { inside journalctl -b --no-pager -u rebootmgr -u vservers | tail -n 30; tail -n 20 /tmp/systemd.log; }
exit "$failures"
