# DISK of guests of any depth: the build machine's kernel may lack quota.
. /payload/checks.sh
modprobe -a loop xfs quota_v2
say "$(uname -r)"
"$BUILD/isolation_root_tests" --gtest_filter='*DiskTest.*AnyDepth*' --gtest_brief=0 | tee /tmp/out
refuse "none of the tests of any depth is skipped" grep -q SKIPPED /tmp/out
check "all of them pass" grep -q 'PASSED .* 4 tests' /tmp/out
[ $failures = 0 ]
