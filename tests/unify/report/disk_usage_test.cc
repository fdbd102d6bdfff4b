#include "unify/report/disk_usage.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/unique_fd.h"
#include "tests/support/deep_tree.h"
#include "tests/support/skip.h"

namespace vs::unify {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kFile = 8192;  // content of a test file

bool set_immutable(const fs::path& file, bool on) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  int flags = 0;
  if (!fd || ::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return false;
  flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  return ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags) == 0;
}

class DiskUsageTest : public testing::Test {
 protected:
  void SetUp() override {
    // Beside the build, not in /tmp: a tmpfs knows no immutable attribute.
    std::string name = std::string(VS_BINARY_DIR) + "/vduXXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    top_ = name;
    for (const char* tree : {"a", "b", "outside"}) fs::create_directory(top_ / tree);
  }
  void TearDown() override {
    for (const fs::path& file : sealed_) set_immutable(file, false);
    fs::current_path("/");
    // Deeper than PATH_MAX: rm can, std::filesystem cannot.
    EXPECT_EQ(std::system(("rm -rf '" + top_.string() + "'").c_str()), 0);
  }

  void make_file(const fs::path& name) { std::ofstream(top_ / name) << std::string(kFile, 'x'); }
  void link(const fs::path& from, const fs::path& to) { fs::create_hard_link(top_ / from, top_ / to); }
  bool seal(const fs::path& name) {
    sealed_.push_back(top_ / name);
    return set_immutable(top_ / name, true);
  }
  uint64_t blocks(const fs::path& name) const {
    struct stat found {};
    EXPECT_EQ(::lstat((top_ / name).c_str(), &found), 0);
    return static_cast<uint64_t>(found.st_blocks) * 512;
  }
  DiskUsage count(const std::vector<std::string>& names) {
    std::vector<std::string> trees;
    for (const std::string& name : names) trees.push_back((top_ / name).string());
    return disk_usage(trees, [this](const Problem& problem) { problems_.push_back(problem.message); });
  }
  std::string refusal(const std::vector<std::string>& names) {
    try {
      count(names);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::usage);
      return error.what();
    }
    return "not refused";
  }

  fs::path top_;
  std::vector<fs::path> sealed_;
  std::vector<std::string> problems_;
};

void expect_consistent(const Usage& usage) {
  EXPECT_EQ(usage.on_disk, usage.shared + usage.exclusive);
  EXPECT_EQ(usage.inodes, usage.inodes_shared + usage.inodes_exclusive);
}

uint64_t du(const std::string& options, const fs::path& dir) {
  FILE* out = ::popen(("du -sx -B1 " + options + " '" + dir.string() + "'").c_str(), "r");
  unsigned long long bytes = 0;
  EXPECT_EQ(std::fscanf(out, "%llu", &bytes), 1);
  ::pclose(out);
  return bytes;
}

TEST_F(DiskUsageTest, OneTreeIsWhatDuSays) {
  fs::create_directories(top_ / "a/x/y/z");
  make_file("a/x/one");
  make_file("a/x/y/two");
  link("a/x/one", "a/x/y/again");
  link("a/x/one", "outside/elsewhere");
  fs::create_symlink(std::string(200, 's'), top_ / "a/x/symlink");
  const Usage usage = count({"a"}).trees[0].usage;
  EXPECT_EQ(usage.on_disk, du("", top_ / "a"));
  EXPECT_EQ(usage.apparent, 2 * kFile + 200);
  EXPECT_EQ(usage.names, 8u);
  EXPECT_EQ(usage.inodes, 7u);
  expect_consistent(usage);
}

TEST_F(DiskUsageTest, AFileWithAllItsNamesInTheTreeIsExclusive) {
  make_file("a/one");
  link("a/one", "a/two");
  const Usage usage = count({"a"}).trees[0].usage;
  EXPECT_EQ(usage.exclusive, blocks("a/one") + blocks("a"));
  EXPECT_EQ(usage.shared, 0u);
}

TEST_F(DiskUsageTest, AFileWithANameOutsideIsSharedInTheTotalToo) {
  make_file("a/one");
  link("a/one", "outside/one");
  const DiskUsage result = count({"a", "b"});
  EXPECT_EQ(result.trees[0].usage.shared, blocks("a/one"));
  EXPECT_EQ(result.total.shared, blocks("a/one"));
}

TEST_F(DiskUsageTest, AFileInTwoTreesIsSharedInEachAndExclusiveInTheTotal) {
  make_file("a/one");
  link("a/one", "a/two");
  link("a/one", "b/one");
  const DiskUsage result = count({"a", "b"});
  for (const TreeUsage& tree : result.trees) {
    EXPECT_EQ(tree.usage.shared, blocks("a/one"));
    EXPECT_EQ(tree.usage.inodes_shared, 1u);
    expect_consistent(tree.usage);
  }
  EXPECT_EQ(result.total.exclusive, blocks("a/one") + blocks("a") + blocks("b"));
  EXPECT_EQ(result.total.inodes, 3u);
  EXPECT_EQ(result.total.names, 5u);
  expect_consistent(result.total);
}

