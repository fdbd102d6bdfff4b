#include "core/tree/filesystem_id.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <string>
#include <vector>

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

// Mounted again by another device: another number, the same filesystem. Each filesystem has its own.
TEST_P(FilesystemIdTest, OutlivesTheDeviceNumber) {
  VS_NEEDS_FILESYSTEM(GetParam());
  const test::TempDir dir;
  const std::string image = dir / "image", place = dir / "place";
  test::must_run({"sh", "-c", "mkdir \"$1\" && truncate -s 400M \"$2\" && mkfs.\"$3\" -q \"$2\"", "sh", place,
                  image, GetParam()});
  std::vector<uint64_t> ids;
  std::vector<dev_t> numbers;
  // Both are there at once, so that they are two.
  std::vector<std::string> devices;
  for (int i = 0; i < 2; ++i) {
    devices.push_back(test::must_run({"losetup", "-f", "--show", image}));
    devices.back().pop_back();
  }
  for (const auto& device : devices) {
    test::must_run({"mount", device, place});
    struct stat stat {};
    EXPECT_EQ(::stat(place.c_str(), &stat), 0);
    numbers.push_back(stat.st_dev);
    ids.push_back(id_of(place));
    test::must_run({"umount", place});
  }
  for (const auto& device : devices) test::must_run({"losetup", "-d", device});
  if (GetParam() != "btrfs") {  // it gives out numbers of its own, which may come again
    EXPECT_NE(numbers[0], numbers[1]);
  }
  EXPECT_EQ(ids[0], ids[1]);
  const test::LoopFilesystem other(GetParam(), 400);
  EXPECT_NE(id_of(other.path()), ids[0]);
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
