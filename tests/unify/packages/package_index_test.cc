#include "unify/packages/package_index.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/unify/packages/guest_tree.h"
#include "unify/packages/recorded_dirs.h"
#include "unify/packages/trouble_log.h"

namespace vs::unify {
namespace {

const std::string kMd5A(16, '\xaa'), kMd5B(16, '\xbb');

class PackageIndexTest : public testing::Test {
 protected:
  uint32_t package(const std::string& name) {
    return builder_.add_package({name, "1", "amd64", "", PackageKind::dpkg});
  }
  bool add(const std::string& path, uint32_t owner, const std::string& md5 = kMd5A, uint8_t flags = 0) {
    return builder_.add_file(path, owner, md5.empty() ? DigestAlgorithm::none : DigestAlgorithm::md5, md5,
                             flags);
  }
  const PackageFile* find(const std::string& path) {
    index_ = std::move(builder_).build(guest_.root(), "test");
    builder_ = PackageIndexBuilder();
    return look_up(index_, guest_, path);
  }

  GuestTree guest_;
  PackageIndexBuilder builder_;
  PackageIndex index_;
};

TEST_F(PackageIndexTest, FindsAFileByTheInodeOfItsDirectory) {
  guest_.dir("usr/bin");
  add("/usr/bin/ls", package("coreutils"));
  const PackageFile* file = find("usr/bin/ls");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(index_.name(*file), "ls");
  EXPECT_EQ(index_.digest(*file), kMd5A);
  EXPECT_EQ(index_.packages()[file->package].name, "coreutils");
  EXPECT_EQ(index_.packages()[file->package].source, "coreutils")
      << "its own name where no source is recorded";
  EXPECT_EQ(index_.source(), "test");
  EXPECT_EQ(index_.find(index_.dir(guest_.ino("usr/bin")), "cat"), nullptr);
  EXPECT_TRUE(index_.dir(1).empty());
}

TEST_F(PackageIndexTest, ResolvesTheAliasesOfAMergedUsr) {
  VS_NEED_RESOLVE_IN_ROOT();
  guest_.dir("usr/bin");
  guest_.dir("usr/lib/x86_64-linux-gnu");
  guest_.symlink("usr/bin", "bin");
  guest_.symlink("/usr/lib", "lib");  // absolute: the guest's /usr/lib
  add("/bin/ls", package("coreutils"));
  add("/usr/bin/env", package("env"));
  add("/lib/x86_64-linux-gnu/libc.so.6", package("libc6"));
  ASSERT_NE(find("usr/bin/ls"), nullptr);
  EXPECT_NE(look_up(index_, guest_, "usr/bin/env"), nullptr);
  EXPECT_NE(look_up(index_, guest_, "usr/lib/x86_64-linux-gnu/libc.so.6"), nullptr);
}

TEST_F(PackageIndexTest, KnowsAFileRecordedByBothNamesOnce) {
  guest_.dir("usr/bin");
  guest_.symlink("usr/bin", "bin");
  const uint32_t owner = package("bash");
  add("/bin/sh", owner);
  add("/usr/bin/sh", owner, kMd5A, kConfig);
  const PackageFile* file = find("usr/bin/sh");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(index_.file_count(), 1u);
  EXPECT_EQ(file->flags, kConfig);
}

TEST_F(PackageIndexTest, NeverLooksOutsideTheGuest) {
  TempDir outside;
  guest_.symlink(outside.path(), "usr/escape");
  guest_.symlink("../../../../../../../../..", "usr/up");
  guest_.symlink("usr/loop", "usr/loop");
  const uint32_t owner = package("evil");
  add("/usr/escape/a", owner);
  add("/usr/up" + outside.path() + "/b", owner);
  add("/usr/loop/c", owner);
  find("usr");
  struct ::stat stat;
  ASSERT_EQ(::stat(outside.path().c_str(), &stat), 0);
  EXPECT_TRUE(index_.dir(stat.st_ino).empty());
  EXPECT_EQ(index_.file_count(), 0u);
}

TEST_F(PackageIndexTest, LeavesOutWhatLiesOnAnotherMount) {
  // /proc is the mount that exists everywhere: its root has inode 1.
  PackageIndexBuilder builder;
  builder.add_file("/proc/version", builder.add_package({"x", "1", "a", "", PackageKind::dpkg}),
                   DigestAlgorithm::none, {}, 0);
  const PackageIndex index = std::move(builder).build(RootDir("/"), "test");
  EXPECT_EQ(index.file_count(), 0u);
}

TEST_F(PackageIndexTest, RefusesPathsThatCannotNameAFileBelowTheRoot) {
  const uint32_t owner = package("evil");
  using namespace std::string_literals;
  for (const std::string& path :
       {"/../etc/shadow"s, "/usr/../../etc/shadow"s, ".."s, "/usr/.."s, "/usr/."s, ""s, "/"s, "/usr/"s,
        "/a\0b"s, "/a\0b/c"s, fmt::format("/{:n>256}", ""), fmt::format("/{:d>256}/f", "")})
    EXPECT_FALSE(add(path, owner)) << path;
  std::string deep;
  for (uint32_t i = 0; i <= RecordedDirs::kMaxDepth; ++i) deep += "/d";
  EXPECT_FALSE(add(deep + "/f", owner));
  EXPECT_TRUE(add(deep, owner)) << "64 directories are allowed";
  EXPECT_FALSE(add("/f", owner + 1)) << "no such package";
  EXPECT_FALSE(add("/f", owner, "short digest"));
}

TEST_F(PackageIndexTest, TakesAnyOtherBytesInNames) {
  guest_.dir("a\nb");
  EXPECT_TRUE(add("/a\nb/c\x1b[2J\xff", package("p")));
  EXPECT_NE(find("a\nb/c\x1b[2J\xff"), nullptr);
}

TEST_F(PackageIndexTest, TakesEachSpellingOfADirectoryAsOne) {
  guest_.dir("usr/lib");
  const uint32_t owner = package("p");
  add("usr/lib/a", owner);
  add("//usr///lib/./b", owner);
  add("./usr/lib//c", owner);
  find("usr/lib/a");
  EXPECT_EQ(index_.dir(guest_.ino("usr/lib")).size(), 3u);
}

TEST_F(PackageIndexTest, ListsADirectorySortedByName) {
  guest_.dir("d");
  const uint32_t owner = package("p");
  for (const char* name : {"zeta", "alpha", "beta", "Alpha", "alpha.1", "\xff"})
    add(std::string("d/") + name, owner);
  find("d/alpha");
  std::vector<std::string> names;
  for (const PackageFile& file : index_.dir(guest_.ino("d"))) names.emplace_back(index_.name(file));
  EXPECT_THAT(names, testing::ElementsAre("Alpha", "alpha", "alpha.1", "beta", "zeta", "\xff"));
  for (const std::string& name : names) EXPECT_NE(look_up(index_, guest_, "d/" + name), nullptr) << name;
}

TEST_F(PackageIndexTest, MarksDifferingDigestsOfTwoPackagesAmbiguous) {
  add("/f", package("a"), kMd5A);
  add("/f", package("b"), kMd5B);
  EXPECT_EQ(find("f")->flags, kAmbiguous);
}

TEST_F(PackageIndexTest, AcceptsEqualDigestsOfTwoPackages) {
  add("/f", package("libc6"), kMd5A);
  add("/f", package("libc6"), kMd5A);
  EXPECT_EQ(find("f")->flags, 0);
}

TEST_F(PackageIndexTest, MarksAFileAmbiguousWhenOnlyOneOfTwoPackagesHasADigest) {
  add("/f", package("a"), kMd5A);
  add("/f", package("b"), "");
  EXPECT_EQ(find("f")->flags, kAmbiguous);
}

TEST_F(PackageIndexTest, TakesTheDigestFromTheLaterEntryOfTheSamePackage) {
  const uint32_t owner = package("a");
  add("/f", owner, "", kConfig);
  add("/f", owner, kMd5A);
  const PackageFile* file = find("f");
  EXPECT_EQ(index_.digest(*file), kMd5A);
  EXPECT_EQ(file->flags, kConfig);
}

TEST_F(PackageIndexTest, LetsANotNormalEntryYieldToANormalOneInAnyOrder) {
  const uint32_t normal = package("normal"), replaced = package("replaced");
  add("/f", replaced, kMd5B, kNotNormal);
  add("/f", normal, kMd5A);
  add("/g", normal, kMd5A);
  add("/g", replaced, kMd5B, kNotNormal | kConfig);
  const PackageFile* f = find("f");
  const PackageFile* g = look_up(index_, guest_, "g");
  EXPECT_EQ(f->package, normal);
  EXPECT_EQ(index_.digest(*f), kMd5A);
  EXPECT_EQ(f->flags, 0);
  EXPECT_EQ(g->package, normal);
  EXPECT_EQ(g->flags, kConfig) << "what is true of the path stays";
}

TEST_F(PackageIndexTest, KeepsNotNormalWhereNobodyIsNormal) {
  add("/f", package("a"), kMd5A, kNotNormal);
  add("/f", package("b"), kMd5A, kNotNormal);
  EXPECT_EQ(find("f")->flags, kNotNormal);
}

TEST_F(PackageIndexTest, AppliesFlagsToOwnedPathsOnlyAndThroughAliases) {
  VS_NEED_RESOLVE_IN_ROOT();
  guest_.dir("usr/bin");
  guest_.symlink("usr/bin", "bin");
  EXPECT_TRUE(builder_.add_flags("/bin/sh", kDiverted));
  EXPECT_TRUE(builder_.add_flags("/bin/unowned", kDiverted));
  EXPECT_FALSE(builder_.add_flags("/../x", kDiverted));
  add("/usr/bin/sh", package("dash"));
  builder_.add_flags("/bin/sh", kOverridden);
  const PackageFile* file = find("usr/bin/sh");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->flags, kDiverted | kOverridden);
  EXPECT_EQ(index_.file_count(), 1u);
}

// Each can cost the kernel milliseconds. What is not known of some is not guessed of the others.
TEST_F(PackageIndexTest, LooksUpSoManySymlinksAndNoMore) {
  VS_NEED_RESOLVE_IN_ROOT();
  guest_.dir("usr/target");
  guest_.dir("usr/plain/sub");
  const auto with_links = [&](size_t count) {
    const uint32_t owner = package("links");
    for (size_t i = 0; i < count; ++i) {
      const std::string name = fmt::format("usr/link-{}", i);
      if (!std::filesystem::is_symlink(guest_.path(name))) guest_.symlink("target", name);
      add("/" + name + "/file", owner);
    }
    add("/usr/plain/sub/file", owner);
    return find("usr/plain/sub/file");
  };
  EXPECT_NE(with_links(RecordedDirs::kMaxLinks), nullptr);
  EXPECT_FALSE(index_.unknown());
  EXPECT_NE(look_up(index_, guest_, "usr/target/file"), nullptr);
  with_links(RecordedDirs::kMaxLinks + 1);
  EXPECT_TRUE(index_.unknown() && index_.too_many_links());
}

TEST_F(PackageIndexTest, CopesWithManyDirectories) {
  // Beyond the first table and the first block of names.
  const uint32_t owner = package("many");
  for (int i = 0; i < 20000; ++i)
    ASSERT_TRUE(add(fmt::format("/usr/share/package-number-{}/sub/f", i), owner));
  guest_.dir("usr/share/package-number-19999/sub");
  EXPECT_NE(find("usr/share/package-number-19999/sub/f"), nullptr);
  EXPECT_EQ(index_.file_count(), 1u);
}

TEST_F(PackageIndexTest, SaysWhichDatabasesItCannotRead) {
  guest_.file("lib/apk/db/installed");
  std::vector<PackageTrouble> troubles;
  const PackageIndex index = load_packages(guest_.root(), std::nullopt, troubles);
  EXPECT_EQ(index.source(), "none (apk: not read by this version)");
  EXPECT_TRUE(index.empty());
  EXPECT_TRUE(troubles.empty()) << all(troubles);
}

TEST_F(PackageIndexTest, SaysNoneForAnEmptyTree) {
  std::vector<PackageTrouble> troubles;
  EXPECT_EQ(load_packages(guest_.root(), std::nullopt, troubles).source(), "none");
  EXPECT_TRUE(troubles.empty()) << all(troubles);
}

TEST(TroubleLogTest, ListsAFewTroublesOfAFileAndEscapesWhatItQuotes) {
  std::vector<PackageTrouble> troubles;
  TroubleLog log(troubles);
  const std::string text = "good\n\x1b[2Jbad\n";
  for (int i = 0; i < 1000; ++i)
    log.add_line("var/lib/\nx", text, std::string_view(text).substr(5, 7), "something");
  ASSERT_EQ(troubles.size(), TroubleLog::kMaxPerFile + 1);
  EXPECT_EQ(troubles[0].file, "var/lib/\\nx");
  EXPECT_EQ(troubles[0].detail, "line 2: expected something, found \"\\x1b[2Jbad\"");
  EXPECT_EQ(troubles.back().detail, "more troubles with this file are not listed");
  for (int i = 0; i < 5000; ++i) log.add("file " + std::to_string(i), "x");
  EXPECT_EQ(troubles.size(), TroubleLog::kMaxInAll);
}

}  // namespace
}  // namespace vs::unify
