# A real Debian guest with systemd as its init, nginx and sshd as they were installed, on pure cgroup v2.
. /payload/checks.sh
mkdir -p /etc/vservers
printf 'STOP_TIMEOUT=90\n' >/etc/vservers.conf
printf 'IPROOT=10.99.0.5\nIPROOTDEV=lo\nMEMORY=512M\nPIDS=300\n' >/etc/vservers/web.conf
say "$(uname -r), $(cat /sys/kernel/security/lsm)"
inside() { vserver --silent web exec "$@"; }
settled() { case "$(inside systemctl is-system-running)" in running|degraded) ;; *) false ;; esac; }
page() { busybox wget -q -O - "http://10.99.0.5/" | grep -q 'Welcome to nginx'; }
banner() { (sleep 1) | busybox nc -w 10 10.99.0.5 22 | grep -q '^SSH-2.0'; }
state() {
  grep -v ' /sys/kernel/debug\| /proc/sys/fs/binfmt' /proc/self/mountinfo; find /sys/fs/cgroup -type d | sort; ip -o addr; bpftool prog show | grep -o 'name vs_[a-z0-9_]*' | sort
  lsns -n -o NS,TYPE | sort; find /run /etc/vservers -type f ! -name '*.lock' ! -name kernel-offsets | sort; for p in /proc/[0-9]*; do readlink "$p/exe"; done 2>/dev/null | grep -vE '/(sort|uniq|readlink|grep)$' | sort | uniq -c
}
# The kernel frees what belonged to a cgroup some time after it.
as_before() { state >/tmp/after; diff /tmp/before /tmp/after; }
state >/tmp/before
check "it starts" vserver web start
check "systemd says that all is up" within 150 settled
failed=$(inside systemctl list-units --failed --plain --no-legend)
[ -z "$failed" ] && echo "ok: no unit failed" || { fail "units failed"; echo "$failed"; inside journalctl -b --no-pager -p warning | tail -n 40; }
check "nginx serves its page on port 80 of the address" within 30 page
check "sshd greets on port 22" within 30 banner
check "its process 1 is systemd" sh -c 'vserver --silent web exec cat /proc/1/comm | grep -qx systemd'
check "a service can be restarted inside" inside systemctl restart nginx
check "nginx is back" within 30 page
check "a new unit gets a cgroup of its own" inside systemd-run --wait --pipe sh -c 'grep -q "^0::/system.slice/run-" /proc/self/cgroup'
check "the journal is written" sh -c 'vserver --silent web exec journalctl -b --no-pager | grep -q nginx'
check "limits hold it" sh -c 'grep -qx 300 /sys/fs/cgroup/vservers/web/pids.max && grep -qx 536870912 /sys/fs/cgroup/vservers/web/memory.max'
refuse_with "it cannot lift its limits" "permission denied" inside sh -c 'echo max > /sys/fs/cgroup/pids.max'
refuse_with "it cannot mount" "permission denied" inside mount -t tmpfs none /mnt
refuse_with "it cannot write to the kernel's settings" "read-only file system" inside sh -c 'echo x > /proc/sys/kernel/core_pattern'
check "systemd was not given what others are not given" sh -c 'test "$(vserver --silent web exec sed -n "s/^CapBnd:[^0-9a-f]*//p" /proc/1/status)" = "$(vserver --silent web exec sed -n "s/^CapBnd:[^0-9a-f]*//p" /proc/self/status)"'
check "it stops" vserver web stop
check "nothing is left" within 20 as_before
exit "$failures"
