#include "core/tree/inventory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include <filesystem>

#include "tests/core/scratch.h"
#include "tests/support/skip.h"

namespace vs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class InventoryTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.vserver_conf = dir_ / "etc/vservers";
    options_.vserver_trees = dir_ / "vservers";
    options_.nspawn_trees = dir_ / "machines";
    options_.lxc_trees = dir_ / "lxc";
    for (const char* name : {"one", "two", "three"}) unit::make_dirs(dir_ / name);
  }
  std::vector<Guest> find() { return find_guests(options_, warnings_); }
  std::vector<std::string> names() {
    std::vector<std::string> all;
    for (const auto& guest : find()) all.push_back(guest.name + " " + guest.source);
    return all;
  }
  // What is told when these --tree values are given; "" when they are taken.
  std::string refusal(std::vector<std::string> trees) {
    options_.trees = std::move(trees);
    try {
      find();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::usage) << error.what();
      return error.what();
    }
    return "";
  }
  std::string tree(const std::string& name, const std::string& dir) const {
    return name + "=" + (dir_ / dir);
  }

  const unit::ScratchDir dir_;
  InventoryOptions options_;
  std::vector<std::string> warnings_;
};

TEST_F(InventoryTest, FindsTheTreesOfAllKindsOfGuests) {
  unit::write_file(dir_ / "etc/vservers/web.conf", "");
  unit::write_file(dir_ / "etc/vservers/README", "");
  for (const char* tree : {"vservers/web", "vservers/byhand", "vservers/lost+found", "vservers/.hidden",
                           "machines/mail", "lxc/db/rootfs", "lxc/empty"})
    unit::make_dirs(dir_ / tree);
  EXPECT_THAT(names(), ElementsAre("byhand vserver", "db lxc", "mail nspawn", "web vserver"));
  EXPECT_THAT(warnings_, IsEmpty());
}

// /var/lib/machines as a filesystem of its own, with an image and a second name of a tree.
TEST_F(InventoryTest, WhatIsNoTreeIsNoGuestWhereverItIs) {
  for (const char* tree : {"machines/mail", "machines/lost+found", "lxc/lost+found/rootfs", "vservers/web"})
    unit::make_dirs(dir_ / tree);
  unit::write_file(dir_ / "machines/image.raw", "an image");
  unit::write_file(dir_ / "vservers/notes", "no tree");
  std::filesystem::create_directory_symlink(dir_ / "machines/mail", dir_ / "machines/post");
  std::filesystem::create_symlink(dir_ / "machines/none", dir_ / "machines/dangling");
  EXPECT_THAT(names(), ElementsAre("mail nspawn", "web vserver"));
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(InventoryTest, AConfigurationWithoutATreeIsNoGuest) {
  unit::write_file(dir_ / "etc/vservers/gone.conf", "");
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(InventoryTest, OneNameInTwoPlacesIsToldApart) {
  unit::make_dirs(dir_ / "machines/web");
  unit::make_dirs(dir_ / "lxc/web/rootfs");
  EXPECT_THAT(names(), ElementsAre("web@lxc lxc", "web@nspawn nspawn"));
}

TEST_F(InventoryTest, AFoundTreeThatCannotBeUsedIsLeftOutWithAWarning) {
  unit::make_dirs(dir_ / "machines/good");
  unit::make_symlink(dir_ / "one", dir_ / "machines/link");
  unit::make_dirs(dir_ / "machines/es\x1b[2Jcape");
  EXPECT_THAT(names(), ElementsAre("good nspawn"));
  ASSERT_EQ(warnings_.size(), 2u);
  for (const auto& warning : warnings_) EXPECT_EQ(warning.find('\x1b'), std::string::npos);
}

TEST_F(InventoryTest, NamedTreesAreTheOnlyOnesAndSorted) {
  unit::make_dirs(dir_ / "machines/mail");
  options_.trees = {tree("b", "one"), tree("a", "two")};
  EXPECT_THAT(names(), ElementsAre("a --tree", "b --tree"));
}

TEST_F(InventoryTest, RefusesWhatIsNotNameEqualDir) {
  for (const std::string value : {"one", "=", "x=", "=/tmp"})
    EXPECT_THAT(refusal({value}), HasSubstr("--tree " + value)) << value;
}

TEST_F(InventoryTest, RefusesNamesThatOtherToolsWouldMisread) {
  for (const std::string name : {".", "..", ".hidden", "-n", "a/b", "a b", "a\nb", "a\x1b", "a:b", "\xff"})
    EXPECT_NE(refusal({tree(name, "one")}), "") << name;
  EXPECT_NE(refusal({tree(std::string(129, 'n'), "one")}), "");
  EXPECT_EQ(refusal({tree("db-1.example_org", "one")}), "");
}

TEST_F(InventoryTest, RefusesATreeThatIsASymlink) {
  unit::make_symlink("one", dir_ / "link");
  EXPECT_THAT(refusal({tree("a", "link")}), HasSubstr(dir_ / "link"));
  EXPECT_THAT(refusal({tree("a", "link/")}), HasSubstr(dir_ / "link"));
}

TEST_F(InventoryTest, RefusesWhatIsNoDirectory) {
  unit::write_file(dir_ / "file", "x");
  EXPECT_THAT(refusal({tree("a", "none")}), HasSubstr(dir_ / "none"));
  EXPECT_THAT(refusal({tree("a", "file")}), HasSubstr(dir_ / "file"));
}

TEST_F(InventoryTest, LeavesOutNamedTreesThatCannotBeOpenedWhereThatIsAskedFor) {
  options_.leave_out_trees = true;
  options_.trees = {tree("a", "one"), tree("b", "none"), tree("c", "two")};
  std::vector<std::string> left_out;
  EXPECT_EQ(find_guests(options_, warnings_, &left_out).size(), 2u);
  EXPECT_THAT(left_out, ElementsAre("b"));
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr(dir_ / "none")));
  EXPECT_THAT(refusal({tree("b", "none"), tree("b", "one")}), HasSubstr("named b"));
}

