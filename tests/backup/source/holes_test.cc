// Files that claim to be larger than any disk: their holes cost nothing, and a run can be stopped while it
// reads them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "backup/source_reader.h"
#include "tests/backup/backup_host.h"
#include "tests/core/scratch.h"
#include "tests/support/test_host.h"

namespace vs::backup {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

constexpr uint64_t kMiB = 1 << 20;

// As long as the filesystem has files; each byte of `at` is data, what lies between is not.
class HolesTest : public testing::Test {
 protected:
  UniqueFd make(uint64_t size, const std::vector<uint64_t>& at) {
    UniqueFd fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    for (const uint64_t place : at) EXPECT_EQ(::pwrite(fd.get(), "x", 1, static_cast<off_t>(place)), 1);
    return fd;
  }
  // What ext4 with blocks of 4 KiB has room for.
  const uint64_t huge_ = (uint64_t{1} << 44) - 4096;
  const unit::ScratchDir scratch_;
  const std::string path_ = scratch_ / "file";
};

TEST_F(HolesTest, TheDigestOfAFileIsThatOfItsPiecesAndHolesAreNotRead) {
  const UniqueFd fd = make(huge_, {10, huge_ / 2, huge_ - 1});
  ContentDigest wanted(huge_);
  for (const uint64_t at : {uint64_t{10}, huge_ / 2, huge_ - 1}) {
    const uint64_t begin = at / kPiece * kPiece;
    std::string piece(std::min(kPiece, huge_ - begin), '\0');
    piece[at - begin] = 'x';
    wanted.piece(at / kPiece, piece);
  }
  EXPECT_EQ(value_or_throw(digest_of(fd.get(), huge_, path_, nullptr)), wanted.finish());
}

TEST_F(HolesTest, TheDigestOfASmallFileWithHolesIsThatOfItsBytes) {
  const UniqueFd fd = make(kMiB, {700'000});
  std::string bytes(kMiB, '\0');
  bytes[700'000] = 'x';
  EXPECT_EQ(value_or_throw(digest_of(fd.get(), kMiB, path_, nullptr)), sha256(bytes));
}

TEST_F(HolesTest, AFileThatIsShorterThanWasSaidHasNoDigest) {
  const UniqueFd fd = make(kMiB, {5});
  EXPECT_EQ(digest_of(fd.get(), 2 * kMiB, path_, nullptr).error().code, EIO);
}

TEST_F(HolesTest, ReadingEndsWhenItIsAskedTo) {
  const UniqueFd fd = make(kMiB, {5});
  Cancel cancel;
  cancel.request();
  EXPECT_EQ(digest_of(fd.get(), kMiB, path_, &cancel).error().code, ECANCELED);
  EXPECT_EQ(data_ranges(fd.get(), kMiB, &cancel).error().code, ECANCELED);
}

TEST_F(HolesTest, SmallGapsAreFilledWhereThereAreManyRanges) {
  std::vector<uint64_t> at;
  for (uint64_t i = 0; i < 20; ++i) at.push_back(i * 32'768);
  const UniqueFd fd = make(kMiB, at);
  const auto ranges = value_or_throw(data_ranges(fd.get(), kMiB, nullptr, {10, 65'536, 15}));
  EXPECT_THAT(ranges, ElementsAre(Pair(0, 19 * 32'768 + 4096)));
}

TEST_F(HolesTest, LargeGapsStayHolesHoweverManyRangesThereAre) {
  std::vector<uint64_t> at;
  for (uint64_t i = 0; i < 20; ++i) at.push_back(i * (huge_ / 32) / 4096 * 4096);
  const UniqueFd fd = make(huge_, at);
  const auto ranges = value_or_throw(data_ranges(fd.get(), huge_, nullptr, {10, 65'536, 20}));
  ASSERT_EQ(ranges.size(), 20u);
  for (const auto& [begin, length] : ranges) EXPECT_EQ(length, 4096u) << begin;
  EXPECT_EQ(data_ranges(fd.get(), huge_, nullptr, {10, 65'536, 15}).error().code, EFBIG);
}

// A block of attributes is counted among the blocks of the file.
TEST_F(HolesTest, ASmallHoleIsKeptBesideLargeAttributes) {
  test::BackupHost host;
  host.make_guests();
  const std::string path = host.tree("alpha") + "/hole";
  test::write_file(path, "");
  ASSERT_EQ(::truncate(path.c_str(), 8192), 0);
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::pwrite(fd.get(), "x", 1, 5000), 1);
  const std::string value(1000, 'a');
  ASSERT_EQ(::fsetxattr(fd.get(), "user.large", value.data(), value.size(), 0), 0);
  ASSERT_EQ(::fsync(fd.get()), 0);
  ASSERT_EQ(::lseek(fd.get(), 0, SEEK_DATA), 4096);
  ASSERT_EQ(host.create().exit_code, 0);
  const std::string restored = host.restored("holes").at("alpha") + "/hole";
  EXPECT_EQ(test::read_file(restored), test::read_file(path));
  const UniqueFd back(::open(restored.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(::lseek(back.get(), 0, SEEK_DATA), 4096);
}

TEST_F(HolesTest, ANightThatReadsItsSampleReadsNoHoles) {
  test::BackupHost host;
  host.make_guests();
  for (int i = 0; i < 20; ++i) {
    const std::string path = host.tree("alpha") + "/huge" + std::to_string(i);
    test::write_file(path, "");
    ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(huge_)), 0);
  }
  test::BackupHost::let_clock_pass();
  ASSERT_EQ(host.create().exit_code, 0);
  test::RunOptions options;
  options.timeout = std::chrono::seconds(30);
  const test::RunResult again = host.create({"--verify-sample", "1", "--json"}, options);
  EXPECT_FALSE(again.timed_out);
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_GE(test::summary_number(again, "verified"), 20u);
  EXPECT_EQ(test::summary_number(again, "alarms"), 0u) << again.err;
  EXPECT_EQ(host.vbackup("check", {}, options).exit_code, 0);
}

}  // namespace
}  // namespace vs::backup
