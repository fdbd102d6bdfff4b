#include "backup/restore/remove_below.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/unique_fd.h"
#include "tests/support/deep_tree.h"
#include "tests/support/skip.h"
#include "tests/support/temp_dir.h"

namespace vs::backup {
namespace {

namespace fs = std::filesystem;

class RemoveBelowTest : public testing::Test {
 protected:
  RemoveBelowTest() { fs::create_directory(dir_ / "tree"); }
  void remove(bool unseal) {
    const UniqueFd fd(::open((dir_ / "tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    remove_below(fd.get(), unseal);
  }
  const test::TempDir dir_;
};

TEST_F(RemoveBelowTest, ATreeOfAnyDepthGoes) {
  test::make_nested(dir_ / "tree");
  const test::FewDescriptors few;
  remove(true);
  EXPECT_TRUE(fs::is_empty(dir_ / "tree"));
}

TEST_F(RemoveBelowTest, FollowsNoLink) {
  test::write_file(dir_ / "kept/file", "host");
  fs::create_directory_symlink(dir_ / "kept", dir_ / "tree/link");
  remove(false);
  EXPECT_TRUE(fs::is_empty(dir_ / "tree"));
  EXPECT_EQ(test::read_file(dir_ / "kept/file"), "host");
}

TEST_F(RemoveBelowTest, SealsAreTakenOffOnlyIfAskedAndTheRestGoes) {
  test::write_file(dir_ / "tree/a/sealed", "x");
  test::write_file(dir_ / "tree/b/file", "x");
  test::set_immutable(dir_ / "tree/a/sealed", true);
  if (!test::is_immutable(dir_ / "tree/a/sealed")) VS_SKIP(kFilesystem) << "no immutable attribute here";
  remove(false);
  EXPECT_TRUE(test::is_immutable(dir_ / "tree/a/sealed"));
  EXPECT_FALSE(fs::exists(dir_ / "tree/b"));
  remove(true);
  EXPECT_TRUE(fs::is_empty(dir_ / "tree"));
}

}  // namespace
}  // namespace vs::backup