TEST_F(DiskUsageTest, TheOrderOfTheTreesDoesNotMatter) {
  make_file("a/one");
  link("a/one", "b/one");
  make_file("b/own");
  link("b/own", "outside/own");
  const DiskUsage there = count({"a", "b"}), back = count({"b", "a"});
  EXPECT_EQ(there.trees[0].usage.exclusive, back.trees[1].usage.exclusive);
  EXPECT_EQ(there.trees[1].usage.shared, back.trees[0].usage.shared);
  EXPECT_EQ(there.total.on_disk, back.total.on_disk);
  EXPECT_EQ(there.total.shared, back.total.shared);
}

TEST_F(DiskUsageTest, TheStoresNameOfASealedFileIsNoHolder) {
  make_file("outside/master");
  link("outside/master", "a/one");
  link("outside/master", "a/two");
  if (!seal("outside/master")) VS_SKIP(kFilesystem) << "cannot set the immutable attribute here";
  EXPECT_EQ(count({"a"}).trees[0].usage.shared, 0u);
  EXPECT_EQ(count({"a"}).total.exclusive, blocks("a/one") + blocks("a"));
}

TEST_F(DiskUsageTest, ASealedFileThatAnotherGuestHoldsIsShared) {
  make_file("outside/master");
  link("outside/master", "a/one");
  link("outside/master", "b/one");
  if (!seal("outside/master")) VS_SKIP(kFilesystem) << "cannot set the immutable attribute here";
  EXPECT_EQ(count({"a"}).trees[0].usage.shared, blocks("a/one"));
  const DiskUsage result = count({"a", "b"});
  EXPECT_EQ(result.trees[0].usage.shared, blocks("a/one"));
  EXPECT_EQ(result.trees[1].usage.shared, blocks("a/one"));
  EXPECT_EQ(result.total.shared, 0u);
}

TEST_F(DiskUsageTest, AnImmutableFileWhoseNamesAreAllInTheTreesHasNoneInAStore) {
  make_file("a/one");
  link("a/one", "b/one");
  make_file("b/two");
  link("b/two", "b/three");
  if (!seal("a/one") || !seal("b/two")) VS_SKIP(kFilesystem) << "cannot set the immutable attribute here";
  const DiskUsage result = count({"a", "b"});
  EXPECT_EQ(result.trees[0].usage.shared, blocks("a/one"));
  EXPECT_EQ(result.trees[1].usage.shared, blocks("a/one"));
  EXPECT_EQ(result.trees[1].usage.exclusive, blocks("b/two") + blocks("b"));
  EXPECT_EQ(result.total.shared, 0u);
  for (const TreeUsage& tree : result.trees) expect_consistent(tree.usage);
  expect_consistent(result.total);
}

TEST_F(DiskUsageTest, SymlinksAreNotFollowed) {
  make_file("outside/big");
  fs::create_directory_symlink(top_ / "outside", top_ / "a/way");
  fs::create_symlink(top_ / "outside/big", top_ / "a/file");
  EXPECT_EQ(count({"a"}).trees[0].usage.inodes, 3u);
  EXPECT_THAT(refusal({"a/way"}), HasSubstr("is a symbolic link"));
}

TEST_F(DiskUsageTest, OverlappingTreesAreRefusedByName) {
  fs::create_directories(top_ / "a/x/y");
  EXPECT_THAT(refusal({"a", "a/x/y"}), HasSubstr("a/x/y, inside"));
  EXPECT_THAT(refusal({"a/x/y", "a"}), HasSubstr("a/x/y, inside"));
  EXPECT_THAT(refusal({"a", "b", "a"}), HasSubstr("are one directory"));
}

TEST_F(DiskUsageTest, AMissingTreeIsRefusedByName) {
  EXPECT_THAT(refusal({"a", "missing"}), HasSubstr("missing: No such file"));
}

TEST_F(DiskUsageTest, NamesOfAnyBytesAndOfTheGreatestLengthAreCounted) {
  const std::string long_name(255, '\xff');
  fs::create_directory(top_ / "a/new\nline");
  fs::create_directory(top_ / "a/new\nline" / long_name);
  make_file(fs::path("a/new\nline") / long_name / "\x1b[31m");
  EXPECT_EQ(count({"a"}).trees[0].usage.inodes, 4u);
  EXPECT_THAT(problems_, IsEmpty());
}

