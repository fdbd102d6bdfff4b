// What a mount shows, without a kernel that asks.
#include "backup/mount/mount_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "tests/backup/backup_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using backup::MountTree;
using backup::NodeNumbers;
using testing::HasSubstr;

// The number of what this path leads to.
uint64_t number_of(MountTree& tree, const std::vector<std::string>& path) {
  uint64_t number = NodeNumbers::kRoot;
  for (const auto& name : path) {
    const auto node = tree.lookup(number, name);
    EXPECT_TRUE(node) << name << ": " << (node ? "" : node.error().message);
    if (!node) return 0;
    number = node->attributes.st_ino;
  }
  return number;
}

class MountTreeTest : public testing::Test {
 protected:
  std::string night(int round) {
    write_file(host_.tree("alpha") + "/etc/file", "night " + std::to_string(round));
    write_file(host_.tree("beta") + "/file", "beta");
    EXPECT_EQ(host_.create({"--consistency", "live"}).exit_code, 0);
    return host_.last_stamp();
  }
  std::string content(MountTree& tree, uint64_t number) {
    const auto file = tree.open(number);
    if (!file) return file.error().message;
    const auto bytes = (*file)->read(0, 1000);
    return bytes ? *bytes : bytes.error().message;
  }
  BackupHost host_;
};

// Only a few states are kept: the kernel may ask of the first by its number when it is loaded no more.
TEST_F(MountTreeTest, NumbersMeanTheSameWhenAStateIsLoadedAgain) {
  std::vector<std::string> stamps;
  for (int round = 0; round < 6; ++round) stamps.push_back(night(round));
  MountTree tree(host_.set());
  std::vector<uint64_t> numbers;
  for (const auto& stamp : stamps) numbers.push_back(number_of(tree, {"alpha", stamp, "etc", "file"}));
  EXPECT_EQ(std::set<uint64_t>(numbers.begin(), numbers.end()).size(), stamps.size());
  for (size_t i = 0; i < stamps.size(); ++i)
    EXPECT_EQ(content(tree, numbers[i]), "night " + std::to_string(i));
}

// What the host has for a vserver is found by its name, and not listed.
TEST_F(MountTreeTest, FilesOfTheHostStandBesideTheTree) {
  const std::string settings = host_.tree("alpha") + ".nspawn";
  const std::string without = night(0);
  write_file(settings, "settings");
  const std::string with = night(1);
  MountTree tree(host_.set());
  std::vector<std::string> path{".host.alpha", with};
  for (const auto& part : fs::path(settings).relative_path()) path.push_back(part);
  EXPECT_EQ(content(tree, number_of(tree, path)), "settings");
  const auto empty = tree.list(number_of(tree, {".host.alpha", without}));
  ASSERT_TRUE(empty) << empty.error().message;
  EXPECT_EQ((*empty)->size(), 2u);
  const auto root = tree.list(NodeNumbers::kRoot);
  ASSERT_TRUE(root);
  for (const auto& one : **root) EXPECT_NE(one.name, ".host.alpha");
  const auto nobody = tree.lookup(NodeNumbers::kRoot, ".host.nobody");
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code, ENOENT);
}

TEST_F(MountTreeTest, WhatIsNotThereIsToldWithoutAWord) {
  const std::string stamp = night(0);
  MountTree tree(host_.set());
  for (const auto& [directory, name] : {std::pair{NodeNumbers::kRoot, "nobody"},
                                        {number_of(tree, {"alpha"}), "20200101T000000Z"},
                                        {number_of(tree, {"alpha", stamp}), "none"},
                                        {uint64_t{0}, "x"},
                                        {uint64_t{1} << 60, "x"},
                                        {number_of(tree, {"alpha", stamp}) + 1'000'000, "x"}}) {
    const auto found = tree.lookup(directory, name);
    ASSERT_FALSE(found) << name;
    EXPECT_EQ(found.error().code, ENOENT);
    EXPECT_EQ(found.error().message, "");
  }
  EXPECT_EQ(tree.lookup(number_of(tree, {"alpha", stamp, "etc", "file"}), "x").error().code, ENOTDIR);
}

TEST_F(MountTreeTest, AnArchiveThatIsGoneIsAnErrorThatNamesFileAndArchive) {
  const std::string stamp = night(0);
  MountTree tree(host_.set());
  const uint64_t number = number_of(tree, {"alpha", stamp, "etc", "file"});
  std::filesystem::remove(host_.set() + "/alpha-full-" + stamp + ".tar.zst");
  const auto file = tree.open(number);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, EIO);
  EXPECT_THAT(file.error().message, HasSubstr("alpha@" + stamp + ":etc/file: "));
  EXPECT_THAT(file.error().message, HasSubstr("alpha-full-" + stamp + ".tar.zst"));
}

}  // namespace
}  // namespace vs::test
