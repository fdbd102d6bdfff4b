#include "isolation/trees/copy_tree.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>

#include "core/unique_fd.h"
#include "isolation/trees/clone.h"
#include "tests/support/deep_tree.h"
#include "tests/support/run.h"
#include "tests/support/temp_dir.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;

class CopyTreeTest : public testing::Test {
 protected:
  CopyTreeTest() {
    for (const char* tree : {"from", "to"}) fs::create_directory(dir_ / tree);
  }
  void copy() {
    const auto done = copy_tree(RootDir(dir_ / "from"), RootDir(dir_ / "to"));
    EXPECT_TRUE(done) << done.error().message;
  }
  struct stat of(const std::string& name) {
    struct stat found {};
    EXPECT_EQ(::lstat((dir_ / name).c_str(), &found), 0) << name;
    return found;
  }
  void expect_same(const std::string& name) {
    const auto a = of("from/" + name), b = of("to/" + name);
    EXPECT_EQ(a.st_mode, b.st_mode) << name;
    EXPECT_EQ(a.st_uid, b.st_uid) << name;
    EXPECT_EQ(a.st_gid, b.st_gid) << name;
    EXPECT_EQ(a.st_rdev, b.st_rdev) << name;
    EXPECT_EQ(a.st_mtim.tv_sec, b.st_mtim.tv_sec) << name;
    EXPECT_EQ(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec) << name;
    EXPECT_NE(a.st_ino, b.st_ino) << name;
  }
  void age(const std::string& name) {
    const timespec times[] = {{1'000'000'000, 5}, {1'000'000'001, 7}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (dir_ / name).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  }
  const test::TempDir dir_;
};

TEST_F(CopyTreeTest, EachKindOfFileIsCopiedWithAllItHas) {
  test::write_file(dir_ / "from/usr/file", "content");
  fs::create_symlink("/nowhere/at all", dir_ / "from/usr/link");
  ASSERT_EQ(::mkfifo((dir_ / "from/usr/fifo").c_str(), 0620), 0);
  ::chmod((dir_ / "from/usr/file").c_str(), 04711);
  ::chmod((dir_ / "from/usr").c_str(), 01775);
  if (::geteuid() == 0) {
    ASSERT_EQ(::mknod((dir_ / "from/usr/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(::lchown((dir_ / "from/usr/link").c_str(), 7, 8), 0);
  }
  for (const char* name : {"from/usr/file", "from/usr/link", "from/usr/fifo", "from/usr", "from"}) age(name);
  copy();
  for (const char* name : {"usr/file", "usr/link", "usr/fifo", "usr", "."}) expect_same(name);
  if (::geteuid() == 0) expect_same("usr/null");
  EXPECT_EQ(test::read_file(dir_ / "to/usr/file"), "content");
  EXPECT_EQ(fs::read_symlink(dir_ / "to/usr/link"), "/nowhere/at all");
}

TEST_F(CopyTreeTest, TheDefaultAclOfThePlaceIsNotOnTheCopies) {
  test::write_file(dir_ / "from/dir/file", "content");
  ASSERT_EQ(::mkfifo((dir_ / "from/dir/fifo").c_str(), 0660), 0);
  test::must_run({"setfacl", "-d", "-m", "u:1000:rwx", dir_ / "to"});
  copy();
  for (const char* name : {"to/dir", "to/dir/file", "to/dir/fifo"})
    for (const char* acl : {"system.posix_acl_access", "system.posix_acl_default"})
      EXPECT_LT(::getxattr((dir_ / name).c_str(), acl, nullptr, 0), 0) << acl << " of " << name;
  for (const char* name : {"dir", "dir/file", "dir/fifo"})
    EXPECT_EQ(of(std::string("from/") + name).st_mode, of(std::string("to/") + name).st_mode);
}

TEST_F(CopyTreeTest, NamesOfOneFileStayNamesOfOneFile) {
  test::write_file(dir_ / "from/a/one", "x");
  fs::create_directory(dir_ / "from/b");
  fs::create_hard_link(dir_ / "from/a/one", dir_ / "from/b/two");
  copy();
  EXPECT_EQ(of("to/a/one").st_ino, of("to/b/two").st_ino);
  EXPECT_EQ(of("to/a/one").st_nlink, 2u);
}

TEST_F(CopyTreeTest, HolesStayHolesAndEveryByteIsTheSame) {
  const std::string text(300'000, 'x');
  {
    const UniqueFd fd(::open((dir_ / "from/sparse").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    ASSERT_EQ(::pwrite(fd.get(), text.data(), text.size(), 4 << 20), static_cast<ssize_t>(text.size()));
    ASSERT_EQ(::ftruncate(fd.get(), 8 << 20), 0);
  }
  copy();
  EXPECT_EQ(test::read_file(dir_ / "from/sparse"), test::read_file(dir_ / "to/sparse"));
  EXPECT_LT(of("to/sparse").st_blocks * 512, 1 << 20);
}

TEST_F(CopyTreeTest, WhatIsThereIsLeftAlone) {
  test::write_file(dir_ / "from/a/file", "model");
  test::write_file(dir_ / "to/a/file", "linked before");
  copy();
  EXPECT_EQ(test::read_file(dir_ / "to/a/file"), "linked before");
}

TEST_F(CopyTreeTest, ATreeOfAnyDepthIsClonedWhole) {
  test::make_nested(dir_ / "from");
  Log log(Verbosity::quiet, "test");
  const test::FewDescriptors few;
  EXPECT_EQ(clone_tree(dir_ / "from", dir_ / "to", dir_ / "no.conf", log).linked, 0u);
  EXPECT_EQ(test::nested_below(dir_ / "to"), test::kDeep);
}

}  // namespace
}  // namespace vs::isolation
