// vbackup and a vserver that was started by us: each knows nothing of the other but the cgroup.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/isolation/root/isolation_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(BackupOfARunningVserver, IsOfOneMomentInWhichItStoodStill) {
  VS_NEEDS_ISOLATION();
  IsolationHost host;
  const auto guest = host.add("guest", "");
  ASSERT_EQ(host.vserver(guest, {"start"}).exit_code, 0);
  host.vserver(guest,
               {"exec", "sh", "-c", "(while :; do echo x >> /a; echo x >> /z; done) >/dev/null 2>&1 &"});
  ASSERT_TRUE(host.appears(guest, "/z"));
  const RunResult made = run({VS_BINARY_DIR "/vbackup", "create", "--init", "--to", host.path("set"),
                              "--state", host.path("state"), "--tree", guest + "=" + host.tree(guest),
                              "--consistency", "frozen", "--progress", "never"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr(guest + " stood still for "));
  EXPECT_THAT(host.vserver(guest, {"status"}).out, testing::Not(HasSubstr("frozen")));
  must_run({VS_BINARY_DIR "/vbackup", "restore", "--to", host.path("set"), "--target", host.path("back"),
            "--progress", "never", guest});
  const auto a = fs::file_size(host.path("back/" + guest + "/a")),
             z = fs::file_size(host.path("back/" + guest + "/z"));
  EXPECT_GT(z, 0u);
  EXPECT_TRUE(a == z || a == z + 2) << a << " and " << z;
}

}  // namespace
}  // namespace vs::test
