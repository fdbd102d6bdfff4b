# vbackup.service as it is shipped, under a real systemd with udev: what its sandbox leaves must be enough for a snapshot of LVM (thick, thin) and of btrfs.
. /payload/checks.sh
say "$(uname -r)"
host=/vservers/host
mount --bind "$host" "$host"
cp /usr/local/sbin/vbackup "$host/usr/sbin/"
cp -n /payload/lib/* "$host/usr/lib/x86_64-linux-gnu/"  # found by LD_LIBRARY_PATH out here
cp /payload/vbackup.service "$host/etc/systemd/system/"
mkdir -p "$host/etc/vservers" "$host/backup" "$host/srv/guests" "$host/lib/modules"
# Modules are loaded by who needs them: dm_snapshot is not there when the unit is started for the first time.
mount --bind /lib/modules "$host/lib/modules"
modprobe -a loop dm_mod btrfs
printf 'global { thin_check_executable = "" }\n' >"$host/etc/lvm/lvmlocal.conf"
truncate -s 400M "$host/disk" && disk=$(losetup -f --show "$host/disk")
truncate -s 200M "$host/btrfs" && mkfs.btrfs -q "$host/btrfs" && btrfs_disk=$(losetup -f --show "$host/btrfs")
unshare --pid --mount --uts --ipc --fork sh -c "
  mount -t proc proc $host/proc && mount --rbind /sys $host/sys && mount --rbind /dev $host/dev && mount -t tmpfs -o mode=755 run $host/run &&
  cd $host && exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other chroot . /lib/systemd/systemd --system" >/tmp/systemd.log 2>&1 &
systemd() { pgrep -o -x systemd; }
inside() { nsenter -t "$(systemd)" -a -r -w "$@"; }
active() { [ "$(inside systemctl is-active "$1" 2>/dev/null)" = active ]; }
volumes() { inside lvs --noheadings -o lv_name vg 2>/dev/null | tr -d ' ' | sort | tr '\n' ' '; }
night() { inside systemctl start vbackup.service || { inside systemctl status vbackup.service --no-pager; inside journalctl -b --no-pager -u vbackup | tail -n 20; return 1; }; }
# What the newest archive of a vserver says it was read from.
newest() { inside vbackup list --to archive:/backup/set --json "$1" | grep '"type":"archive"' | tail -n 1 | sed -n 's/.*"consistency":"\([a-z]*\)".*/\1/p'; }
from_snapshot() { local found; found=$(newest "$1"); echo "it says: $found"; [ "$found" = snapshot ] || { inside journalctl -b --no-pager -u vbackup | tail -n 20; return 1; }; }
guest() { inside mkdir -p "$1/etc" && inside sh -c "echo $2 >$1/etc/hostname; seq 1000 >$1/etc/numbers"; }
settings() { { echo "to = archive:/backup/set"; for tree in "$@"; do echo "tree = $tree"; done; } >"$host/etc/vservers/vbackup.conf"; }
given_back() { inside rm -rf /back; inside vbackup restore --to archive:/backup/set --target /back "$1" && inside diff -r "$2" "/back/$1"; }

check "udev runs" within 120 active systemd-udevd
inside vgcreate -q vg "$disk" && inside lvcreate -q -y -L 60M -n thick vg && inside lvcreate -q -y --type thin-pool -L 120M -n pool vg && inside lvcreate -q -y -V 60M --thinpool vg/pool -n thin vg
for volume in thick thin; do inside mkdir -p "/srv/guests/$volume" && inside mkfs.ext4 -q "/dev/vg/$volume" && inside mount "/dev/vg/$volume" "/srv/guests/$volume" && guest "/srv/guests/$volume/web" $volume; done
inside mkdir -p /srv/guests/btrfs && inside mount "$btrfs_disk" /srv/guests/btrfs && nsenter -t "$(systemd)" -m btrfs -q subvolume create "$host/srv/guests/btrfs/web" && guest /srv/guests/btrfs/web btrfs
sync
before=$(volumes)
# On a host that has just been started nothing has loaded it.
rmmod dm_thin_pool dm_snapshot 2>/dev/null
refuse "the module of snapshots is not loaded" grep -q '^dm_snapshot ' /proc/modules
check "the set is made" inside vbackup init --to archive:/backup/set
for kind in thick thin btrfs; do
  settings "$kind=/srv/guests/$kind/web"
  echo "NUMBER=$kind" >"$host/etc/vservers/$kind.conf"
  check "$kind: the night's unit succeeds" night
  check "$kind: its archive is from a snapshot" from_snapshot $kind
  check "$kind: no snapshot is left" [ "$(volumes) $(ls -A "/proc/$(systemd)/root/srv/guests/btrfs")" = "$before web" ]
  check "$kind: what is given back is what there is" given_back $kind "/srv/guests/$kind/web"
  check "$kind: so is what the host has for it" inside diff "/etc/vservers/$kind.conf" "/back/.host.$kind/etc/vservers/$kind.conf"
done
check "LVM kept its own record of the groups' metadata" inside sh -c 'grep -q "description = .*lvcreate .*--snapshot" /etc/lvm/archive/vg_*.vg'
[ "$failures" = 0 ] || { inside journalctl -b --no-pager -u vbackup | tail -n 60; tail -n 20 /tmp/systemd.log; }
exit "$failures"
