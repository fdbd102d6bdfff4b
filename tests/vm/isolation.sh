# The runtime's root tests in the machine: pure cgroup v2, a kernel of Debian's, and what the build machine may lack: BPF programs as security modules.
. /payload/checks.sh
say "$(uname -r), $(cat /sys/kernel/security/lsm)"
# Left out: what looks into the source tree.
"$BUILD/isolation_root_tests" --gtest_filter="$FILTER" --gtest_brief=1
