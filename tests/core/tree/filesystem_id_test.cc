#include "core/tree/filesystem_id.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <string>

#include "core/unique_fd.h"
#include "tests/support/run.h"
#include "tests/support/skip.h"
#include "tests/support/temp_dir.h"

namespace vs {
namespace {

class FilesystemIdTest : public testing::TestWithParam<std::string> {};

uint64_t id_of(const std::string& path) {
  return filesystem_id(UniqueFd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)).get());
}

// Mounted again from another device: another number, the same filesystem. Each filesystem has its own.
TEST_P(FilesystemIdTest, OutlivesTheDeviceNumber) {
  VS_NEEDS_FILESYSTEM(GetParam());
  const test::TempDir dir;
  const std::string image = dir / "image", first = dir / "first", again = dir / "again";
  test::must_run({"sh", "-c", "mkdir \"$1\" \"$2\" && truncate -s 400M \"$3\" && mkfs.\"$4\" -q \"$3\"", "sh",
                  first, again, image, GetParam()});
  test::must_run({"mount", "-o", "loop", image, first});
  const uint64_t id = id_of(first);
  struct stat before {
  }, after{};
  EXPECT_EQ(::stat(first.c_str(), &before), 0);
  test::must_run({"umount", first});
  const test::LoopFilesystem other(GetParam(), 400);  // takes the loop device that was free
  test::must_run({"mount", "-o", "loop", image, again});
  EXPECT_EQ(::stat(again.c_str(), &after), 0);
  EXPECT_NE(before.st_dev, after.st_dev);
  EXPECT_EQ(id_of(again), id);
  EXPECT_NE(id_of(other.path()), id);
  test::must_run({"umount", again});
}

INSTANTIATE_TEST_SUITE_P(Filesystems, FilesystemIdTest, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& tested) { return tested.param; });

TEST(FilesystemIdOfSubvolumesTest, EachHasItsOwn) {
  VS_NEEDS_FILESYSTEM("btrfs");
  const test::LoopFilesystem filesystem("btrfs", 400);
  for (const char* name : {"a", "b"})
    test::must_run({"btrfs", "subvolume", "create", filesystem.path() + "/" + name});
  const std::set<uint64_t> ids = {id_of(filesystem.path()), id_of(filesystem.path() + "/a"),
                                  id_of(filesystem.path() + "/b")};
  EXPECT_EQ(ids.size(), 3u);
}

}  // namespace
}  // namespace vs
