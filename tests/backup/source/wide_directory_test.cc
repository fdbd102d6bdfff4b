// A directory with a great many names, which cost the guest little as they are links to few files. In an
// incremental its list is one entry, larger than a frame.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "backup/archive/compressor.h"
#include "tests/backup/backup_host.h"

namespace vs::test {
namespace {

constexpr int kNames = 80'000;  // 20 MB of list

std::string name_of(int number) {
  const std::string digits = std::to_string(number);
  return digits + std::string(240, 'n');
}

void link_names(const std::string& dir) {
  std::filesystem::create_directory(dir);
  for (int i = 0; i < kNames; ++i) {
    const std::string file = dir + "/file" + std::to_string(i / 40'000);
    if (i % 40'000 == 0) write_file(file, "one of few");
    ASSERT_EQ(::link(file.c_str(), (dir + "/" + name_of(i)).c_str()), 0) << i;
  }
}

TEST(WideDirectoryTest, AListThatIsLargerThanAFrameIsCut) {
  BackupHost host;
  host.make_guests();
  ASSERT_EQ(host.create().exit_code, 0);
  link_names(host.tree("alpha") + "/wide");
  const RunResult result = host.create();
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string name = "alpha-inc-" + host.last_stamp() + ".tar.zst";
  const auto archive = backup::FramedFile::open(AT_FDCWD, host.set() + "/" + name, name);
  ASSERT_TRUE(archive) << archive.error().message;
  uint64_t largest = 0;
  for (const auto& frame : (*archive)->frames()) largest = std::max<uint64_t>(largest, frame.size);
  EXPECT_EQ(largest, backup::kLargestFrame);
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  auto trees = host.restored("back");
  EXPECT_EQ(std::filesystem::hard_link_count(trees["alpha"] + "/wide/" + name_of(0)), 40'001u);
  EXPECT_EQ(read_file(trees["alpha"] + "/wide/" + name_of(kNames - 1)), "one of few");
}

}  // namespace
}  // namespace vs::test
