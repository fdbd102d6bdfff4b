// What the guard reflink shares, and with whom; and what it calls saved.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

using testing::HasSubstr;

// Guests with one package, tool; the shell does `script` in its directory of those in `changed`.
HostOptions with_changed(const std::string& filesystem, std::vector<std::string> guests, FakePackage tool,
                         const std::set<std::string>& changed, const std::string& script) {
  HostOptions options;
  options.filesystem = filesystem;
  options.guests = std::move(guests);
  options.packages = {std::move(tool)};
  options.prepare = [changed, script](const FakeGuest& guest) {
    if (changed.contains(guest.name()))
      must_run({"sh", "-c", "cd \"$1\" && " + script, "sh", guest / "usr/share/tool"});
  };
  return options;
}

// The files of alpha (the first, so the donor) and, with `also`, of another guest are NOCOW.
HostOptions with_nocow(const std::string& also) {
  return with_changed(
      "btrfs", {"alpha", "beta", "delta", "gamma"}, shared_package("tool", "usr/share/tool", 8),
      {"alpha", also},
      "for f in tool-*; do : > n && chattr +C n && cat $f > n && touch -r $f n && mv n $f; done");
}

TEST(ReflinkDonorTest, OneGuestKeepsNobodyElseFromSharing) {
  VS_NEEDS_FILESYSTEM("btrfs");
  TestHost alone(with_nocow("")), two(with_nocow("gamma"));
  std::this_thread::sleep_for(
      std::chrono::milliseconds(2500));  // what is younger is not remembered as shared
  const auto first = alone.vunify("run", {"--json"});
  EXPECT_EQ(first.exit_code, 0) << shown(first);
  const uint64_t three = summary_number(first, "files_linked");
  EXPECT_GT(three, 3u) << "of beta, gamma and delta";
  EXPECT_EQ(summary_number(alone.vunify("run", {"--json"}), "files_linked"), 0u) << "once is enough";

  const auto both = two.vunify("run", {"--json"});
  EXPECT_EQ(both.exit_code, 0) << shown(both);
  EXPECT_EQ(summary_number(both, "files_linked"), three)
      << "two of one kind and two of the other, less two donors";
  EXPECT_EQ(summary_number(two.vunify("run", {"--json"}), "files_linked"), 0u);
}

class ReflinkSavingTest : public testing::TestWithParam<std::string> {};

// Copies are saved, on disk; what a clone shares already is not.
TEST_P(ReflinkSavingTest, IsWhatWasNotSharedBefore) {
  VS_NEEDS_FILESYSTEM(GetParam());
  FakePackage package;
  package.name = "tool";
  for (int i = 0; i < 4; ++i)
    package.files.push_back(
        {"usr/share/tool/tool-" + std::to_string(i), tagged_bytes("tool" + std::to_string(i), 40'000)});
  TestHost host(with_changed(
      GetParam(), {"alpha", "beta", "gamma"}, package, {"gamma"},
      "for f in tool-*; do cp -p --reflink=always ../../../../alpha/usr/share/tool/$f $f; done"));
  std::this_thread::sleep_for(std::chrono::milliseconds(2500));
  const auto planned = host.vunify("run", {"-n"});
  EXPECT_THAT(planned.out, HasSubstr("saving 163.8 kB")) << "what the run saves";
  const auto ran = host.vunify("run", {"--json"});
  EXPECT_EQ(summary_number(ran, "files_linked"), 2 * 4u) << shown(ran);
  EXPECT_EQ(summary_number(ran, "bytes_saved"), 4 * 40'960u) << "of beta: ten blocks each; gamma is a clone";
  EXPECT_THAT(read_file(host.state() + "/history.jsonl"), HasSubstr("\"bytes_saved_total\":320000,"))
      << "of beta and gamma, whoever made them share";
  EXPECT_EQ(summary_number(host.vunify("run", {"--json"}), "files_linked"), 0u);
  const std::string history = read_file(host.state() + "/history.jsonl");
  EXPECT_THAT(history.substr(history.find('\n')), HasSubstr("\"bytes_saved_total\":320000,"))
      << "they still do";
}

// Guests with id ranges of their own: as SECURITY.md says, bytes are shared, and each keeps what else it has.
TEST_P(ReflinkSavingTest, FilesOfOtherOwnersTimesAndModesShareTheirBytes) {
  VS_NEEDS_FILESYSTEM(GetParam());
  TestHost host(
      with_changed(GetParam(), {"alpha", "beta"}, shared_package("tool", "usr/share/tool", 8), {"beta"},
                   "chown 100000:100000 tool-* && touch -d @1000000000 tool-* && setfattr -n user.x -v y "
                   "tool-1"));
  const auto before = host.snapshots();
  const auto ran = host.vunify("run", {"--json"});
  EXPECT_EQ(ran.exit_code, 0) << shown(ran);
  EXPECT_GT(summary_number(ran, "bytes_saved"), 0u) << shown(ran);
  EXPECT_EQ(host.changes_since(before), "");
  const auto explained = host.vunify("explain", {"beta", "/usr/share/tool/tool-1"});
  EXPECT_THAT(explained.out, testing::Not(HasSubstr("no_partner"))) << shown(explained);
}

INSTANTIATE_TEST_SUITE_P(Filesystems, ReflinkSavingTest, testing::Values("xfs", "btrfs"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace vs::test
