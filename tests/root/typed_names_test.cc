// What people type for files, packages and guests means the same to every verb, and what is nowhere is said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/inject.h"
#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

// Three unified guests with a merged /usr.
class TypedNamesTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_FILESYSTEM("ext4");
    HostOptions options;
    options.packages = {shared_package("pkg", "usr/share/pkg", 4),
                        shared_package("other", "usr/share/other", 2)};
    options.packages[0].files.push_back({"usr/bin/tool", tagged_bytes("tool", 9000), 0755});
    host_ = std::make_unique<TestHost>(options);
    ASSERT_EQ(host_->vunify("run").exit_code, 0);
    ASSERT_TRUE(sealed("usr/bin/tool"));
  }
  bool sealed(const std::string& path) const { return is_immutable(host_->guest("alpha") / path); }
  // What this release gave back is shared again.
  RunResult release(const Command& what) const {
    Command more{"alpha"};
    more.insert(more.end(), what.begin(), what.end());
    return host_->vunify("release", more);
  }
  std::unique_ptr<TestHost> host_;
};

TEST_F(TypedNamesTest, ReleaseTakesAPathInEachWayToWriteIt) {
  for (const std::string& typed :
       {std::string("/bin/tool"), std::string("./usr/bin/tool"), std::string("usr//bin/tool"),
        std::string("/bin"), host_->guest("alpha") / "usr/bin/tool"}) {
    const auto dry = release({"-n", typed});
    EXPECT_THAT(dry.out, HasSubstr("would release usr/bin/tool")) << typed << shown(dry);
    const auto released = release({typed});
    EXPECT_EQ(released.exit_code, 0) << shown(released);
    EXPECT_FALSE(sealed("usr/bin/tool")) << typed << shown(released);
    EXPECT_TRUE(sealed("usr/share/pkg/pkg-0"));
    ASSERT_EQ(host_->vunify("run").exit_code, 0);
    ASSERT_TRUE(sealed("usr/bin/tool"));
  }
}

TEST_F(TypedNamesTest, WhatIsNowhereIsSaidByName) {
  for (const Command& typed : {Command{"/usr/bin/none"}, Command{"--package", "none"},
                               Command{"--package", "pkg:mips"}, Command{"-n", "/usr/bin/none", "/none"}}) {
    const auto nothing = release(typed);
    EXPECT_EQ(nothing.exit_code, 2) << shown(nothing);
    EXPECT_THAT(nothing.err, HasSubstr(typed.back()));
  }
  EXPECT_EQ(host_->sealed_names(), 3U * 7U);
  const auto some = release({"/usr/bin/none", "/bin/tool"});
  EXPECT_EQ(some.exit_code, 3) << shown(some);
  EXPECT_THAT(some.err, HasSubstr("/usr/bin/none"));
  EXPECT_FALSE(sealed("usr/bin/tool"));
  // There, and the guest's own: nothing to do, and a word about it.
  for (const Command& typed : {Command{"/bin/tool"}, Command{"/etc/hostname"}}) {
    const auto own = release(typed);
    EXPECT_EQ(own.exit_code, 0) << shown(own);
    EXPECT_THAT(own.err, HasSubstr("nothing shared is at or below " + typed.back()));
  }
}

TEST_F(TypedNamesTest, APackageMayBeTypedWithItsArchitecture) {
  // dpkg's records of the fake guests say "all" or "amd64": the one that check prints.
  std::string arch;
  std::istringstream status(read_file(host_->guest("alpha") / "var/lib/dpkg/status"));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("Architecture: ")) arch = line.substr(14);
  const auto report = host_->vunify("report", {"--json", "--package", "pkg:" + arch, "--package", "none"});
  EXPECT_EQ(report.exit_code, 3) << shown(report);
  EXPECT_THAT(report.err, HasSubstr("none"));
  EXPECT_THAT(report.out, HasSubstr(R"("masters":5)"));
  const auto zero = host_->vunify("report", {"--package", "pkg:mips"});
  EXPECT_EQ(zero.exit_code, 2) << shown(zero);
  EXPECT_THAT(zero.err, HasSubstr("pkg:mips"));
  const auto released = release({"--package", "pkg:" + arch});
  EXPECT_EQ(released.exit_code, 0) << shown(released);
  EXPECT_EQ(host_->sealed_names(), 3U * 7U - 5U);
}

TEST_F(TypedNamesTest, ExplainTakesAPathInEachWayToWriteIt) {
  const auto explained =
      host_->vunify("explain", {"alpha", "/bin/tool", ".//usr/bin/tool", host_->guest("alpha") / "bin/tool"});
  EXPECT_EQ(explained.exit_code, 0) << shown(explained);
  size_t lines = 0;
  std::istringstream out(explained.out);
  for (std::string line; std::getline(out, line); ++lines)
    EXPECT_THAT(line, HasSubstr("alpha:usr/bin/tool: unified"));
  EXPECT_EQ(lines, 3U);
}

// The row of a guest, as JSON, without what is the row of others.
std::string guest_row(const RunResult& report, const std::string& name) {
  std::istringstream out(report.out);
  for (std::string line; std::getline(out, line);)
    if (const auto json = nlohmann::json::parse(line); json["type"] == "guest" && json["name"] == name)
      return line;
  return "no row of " + name;
}

nlohmann::json pool_row(const RunResult& report) {
  std::istringstream out(report.out);
  for (std::string line; std::getline(out, line);)
    if (auto json = nlohmann::json::parse(line); json["type"] == "pool") {
      json.erase("time");
      return json;
    }
  return {};
}

TEST_F(TypedNamesTest, AReportOfOneGuestShowsTheFiguresOfTheWholeReport) {
  const auto whole = host_->vunify("report", {"--json"}), one = host_->vunify("report", {"--json", "beta"});
  ASSERT_EQ(one.exit_code, 0) << shown(one);
  EXPECT_EQ(guest_row(one, "beta"), guest_row(whole, "beta"));
  EXPECT_EQ(guest_row(one, "alpha"), "no row of alpha");
  EXPECT_EQ(pool_row(one), pool_row(whole));
  EXPECT_GT(pool_row(one)["saved"].get<uint64_t>(), 0U);
  EXPECT_EQ(summary_number(one, "bytes_saved"), summary_number(whole, "bytes_saved"));
}

}  // namespace
}  // namespace vs::test
