# vbackup and LVM (100 s): snapshots of ext4 and xfs, with a guest that writes all the time; a full one, no room for one, kills; thin volumes. No udev runs here: lvm makes its nodes itself.
. /payload/checks.sh
export DM_DISABLE_UDEV=1
modprobe -a loop dm_snapshot dm_thin_pool
mkdir -p /etc/lvm /mnt && cat >/etc/lvm/lvmlocal.conf <<'CONF'
global { thin_check_executable = "" }
CONF
truncate -s 900M /root/disk && disk=$(losetup -f --show /root/disk) && vgcreate -q vg "$disk" >/dev/null
say "$(uname -r), $(lvm version | head -n 1)"

# Two guests that share a file; "web" has 16 MB, so that a run takes a while.
make_guests() {
  mkdir -p /mnt/guests/web/etc /mnt/guests/web/middle /mnt/guests/web/z /mnt/guests/mail/etc
  for i in $(seq 16); do head -c 1000000 /dev/urandom >/mnt/guests/web/middle/$i; done
  for i in $(seq 200); do echo "file $i" >/mnt/guests/web/etc/$i; done
  echo shared >/mnt/guests/web/etc/shared && ln /mnt/guests/web/etc/shared /mnt/guests/mail/etc/shared
  : >/mnt/guests/web/a; : >/mnt/guests/web/z/z
  setfattr -n user.test -v value /mnt/guests/web/etc/1; chown 33:44 /mnt/guests/web/etc/2; touch -d '2001-02-03 04:05:06.123456789' /mnt/guests/web/etc/3
}
# z is written after a, forever: in every moment it has as much, or one step less. Read in the order of a backup, a long before z, it has more.
writer() { while :; do echo x >>/mnt/guests/web/a; echo x >>/mnt/guests/web/z/z; done; }
snapshots() { lvs --noheadings -S 'lv_tags=vbackup' vg | wc -l; }
# Writes all of the volume's files anew until it is stopped: what was there goes into the reserve of a snapshot.
overwriter() { while :; do for i in $(seq 16); do head -c 1000000 /dev/urandom | dd of=/mnt/guests/web/middle/$i conv=notrunc bs=1M status=none; sync; done; done; }
ran_full() { dmsetup status | grep -q 'snapshot Invalid'; }
# The archive of web while it has no name yet.
unnamed() { local file; for file in /root/set/.vbackup-*-web*.part; do [ -e "$file" ] && part="$file" && return; done; return 1; }
# A run that is stopped in the middle of web, after the first look at its snapshot and before the last, goes on when the snapshot is full. Left to themselves, both were done at about the
# same time, and a run that had just looked for the last time rightly succeeded. "held" is written only if it was stopped in time: the bytes of web cannot be made smaller, so as long as
# the archive has less than half of them the last look is still to come. Between seeing the archive and stopping the run nothing is started, since that takes as long as reading web.
create_until_full() {
  create --full --consistency snapshot --snapshot-reserve 1 & local job=$! writer pid part
  until pid=$(pgrep -x vbackup); do kill -0 $job || return; done
  until unnamed; do kill -0 $pid || { wait $job; return; }; done
  kill -STOP $pid
  [ "$(stat -c %s "$part")" -lt 8000000 ] && echo held
  overwriter >/dev/null 2>&1 & writer=$!
  within 120 ran_full && echo full
  kill $writer; wait $writer 2>/dev/null
  kill -CONT $pid; wait $job
}
vb() { local verb="$1"; shift; vbackup "$verb" --to archive:/root/set --progress never "$@"; }
create() { vb create --init --state /root/state --tree web=/mnt/guests/web --tree mail=/mnt/guests/mail --json "$@" >/tmp/create.out 2>/tmp/create.err; }
summary() { grep -o "\"$1\":[^,}]*" /tmp/create.out | tail -n 1 | cut -d: -f2 | tr -d '"'; }
volumes() { lvs --noheadings -o lv_name vg | tr -d ' ' | sort | tr '\n' ' '; }
none_left() { [ "$(snapshots)" = 0 ] && ! grep -q vbackup /proc/mounts; }
listing() { (cd "$1" && find . -mindepth 1 -printf '%p %y %m %U:%G %T@ %n %l\n' | sort; find . -type f -exec sha256sum {} + | sort; getfattr -R -d . 2>/dev/null); }
moment() { rm -rf /root/back; vb restore --target /root/back web >/dev/null && local a z; a=$(stat -c %s /root/back/web/a) z=$(stat -c %s /root/back/web/z/z); echo "a $a z $z"; [ "$a" -gt 0 ] && [ $(((a - z) / 2)) -ge 0 ] && [ $(((a - z) / 2)) -le 1 ]; }
stamps() { vb list --json web 2>/dev/null | grep -c stamp; }
succeed() { "$@" || { cat /tmp/create.err; return 1; }; }
ends_with() { local want="$1"; shift; "$@"; local got=$?; [ "$got" = "$want" ] || { echo "ended with $got"; cat /tmp/create.err; return 1; }; }

