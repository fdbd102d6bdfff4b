#include "backup/source/inode_index.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "tests/support/temp_dir.h"

namespace vs::backup {
namespace {

class InodeIndexTest : public testing::Test {
 protected:
  InodeIndexTest() {
    inode_.ino = 4711;
    inode_.mode = S_IFLNK | 0777;
    inode_.size = 900;
    inode_.ctime_ns = inode_.mtime_ns = inode_.btime_ns = 1'700'000'000'000'000'000;
    learned_ = {77, inode_, {}, inode_.ctime_ns + 60'000'000'000};
    learned_.details.target = std::string(900, 'x');
    learned_.details.xattrs = std::string(300, 'a');
    learned_.details.flags = 5;
    InodeIndex(dir_.path(), false, log_).learn({learned_});
  }
  std::optional<InodeDetails> known() { return InodeIndex(dir_.path(), true, log_).known(77, inode_); }
  const test::TempDir dir_;
  Log log_{Verbosity::quiet, "test"};
  Inode inode_;
  InodeIndex::Learned learned_;
};

TEST_F(InodeIndexTest, GivesBackWhatItLearned) {
  const auto found = known();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->target, learned_.details.target);
  EXPECT_EQ(found->xattrs, learned_.details.xattrs);
  EXPECT_EQ(found->flags, 5u);
}

// A bit of the target, of an attribute, of a number: nothing is known then, so the file is read.
TEST_F(InodeIndexTest, AnEntryInWhichABitRottedIsNone) {
  const std::string path = dir_ / "inodes.mdb", whole = test::read_file(path);
  const size_t target = whole.find(learned_.details.target), xattrs = whole.find(learned_.details.xattrs);
  ASSERT_NE(target, std::string::npos);
  ASSERT_NE(xattrs, std::string::npos);
  // The flags stand behind the attributes, identity and times before the content and the target.
  for (const size_t at :
       {target, target + 899, xattrs + 7, xattrs + 300, target - 20, target - 60, target - 100})
    for (const int bit : {0, 3, 7}) {
      std::string rotten = whole;
      rotten[at] = static_cast<char>(rotten[at] ^ (1 << bit));
      test::write_file(path, rotten);
      EXPECT_FALSE(known()) << at << " " << bit;
    }
  test::write_file(path, whole);
  EXPECT_TRUE(known());
}

}  // namespace
}  // namespace vs::backup