// A directory at each level besides the one that goes deeper, so that the walk must come back to every level.
void make_deep(const fs::path& top, int depth) {
  UniqueFd dir(::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < depth; ++i) {
    for (const char* name : {"deeper-than-path-max", "left", "right"})
      ASSERT_EQ(::mkdirat(dir.get(), name, 0755), 0);
    dir.reset(::openat(dir.get(), "deeper-than-path-max", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(dir);
  }
}

TEST_F(DiskUsageTest, TreesDeeperThanPathMaxAreCountedWhole) {
  make_deep(top_ / "a", 500);
  EXPECT_EQ(count({"a"}).trees[0].usage.inodes, 1501u);
  EXPECT_THAT(problems_, IsEmpty());
}

TEST_F(DiskUsageTest, TreesOfAnyDepthNeedFewDescriptors) {
  test::make_nested(top_ / "a");
  const test::FewDescriptors few;
  EXPECT_EQ(count({"a"}).trees[0].usage.inodes, test::kDeep + test::kDeep / 100 + 1);
  EXPECT_THAT(problems_, IsEmpty());
}

TEST_F(DiskUsageTest, ThereMayBeMoreTreesThanDescriptors) {
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) names.push_back("a/" + std::to_string(i));
  for (const std::string& name : names) fs::create_directory(top_ / name);
  rlimit before{}, few{50, 50};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  few.rlim_max = before.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  EXPECT_EQ(count(names).total.inodes, 100u);
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(DiskUsageTest, OtherMountsAreLeftOut) {
  fs::create_directory(top_ / "a/mnt");
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("none", (top_ / "a/mnt").c_str(), "tmpfs", 0, nullptr) != 0)
    VS_SKIP(kRoot) << "cannot mount here";
  make_file("a/mnt/file");
  ::mkdir((top_ / "b/bind").c_str(), 0755);
  EXPECT_EQ(::mount((top_ / "outside").c_str(), (top_ / "b/bind").c_str(), nullptr, MS_BIND, nullptr), 0);
  make_file("outside/file");
  EXPECT_EQ(count({"a"}).trees[0].usage.inodes, 1u);
  EXPECT_EQ(count({"b"}).trees[0].usage.inodes, 1u);  // the same filesystem, but not this tree
  EXPECT_EQ(count({"a/mnt"}).trees[0].usage.inodes, 2u);
  EXPECT_EQ(::umount((top_ / "a/mnt").c_str()), 0);
  EXPECT_EQ(::umount((top_ / "b/bind").c_str()), 0);
  EXPECT_THAT(problems_, IsEmpty());
}

// Permissions mean nothing to root.
struct AsNobody {
  AsNobody() : root(::geteuid() == 0) { EXPECT_EQ(root ? ::seteuid(65534) : 0, 0); }
  ~AsNobody() { EXPECT_EQ(root ? ::seteuid(0) : 0, 0); }
  bool root;
};

TEST_F(DiskUsageTest, AnUnreadableDirectoryIsNamedAndTheRestCounted) {
  fs::create_directory(top_ / "a/closed");
  make_file("a/closed/secret");
  make_file("a/open");
  fs::permissions(top_ / "a/closed", fs::perms::none);
  fs::permissions(top_, fs::perms(0755));
  fs::current_path(top_);  // the way here may be closed to nobody
  const AsNobody nobody;
  const DiskUsage result =
      disk_usage({"a"}, [this](const Problem& problem) { problems_.push_back(problem.message); });
  EXPECT_EQ(result.trees[0].usage.inodes, 3u);
  EXPECT_EQ(result.problems, 1u);
  ASSERT_THAT(problems_, SizeIs(1));
  EXPECT_THAT(problems_[0], HasSubstr("a/closed: Permission denied"));
}

TEST_F(DiskUsageTest, AGuestThatMovesDirectoriesMeanwhileLeadsNowhereElse) {
  make_deep(top_ / "a", 200);
  fs::create_directories(top_ / "a/moving");
  make_file("outside/never");
  link("outside/never", "outside/twice");
  std::atomic<bool> stop{false};
  std::jthread guest([&] {
    std::string deep = (top_ / "a").string();
    for (int i = 0; i < 100; ++i) deep += "/deeper-than-path-max";
    const std::string moved = (top_ / "a/moving/here").string(), way = (top_ / "a/left/way").string();
    while (!stop) {
      ::rename(deep.c_str(), moved.c_str());
      ::symlink((top_ / "outside").c_str(), deep.c_str());
      ::unlink(deep.c_str());
      ::rename(moved.c_str(), deep.c_str());
    }
  });
  for (int i = 0; i < 40; ++i) {
    const Usage usage = count({"a"}).trees[0].usage;
    expect_consistent(usage);
    EXPECT_EQ(usage.shared, 0u);  // nothing of outside/ was counted
    EXPECT_LE(usage.inodes, 602u + 1);
  }
  stop = true;
}

}  // namespace
}  // namespace vs::unify
