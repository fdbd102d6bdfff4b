# The runtime's root tests in the machine: pure cgroup v2, a kernel of Debian's, and what the build machine may lack: BPF programs as security modules.
. /payload/checks.sh
say "$(uname -r), $(cat /sys/kernel/security/lsm)"
# Guests of real packages are made and tested on the machine that builds.
export VS_MACHINE_LACKS="mmdebstrap rpm rpmbuild"
"$BUILD/isolation_root_tests" --gtest_filter="$FILTER" --gtest_brief=1
