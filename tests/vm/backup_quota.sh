# What vbackup's root tests skip where the kernel has no quota (30 s): project ids of ext4 and xfs, and a restore that meets a limit.
. /payload/checks.sh
modprobe -a loop xfs quota_v2
say "$(uname -r)"
"$BUILD/backup_root_tests" --gtest_filter='*BackupProjects*-*LeftSaysSo*/ext4' --gtest_brief=0 | tee /tmp/out
refuse "none of them is skipped" grep -q SKIPPED /tmp/out
check "all of them pass" grep -q 'PASSED .* 3 tests' /tmp/out
[ $failures = 0 ]
