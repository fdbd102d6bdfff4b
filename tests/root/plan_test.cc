// The plan is a pure function of what stands on the disk.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/crash/crash_host.h"

namespace vs::test {
namespace {

using testing::HasSubstr;

HostOptions larger_host(const std::string& filesystem) {
  HostOptions options = small_host(filesystem);
  options.mebibytes = 600;
  options.guests = {"alpha", "beta", "gamma", "delta"};
  for (int i = 0; i < 40; ++i)
    options.packages.push_back(
        shared_package(fmt::format("p{}", i), fmt::format("usr/share/p{}", i % 13), 12));
  return options;
}

TEST(PlanTest, IsTheSameForOneTwoAndEightThreads) {
  for (const char* type : {"ext4", "xfs"}) {
    VS_NEEDS_FILESYSTEM(type);
    TestHost host(larger_host(type));
    for (const char* scope : {"packages", "all"}) {
      std::string first;
      for (const char* jobs : {"-j1", "-j2", "-j8", "-j8"}) {
        remove_tree(host.state());  // the index remembers what one run learned
        const std::string file = host.scratch("plan");
        const auto planned = host.vunify("plan", {jobs, "--scope", scope, "-o", file});
        ASSERT_EQ(planned.exit_code, 0) << shown(planned);
        const std::string text = read_file(file);
        EXPECT_GT(std::count(text.begin(), text.end(), '\n'), 100);
        if (first.empty()) first = text;
        EXPECT_EQ(text, first) << type << " " << scope << " " << jobs;
        // With the index warm, too.
        ASSERT_EQ(host.vunify("plan", {jobs, "--scope", scope, "-o", file}).exit_code, 0);
        EXPECT_EQ(read_file(file), first) << type << " " << scope << " " << jobs << ", second time";
      }
    }
  }
}

TEST(PlanTest, ApplyDoesExactlyThePlan) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  const auto before = host.snapshots();
  const std::string file = host.scratch("plan");
  ASSERT_EQ(host.vunify("plan", {"-o", file}).exit_code, 0);
  EXPECT_EQ(host.sealed_names(), 0U);
  EXPECT_FALSE(std::filesystem::exists(host.store() + "/masters"));
  const auto tried = host.vunify("apply", {"-n", file});
  EXPECT_EQ(tried.exit_code, 0) << shown(tried);
  EXPECT_EQ(host.sealed_names(), 0U);
  const auto applied = host.vunify("apply", {file});
  ASSERT_EQ(applied.exit_code, 0) << shown(applied);
  EXPECT_EQ(host.sealed_names(), 36U);  // 3 guests, 12 names
  EXPECT_EQ(host.changes_since(before), "");
  // What is done is not done twice.
  const auto again = host.vunify("apply", {"--json", file});
  EXPECT_THAT(again.exit_code, testing::AnyOf(3, 4)) << shown(again);
  EXPECT_EQ(summary_number(again, "files_linked"), 0U);
  EXPECT_EQ(host.changes_since(before), "");
}

TEST(PlanTest, AStalePlanChangesNothing) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  const std::string file = host.scratch("plan");
  ASSERT_EQ(host.vunify("plan", {"-o", file}).exit_code, 0);
  // The tree is another one under the same path.
  std::filesystem::rename(host.guest("beta").root(), host.pool() + "/old");
  FakeGuest("beta", host.guest("beta").root(), host.guest("beta").packages());
  const auto before = host.snapshots();
  const auto applied = host.vunify("apply", {file});
  EXPECT_EQ(applied.exit_code, 4) << shown(applied);
  EXPECT_THAT(applied.err, HasSubstr("plan"));
  EXPECT_EQ(host.changes_since(before, Links::exact), "");
  EXPECT_EQ(host.sealed_names(), 0U);
}

// Trees that are named on the command line and are not the plan's.
TEST(PlanTest, ForOtherTreesThanThoseNamedIsRefused) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4")), other(small_host("ext4"));
  const std::string file = host.scratch("plan");
  ASSERT_EQ(other.vunify("plan", {"-o", file}).exit_code, 0);
  const auto before = host.snapshots();
  const auto applied = host.vunify("apply", {file});
  EXPECT_EQ(applied.exit_code, 4) << shown(applied);
  EXPECT_EQ(host.changes_since(before, Links::exact), "");
  EXPECT_EQ(host.sealed_names() + other.sealed_names(), 0U);
}

// The one file that changed is left alone, the rest of the plan is done.
TEST(PlanTest, AFileThatChangedAfterThePlanIsLeftAlone) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  const std::string file = host.scratch("plan"), duplicate = host.guest("beta") / "usr/share/one/one-2";
  ASSERT_EQ(host.vunify("plan", {"-o", file}).exit_code, 0);
  // As an attacker does it: same size, same mtime.
  const std::string bytes = tagged_bytes("guest=beta changed", std::filesystem::file_size(duplicate));
  write_file(duplicate, bytes);
  set_mtime(duplicate, 1'600'000'000'123'456'789);
  const auto before = host.snapshots();
  const auto applied = host.vunify("apply", {file});
  EXPECT_THAT(applied.exit_code, testing::AnyOf(0, 3)) << shown(applied);
  EXPECT_EQ(read_file(duplicate), bytes);
  EXPECT_EQ(host.changes_since(before), "");
  EXPECT_EQ(host.sealed_names(), 35U);
}

}  // namespace
}  // namespace vs::test
