#include "isolation/trees/tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/deep_tree.h"
#include "tests/support/skip.h"
#include "tests/support/temp_dir.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;

TEST(RemoveTreeTest, ATreeOfAnyDepthGoes) {
  const test::TempDir dir;
  fs::create_directory(dir / "tree");
  test::make_nested(dir / "tree");
  const test::FewDescriptors few;
  const auto removed = remove_tree(dir / "tree");
  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_FALSE(fs::exists(dir / "tree"));
}

TEST(RemoveTreeTest, FollowsNoLink) {
  const test::TempDir dir;
  fs::create_directories(dir / "tree/a");
  test::write_file(dir / "kept/file", "host");
  fs::create_directory_symlink(dir / "kept", dir / "tree/a/link");
  EXPECT_TRUE(remove_tree(dir / "tree"));
  EXPECT_FALSE(fs::exists(dir / "tree"));
  EXPECT_EQ(test::read_file(dir / "kept/file"), "host");
}

TEST(RemoveTreeTest, DirectoriesThatTheGuestSealedGoToo) {
  const test::TempDir dir;
  test::write_file(dir / "tree/a/file", "x");
  test::set_immutable(dir / "tree/a", true);
  test::set_immutable(dir / "tree", true);
  if (!test::is_immutable(dir / "tree/a")) VS_SKIP(kFilesystem) << "no immutable attribute here";
  const auto removed = remove_tree(dir / "tree");
  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_FALSE(fs::exists(dir / "tree"));
}

}  // namespace
}  // namespace vs::isolation
