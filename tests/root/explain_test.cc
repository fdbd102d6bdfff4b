// explain says what really keeps a file from being shared, and what proves nothing is not shared.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string kFile = "usr/share/pkg/pkg-2", kOther = "usr/share/pkg/pkg-3";

HostOptions two_guests(const std::string& filesystem) {
  HostOptions options;
  options.filesystem = filesystem;
  options.guests = {"alpha", "beta"};
  options.packages = {shared_package("pkg", "usr/share/pkg", 4)};
  return options;
}

std::string explained(const TestHost& host, const std::string& path, const std::string& guest = "alpha") {
  const auto result = host.vunify("explain", {guest, path});
  EXPECT_EQ(result.exit_code, 0) << shown(result);
  return result.out;
}

uint64_t skipped(const RunResult& result, const std::string& reason) {
  std::istringstream lines(result.out);
  std::string line, last;
  while (std::getline(lines, line)) last = line;
  return nlohmann::json::parse(last)["skipped"].value(reason, uint64_t{0});
}

TEST(ExplainTest, NamesWhatDiffersAndFromWhose) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(two_guests("ext4"));
  const std::string file = host.guest("alpha") / kFile, theirs = host.guest("beta") / kFile;
  struct stat before {};
  ASSERT_EQ(::stat(theirs.c_str(), &before), 0);
  const std::string bytes = read_file(file);
  const auto differs = [&](const std::string& in) {
    EXPECT_THAT(explained(host, kFile),
                AllOf(HasSubstr("no_partner"), HasSubstr("differs from beta's: " + in)));
    // As it was.
    write_file(file, bytes);
    ::chown(file.c_str(), before.st_uid, before.st_gid) == 0 ? void() : ADD_FAILURE();
    ::chmod(file.c_str(), before.st_mode & 07777);
    ::removexattr(file.c_str(), "user.mine");
    set_mtime(file, before.st_mtim.tv_sec * 1'000'000'000 + before.st_mtim.tv_nsec);
    EXPECT_THAT(explained(host, kFile), HasSubstr("will_be_unified"));
  };
  ASSERT_EQ(::chown(file.c_str(), 5, 6), 0);
  differs("owner)");
  ::chmod(file.c_str(), 0600);
  differs("mode)");
  set_mtime(file, 1'500'000'000'000'000'000);
  differs("mtime)");
  ASSERT_EQ(::setxattr(file.c_str(), "user.mine", "x", 1, 0), 0);
  differs("attributes)");
  write_file(file, std::string(bytes.size(), 'x'));
  set_mtime(file, before.st_mtim.tv_sec * 1'000'000'000 + before.st_mtim.tv_nsec);
  differs("content)");
  ::chmod(file.c_str(), 0600);
  set_mtime(file, 1'500'000'000'000'000'000);
  differs("mode, mtime)");
}

// What cp -al makes of two trees.
TEST(ExplainTest, OneUnsealedInodeOfSeveralGuestsIsNamedAndCounted) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(two_guests("ext4"));
  for (const std::string& path : {kFile, std::string("home/user/both")}) {
    if (!fs::exists(host.guest("alpha") / path)) write_file(host.guest("alpha") / path, "both's");
    fs::remove(host.guest("beta") / path);
    fs::create_hard_link(host.guest("alpha") / path, host.guest("beta") / path);
  }
  const auto run = host.vunify("run", {"--json"});
  EXPECT_EQ(run.exit_code, 0) << shown(run);
  EXPECT_EQ(skipped(run, "shared_unsealed"), 2U) << shown(run);
  EXPECT_EQ(skipped(run, "no_partner"), 0U) << shown(run);
  EXPECT_THAT(explained(host, kFile),
              AllOf(HasSubstr("shared_unsealed"), HasSubstr("one inode with that of beta, and not sealed")));
  EXPECT_THAT(explained(host, "home/user/both"),
              AllOf(HasSubstr("excluded"), HasSubstr("one inode with that of beta, and not sealed")));
  EXPECT_THAT(host.vunify("report").out, HasSubstr("2 files are one inode of several guests without a seal"));
}

TEST(ExplainTest, FilesWhoseExtentsAreSharedAreUnified) {
  for (const char* type : {"xfs", "btrfs"}) {
    VS_NEEDS_FILESYSTEM(type);
    TestHost host(two_guests(type));
    EXPECT_THAT(explained(host, kOther), HasSubstr("will_be_unified")) << type;
    // What was written a moment ago is not remembered: the second run finds it older.
    for (int tries = 0; tries < 2; ++tries) {
      ::sleep(3);
      ASSERT_EQ(host.vunify("run").exit_code, 0);
    }
    EXPECT_THAT(explained(host, kOther),
                AllOf(HasSubstr("unified: its extents are shared"), Not(HasSubstr("will_be"))))
        << type;
  }
}

// The records of a package as `text` makes them of the right ones, in both guests; a file changed alike.
HostOptions with_md5sums(const std::function<std::string(const std::string&)>& text) {
  HostOptions options = two_guests("ext4");
  options.prepare = [text](const FakeGuest& guest) {
    const std::string sums = guest / "var/lib/dpkg/info/pkg.md5sums";
    write_file(sums, text(read_file(sums)));
    const std::string file = guest / kFile;
    const auto size = fs::file_size(file);
    write_file(file, std::string(size, 'p'));
    set_mtime(file, 1'600'000'000'123'456'789);
  };
  return options;
}

TEST(ExplainTest, DigestsWithOneBlankAreDigests) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(with_md5sums([](std::string text) {
    for (size_t at; (at = text.find("  ")) != std::string::npos;) text.replace(at, 2, " /");
    text.pop_back();  // the last newline
    return text;
  }));
  const auto run = host.vunify("run", {"--json"});
  EXPECT_EQ(run.exit_code, 0) << shown(run);
  EXPECT_EQ(skipped(run, "not_pristine"), 2U) << shown(run);
  EXPECT_THAT(explained(host, kFile), HasSubstr("not_pristine"));
  EXPECT_THAT(explained(host, kOther), HasSubstr("unified"));
}

TEST(ExplainTest, WithoutAUsableDigestNothingIsSharedAndEachNightEndsWell) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(with_md5sums([](const std::string& text) {
    std::string odd;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
      odd += (line.ends_with(kFile) ? "what is this" : line) + "\n";
    return odd;
  }));
  for (int night = 0; night < 2; ++night) {
    const auto run = host.vunify("run", {"--json"});
    EXPECT_EQ(run.exit_code, 0) << shown(run);
    EXPECT_EQ(skipped(run, "no_digest"), 2U) << shown(run);
    EXPECT_THAT(run.err, HasSubstr("beta: package database var/lib/dpkg/info/pkg.md5sums: line"));
  }
  EXPECT_EQ(host.vunify("run", {"-q"}).err, "");
  EXPECT_THAT(explained(host, kFile), HasSubstr("no_digest"));
  EXPECT_THAT(explained(host, kOther), HasSubstr("unified"));
  const auto status = host.vunify("status");
  EXPECT_EQ(status.exit_code, 0) << shown(status);
  EXPECT_THAT(status.out, HasSubstr("odd       alpha: package database var/lib/dpkg/info/pkg.md5sums: line"));
  EXPECT_THAT(host.vunify("status", {"--json"}).out, HasSubstr(R"("oddities":[{"guest":"alpha","count":1)"));
}

}  // namespace
}  // namespace vs::test