fresh() {  # TYPE, and how much of a volume
  rm -rf /root/set /root/state; modprobe -q "$1"; lvcreate -q -y -L "$2" -n pool vg >/dev/null && "mkfs.$1" -q /dev/mapper/vg-pool && mount -t "$1" /dev/mapper/vg-pool /mnt && make_guests && sync && sleep 2.1
}
away() { umount /mnt && lvremove -q -y vg/pool >/dev/null; }

for type in ext4 xfs; do
  say "$type"
  fresh $type 300M
  writer & writer=$!
  check "$type: a snapshot is read while the guest writes" succeed create --consistency snapshot
  check "$type: it is said to be one" [ "$(summary consistency)" = snapshot ]
  check "$type: what is stored is one moment of the guest" moment
  check "$type: no snapshot is left" none_left
  kill $writer; wait $writer 2>/dev/null
  echo changed >/mnt/guests/web/etc/5; rm /mnt/guests/web/etc/6; mv /mnt/guests/web/etc/7 /mnt/guests/web/etc/seven; sync; sleep 2.1
  check "$type: incremental" succeed create --consistency snapshot --verify-sample 0
  check "$type: what did not change is not read again (read: $(summary files_read))" [ "$(summary files_read)" -le 4 ]
  sleep 2.1
  check "$type: nor by a live run, which knows the inodes of the snapshot" succeed create --consistency live --verify-sample 0
  check "$type: nothing (read: $(summary files_read))" [ "$(summary files_read)" = 0 ]
  check "$type: nor by a snapshot after that" succeed create --verify-sample 0
  check "$type: auto takes one (read: $(summary files_read))" [ "$(summary consistency) $(summary files_read)" = "snapshot 0" ]
  rm -rf /root/back; vb restore --target /root/back --all >/dev/null
  listing /mnt/guests >/tmp/live; listing /root/back >/tmp/back
  check "$type: what is given back is what there is" diff /tmp/live /tmp/back

  before=$(stamps)
  create_until_full >/tmp/held; status=$?
  check "$type: the snapshot ran full while it was read" [ "$(tr '\n' ' ' </tmp/held)" = "held full " ]
  check "$type: a snapshot that runs full is no success" succeed [ $status = 1 ]
  check "$type: it is told so" grep -q 'the snapshot of vg/pool ran full' /tmp/create.err
  check "$type: no archive of the guest that was being read ($before before)" [ "$(stamps)" = "$before" ]
  check "$type: no full snapshot is left" none_left
  check "$type: the set is whole" vb check

  lvcreate -q -y -l 100%FREE -n filler vg >/dev/null
  check "$type: without room, the trees are read live" succeed create
  check "$type: it is said why" grep -q 'read live: the volume group vg has .* free, too little' /tmp/create.err
  check "$type: unless a snapshot was demanded" ends_with 1 create --consistency snapshot
  lvremove -q -y vg/filler >/dev/null

  for signal in 9 2; do
    (create --full) & job=$!
    until [ "$(snapshots)" = 1 ] || ! kill -0 $job 2>/dev/null; do :; done
    sleep 0.3  # an instant in the middle of reading
    pkill -$signal -x vbackup; wait $job; status=$?
    [ $signal = 9 ] && check "$type: killed, it leaves a snapshot (which proves that the kill was in time)" [ "$(volumes | wc -w)" = 2 ]
    [ $signal = 2 ] && check "$type: interrupted, it leaves none" none_left && check "$type: and says so" [ $status = 130 ]
    [ $signal = 9 ] && check "$type: a live run removes it" succeed create --consistency live && check "$type: told" grep -q 'removed the snapshot vg/vbackup-' /tmp/create.err
    check "$type: the next run is whole" succeed create
    check "$type: and nothing is left" none_left
  done
  check "$type: the set is whole" vb check
  away
done

say "a thin volume"
rm -rf /root/set /root/state
lvcreate -q -y --type thin-pool -L 400M -n thin vg >/dev/null 2>&1 && lvcreate -q -y -V 300M --thinpool vg/thin -n pool >/dev/null 2>&1 && mkfs.ext4 -q /dev/mapper/vg-pool && mount /dev/mapper/vg-pool /mnt && make_guests
lvcreate -q -y -l 100%FREE -n filler vg >/dev/null 2>&1
writer & writer=$!
check "thin: a snapshot needs no room in the group" succeed create --consistency snapshot
check "thin: one moment" moment
check "thin: no snapshot is left" none_left
kill $writer; wait $writer 2>/dev/null
umount /mnt
[ $failures = 0 ]
