// Real Debian guests go on working after unification: their programs, their package manager.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kGuests = VS_SOURCE_DIR "/tests/support/guests.sh";

struct stat stat_of(const std::string& path) {
  struct stat stat {};
  EXPECT_EQ(::lstat(path.c_str(), &stat), 0) << path;
  return stat;
}

// Two guests of one release with different package sets, as the demo has them (so they come from its cache).
class RealGuestTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    VS_NEEDS_FILESYSTEM(GetParam());
    ASSERT_TRUE(fs::exists(kGuests));
    filesystem_ = std::make_unique<LoopFilesystem>(GetParam(), 3000);
    web_ = filesystem_->path() + "/web1";
    other_ = filesystem_->path() + "/web2";
    RunOptions patient;
    patient.timeout = std::chrono::minutes(10);
    for (const auto& [dir, packages] :
         {std::pair{web_, "perl binutils bash less"}, {other_, "perl binutils bash less python3-minimal"}}) {
      const auto made = run(
          {"bash", "-c", R"sh("$0" debian "$("$0" suite)" "$1" "$2")sh", kGuests, dir, packages}, patient);
      if (made.exit_code != 0) VS_SKIP(kNetwork) << "cannot make Debian guests here: " << shown(made);
    }
  }

  RunResult vunify(const std::string& verb, const Command& more = {}) const {
    Command command{vunify_path(), verb};
    command.insert(command.end(), more.begin(), more.end());
    command.insert(command.end(), {"--state", dir_ / "state", "--progress", "never", "--tree", "web1=" + web_,
                                   "--tree", "web2=" + other_});
    return run(command);
  }

  // A command of the guest's own, run inside.
  static RunResult inside(const std::string& guest, const Command& words) {
    Command command{"chroot",
                    guest,
                    "env",
                    "-i",
                    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                    "LC_ALL=C",
                    "DEBIAN_FRONTEND=noninteractive"};
    command.insert(command.end(), words.begin(), words.end());
    return run(command);
  }

  static void works(const std::string& guest) {
    const auto perl = inside(guest, {"perl", "-MPOSIX", "-e", "print POSIX::floor(42.9), \" \", $0"});
    EXPECT_EQ(perl.exit_code, 0) << shown(perl);
    EXPECT_THAT(perl.out, HasSubstr("42"));
    const auto bash =
        inside(guest, {"bash", "-c", "for i in 1 2 3; do echo $((i * i)); done | sort -r | head -n 1"});
    EXPECT_EQ(bash.out, "9\n") << shown(bash);
    const auto linker = inside(guest, {"ld", "--version"});
    EXPECT_EQ(linker.exit_code, 0) << shown(linker);
    // The guest's package manager finds every file as the package had it.
    const auto verified = inside(guest, {"dpkg", "--verify"});
    EXPECT_EQ(verified.exit_code, 0) << shown(verified);
    EXPECT_EQ(verified.out, "");
  }

  // The .deb of a package of web1, copied into it.
  std::string deb_inside(const std::string& package) const {
    const std::string deb = must_run({"bash", kGuests, "deb", web_, package});
    fs::copy_file(deb.substr(0, deb.find('\n')), web_ + "/tmp/package.deb",
                  fs::copy_options::overwrite_existing);
    return "/tmp/package.deb";
  }

  TempDir dir_;
  std::unique_ptr<LoopFilesystem> filesystem_;
  std::string web_, other_;
};

TEST_P(RealGuestTest, RunsReinstallsAndIsUnifiedAgain) {
  const bool seals = GetParam() == "ext4";
  const auto web = snapshot_of(web_), other = snapshot_of(other_);
  // What is as fresh as the copies just made is linked, but not trusted to be known the next time (kRacyNs).
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const auto first = vunify("run", {"--json"});
  ASSERT_EQ(first.exit_code, 0) << shown(first);
  EXPECT_GT(summary_number(first, "files_linked"), 5'000U);
  EXPECT_GT(summary_number(first, "bytes_saved"), 50'000'000U);
  EXPECT_EQ(difference_text(web, snapshot_of(web_), seals ? Links::may_merge : Links::exact), "");
  EXPECT_EQ(difference_text(other, snapshot_of(other_), seals ? Links::may_merge : Links::exact), "");
  works(web_);
  works(other_);
  const auto nightly = vunify("run", {"--json"});
  EXPECT_EQ(nightly.exit_code, 0) << shown(nightly);
  EXPECT_EQ(summary_number(nightly, "files_linked"), 0U) << shown(nightly);

  const std::string file = "/usr/lib/x86_64-linux-gnu/perl-base/POSIX.pm";
  const std::string deb = deb_inside("perl-base");
  const auto other_before = snapshot_of(other_);
  if (seals) {
    ASSERT_EQ(stat_of(web_ + file).st_ino, stat_of(other_ + file).st_ino);
    // Sealed, the upgrade is refused and harms nobody.
    EXPECT_THAT(inside(web_, {"dpkg", "-i", deb}).err, HasSubstr("Operation not permitted"));
    EXPECT_EQ(difference_text(other_before, snapshot_of(other_), Links::may_merge), "");
    const auto released = vunify("release", {"web1", "--package", "perl-base"});
    ASSERT_EQ(released.exit_code, 0) << shown(released);
    EXPECT_NE(stat_of(web_ + file).st_ino, stat_of(other_ + file).st_ino);
  }
  const auto installed = inside(web_, {"dpkg", "-i", deb});
  ASSERT_EQ(installed.exit_code, 0) << shown(installed);
  works(web_);
  EXPECT_EQ(difference_text(other_before, snapshot_of(other_), Links::may_merge), "");
  const auto again = vunify("run", {"--json"});
  ASSERT_EQ(again.exit_code, 0) << shown(again);
  EXPECT_GT(summary_number(again, "files_linked"), 20U) << shown(again);
  if (seals) {
    EXPECT_EQ(stat_of(web_ + file).st_ino, stat_of(other_ + file).st_ino);
  }
  works(web_);
  works(other_);
  const auto checked = vunify("check");
  EXPECT_EQ(checked.exit_code, 0) << shown(checked);
  EXPECT_EQ(difference_text(other_before, snapshot_of(other_), Links::may_merge), "");
}

TEST_P(RealGuestTest, IsWholeAgainAfterReleaseOfAll) {
  const auto web = snapshot_of(web_), other = snapshot_of(other_);
  ASSERT_EQ(vunify("run").exit_code, 0);
  const auto released = vunify("release", {"web1"});
  ASSERT_EQ(released.exit_code, 0) << shown(released);
  EXPECT_EQ(difference_text(web, snapshot_of(web_), Links::exact), "");
  // Everything in it can be replaced now, by the package manager of the guest.
  for (const char* package : {"dpkg", "less"}) {
    const auto installed = inside(web_, {"dpkg", "-i", deb_inside(package)});
    EXPECT_EQ(installed.exit_code, 0) << shown(installed);
  }
  if (GetParam() ==
      "ext4") {  // where extents are shared every file is its guest's own, there is nothing to undo
    const auto undone = vunify("undo", {"last"});
    EXPECT_EQ(undone.exit_code, 0) << shown(undone);
  }
  EXPECT_EQ(difference_text(other, snapshot_of(other_), Links::exact), "");
  EXPECT_EQ(vunify("gc").exit_code, 0);
  EXPECT_EQ(vunify("check").exit_code, 0);
}

INSTANTIATE_TEST_SUITE_P(Filesystems, RealGuestTest, testing::Values("ext4", "xfs"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace vs::test
