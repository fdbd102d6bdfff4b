// What is nested deeper than the walk goes is told, and the rest is stored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "tests/backup/backup_host.h"
#include "tests/support/deep_tree.h"

namespace vs::test {
namespace {

using testing::HasSubstr;

TEST(DeepTreeTest, WhatIsTooDeepIsNamedAndTheRestIsStored) {
  BackupHost host;
  host.make_guests();
  std::filesystem::create_directory(host.tree("alpha") + "/nested");
  make_nested(host.tree("alpha") + "/nested");
  write_file(host.tree("alpha") + "/zz/after", "is stored");
  const RunResult result = host.create();
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_THAT(result.err,
              HasSubstr("deeper than 1024 directories, not entered: " + host.tree("alpha") + "/nested/d/d"));
  auto trees = host.restored("back");
  EXPECT_EQ(read_file(trees["alpha"] + "/zz/after"), "is stored");
  EXPECT_EQ(nested_below(trees["alpha"] + "/nested"), 1024u) << "the last one stands empty";
}

// Of directories with long names; 3000 of them have 600 KB of path, and the square of it in all.
TEST(DeepTreeTest, WhatHasTooLongAPathIsNamedAndTheRestIsStored) {
  BackupHost host;
  host.make_guests();
  const std::string name(200, 'n');
  std::filesystem::create_directory(host.tree("alpha") + "/nested");
  make_nested(host.tree("alpha") + "/nested", kDeep, name);
  write_file(host.tree("alpha") + "/zz/after", "is stored");
  const RunResult result = host.create();
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("a path of more than 16384 bytes, not entered: " + host.tree("alpha") +
                                    "/nested/" + name));
  auto trees = host.restored("back");
  EXPECT_EQ(read_file(trees["alpha"] + "/zz/after"), "is stored");
  EXPECT_TRUE(std::filesystem::exists(trees["beta"]));
}

// A name costs a guest a few bytes, and everybody who holds its path a thousand times as many.
TEST(DeepTreeTest, LongPathsOfManyNamesAreBounded) {
  BackupHost host;
  host.make_guests();
  std::filesystem::create_directory(host.tree("alpha") + "/nested");
  const UniqueFd last = make_nested(host.tree("alpha") + "/nested", 81, std::string(200, 'n'));
  for (const char* const name : {"a", "b"}) {
    ASSERT_EQ(::mkdirat(last.get(), name, 0755), 0);
    const UniqueFd dir(::openat(last.get(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int i = 0; i < 20'000; ++i)
      ASSERT_EQ(::linkat(last.get(), "f", dir.get(), std::to_string(i).c_str(), 0), 0);
  }
  const RunResult result = host.create();
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("the long paths of this vserver take more than 512 MiB, not entered: "));
  EXPECT_EQ(result.err.find("not entered"), result.err.rfind("not entered")) << "either of the two is stored";
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
}

}  // namespace
}  // namespace vs::test
