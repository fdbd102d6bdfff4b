// What the target of a restore hands down to new files is not on what is restored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/backup/backup_host.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

std::string shell(const std::string& script) {
  return must_run({"bash", "-euc", script});
}

// A default ACL, flags, and a project where the filesystem has such.
void make_generous(const std::string& target) {
  shell("mkdir '" + target + "'; setfacl -d -m u:nobody:rwx '" + target + "'; setfattr -n user.own -v 1 '" +
        target + "'; chattr +dA '" + target + "'; chattr -p 42 +P '" + target + "' 2>/dev/null || true");
}

class BackupInto : public testing::TestWithParam<const char*> {};

TEST_P(BackupInto, ATargetThatHandsDownGivesNothingToWhatIsRestored) {
  VS_NEEDS_FILESYSTEM(GetParam());
  LoopFilesystem filesystem(GetParam(), 600);
  BackupHost host(filesystem.path() + "/trees");
  host.make_guests();
  shell("cd '" + host.tree("alpha") +
        "/etc'; echo secret > shadow; chown root:42 shadow; chmod 640 shadow; echo w > w; chown root:42 w; "
        "chmod 660 w; setfacl -m u:33:r one; mkdir acl; setfacl -d -m u:33:rwx acl; chattr +A acl; chattr +S "
        "two");
  ASSERT_EQ(host.create().exit_code, 0);
  const std::string target = filesystem.path() + "/target";
  make_generous(target);
  const RunResult restored = host.vbackup("restore", {"--target", target, "--all"});
  ASSERT_EQ(restored.exit_code, 0) << restored.err;
  EXPECT_EQ(difference(everything_of(host.trees()),
                       everything_of({{"alpha", target + "/alpha"}, {"beta", target + "/beta"}})),
            "");
  const RunResult check = host.vbackup("check", {"--rehearse", "--scratch", target + "/rehearsal"});
  EXPECT_EQ(check.exit_code, 0) << check.out << check.err;
  EXPECT_EQ(shell("getfattr --only-values -n user.own '" + target + "'"), "1") << "the target itself";
}

INSTANTIATE_TEST_SUITE_P(Filesystems, BackupInto, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& one) { return std::string(one.param); });

TEST(BackupNocow, IsGivenBackToFilesAndDirectoriesAndNobodyElseHasIt) {
  VS_NEEDS_FILESYSTEM("btrfs");
  LoopFilesystem filesystem("btrfs", 600);
  BackupHost host(filesystem.path() + "/trees");
  shell("mkdir -p '" + host.tree("alpha") + "' '" + host.tree("beta") + "'; cd '" + host.tree("alpha") +
        "'; mkdir journal; chattr +C journal; head -c 100000 /dev/urandom > journal/system; : > large; "
        "chattr +C large; head -c 9000000 /dev/urandom > large; echo plain > plain");
  ASSERT_EQ(host.create().exit_code, 0);
  const auto listed = [](const std::string& tree) {
    return shell("cd '" + tree + "'; lsattr -d . journal journal/system large plain");
  };
  EXPECT_THAT(listed(host.tree("alpha")), testing::ContainsRegex("C-* large"));
  for (const std::string flag : {"-C", "+C"}) {
    const std::string target = filesystem.path() + "/target" + flag;
    shell("mkdir '" + target + "'; chattr " + flag + " '" + target + "'");
    const RunResult restored = host.vbackup("restore", {"--target", target, "alpha"});
    ASSERT_EQ(restored.exit_code, 0) << restored.err;
    EXPECT_EQ(listed(host.tree("alpha")), listed(target + "/alpha")) << "target with " << flag;
  }
  const RunResult check =
      host.vbackup("check", {"--rehearse", "--scratch", filesystem.path() + "/rehearsal"});
  EXPECT_EQ(check.exit_code, 0) << check.out << check.err;
}

TEST(BackupLinkLive, ATargetThatHandsDownGivesNothingToWhatIsRestored) {
  VS_NEEDS_FILESYSTEM("ext4");
  HostOptions options;
  options.guests = {"alpha", "beta"};
  options.packages = {shared_package("tools", "usr/bin", 40)};
  TestHost host(options);
  shell("cd '" + host.guest("beta").root() +
        "'; echo secret > shadow; chown root:42 shadow; chmod 640 shadow; mkdir own; chmod 755 own; mkfifo "
        "fifo");
  ASSERT_EQ(host.vunify("run").exit_code, 0);
  Command create{vbackup_path(),        "create", "--init", "--to", host.scratch("set"), "--state",
                 host.scratch("bstate")};
  for (const auto& guest : host.guests())
    create.insert(create.end(), {"--tree", guest.name() + "=" + guest.root()});
  ASSERT_EQ(run(create).exit_code, 0);
  const std::string target = host.pool() + "/restored";
  make_generous(target);
  const RunResult back = run({vbackup_path(), "restore", "--to", host.scratch("set"), "--target", target,
                              "--json", "--link-live", "beta"});
  ASSERT_EQ(back.exit_code, 0) << back.err;
  EXPECT_GE(summary_number(back, "linked_live"), 40u) << back.out;
  EXPECT_EQ(difference(everything_of({{"beta", host.guest("beta").root()}}),
                       everything_of({{"beta", target + "/beta"}})),
            "");
}

}  // namespace
}  // namespace vs::test
