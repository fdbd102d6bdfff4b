# 50 starts and stops of one vserver, then 20 vservers at once: what a machine with nobody else on it has afterwards is what it had before.
. /payload/checks.sh
mkdir -p /etc/vservers /vservers
say "$(uname -r)"
state() {
  cat /proc/self/mountinfo; find /sys/fs/cgroup -type d | sort; ip -o addr; bpftool prog show | grep -o 'name [a-z0-9_]*' | sort; bpftool link show
  lsns -n -o NS,TYPE | sort; find /run /etc/vservers /vservers -xdev | sort; for p in /proc/[0-9]*; do readlink "$p/exe"; done 2>/dev/null | grep -vE '/(sort|uniq|readlink|grep)$' | sort | uniq -c; ipcs; cat /proc/net/unix | wc -l
}
make() { # NAME ADDRESS
  mkdir -p "/vservers/$1/bin" "/vservers/$1/etc" && cp /usr/bin/busybox "/vservers/$1/bin/" && ln -s busybox "/vservers/$1/bin/sh" && ln -s busybox "/vservers/$1/bin/nc"
  printf 'IPROOT=%s\nIPROOTDEV=lo\nMEMORY=32M\nPIDS=20\n' "$2" >"/etc/vservers/$1.conf"
}
all() { for i in $(seq 1 20); do "$@" "g$i" || return 1; done; }
for i in $(seq 1 20); do make "g$i" "10.99.1.$i"; done
# The first run makes /run/vservers, the lock files and the mount points in the trees.
each_once() { for i in $(seq 1 20); do vserver --silent "g$i" start && vserver --silent "g$i" stop || return 1; done; }
check "each starts once" each_once
# The kernel frees what belonged to a cgroup some time after it.
as_before() { state >/tmp/after; diff /tmp/before /tmp/after; }
state >/tmp/before
cycles() { for i in $(seq 1 50); do vserver --silent g1 start && vserver --silent g1 stop || return 1; done; }
check "50 starts and stops" cycles
check "nothing is left of 50 starts and stops" within 20 as_before
at_once() {
  for i in $(seq 1 20); do vserver --silent "g$i" start & done
  wait
  for i in $(seq 1 20); do vserver --silent "g$i" running || return 1; done
  for i in $(seq 1 20); do vserver --silent "g$i" stop & done
  wait
  for i in $(seq 1 20); do ! vserver --silent "g$i" running || return 1; done
}
check "20 at once" at_once
check "nothing is left of 20 at once" within 20 as_before
exit "$failures"
