// What is nested deeper than the walk goes is told, and the rest is stored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace vs::test