TEST_F(InventoryTest, RefusesTheRootOfTheHostByWhateverName) {
  for (const std::string path : {"/", "//", "/.", "/tmp/.."})
    EXPECT_THAT(refusal({"a=" + path}), HasSubstr("root of this host")) << path;
}

TEST_F(InventoryTest, RefusesOneNameForTwoTrees) {
  EXPECT_THAT(refusal({tree("a", "one"), tree("a", "two")}), HasSubstr("named a"));
}

TEST_F(InventoryTest, RefusesOneTreeUnderTwoNames) {
  const std::string told = refusal({tree("a", "one"), tree("b", "two/../one")});
  EXPECT_THAT(told, HasSubstr("same tree"));
  EXPECT_THAT(told, HasSubstr("a and b"));
}

TEST_F(InventoryTest, RefusesATreeInsideAnother) {
  unit::make_dirs(dir_ / "one/x/y");
  EXPECT_THAT(refusal({tree("outer", "one"), tree("inner", "one/x/y")}), HasSubstr("overlap"));
  EXPECT_THAT(refusal({tree("inner", "one/x/y"), tree("outer", "one")}), HasSubstr("overlap"));
}

// Hard links do not cross mounts, so a pool is a mount: a bind mount of the same filesystem is another pool.
TEST_F(InventoryTest, APoolLeavesOutGuestsOfOtherMounts) {
  if (!unit::is_root() || ::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    VS_SKIP(kRoot) << "mounting needs root";
  ASSERT_EQ(::mount("none", (dir_ / "two").c_str(), "tmpfs", 0, nullptr), 0);
  unit::make_dirs(dir_ / "two/guest");
  options_.trees = {tree("a", "one"), tree("b", "two/guest")};
  options_.pool = dir_.path();
  EXPECT_THAT(names(), ElementsAre("a --tree"));
  options_.pool = dir_ / "two";
  EXPECT_THAT(names(), ElementsAre("b --tree"));
  ::umount2((dir_ / "two").c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace vs
