#include "core/durable/record_log.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "tests/core/scratch.h"

namespace vs {
namespace {

using namespace std::string_literals;

class RecordLogTest : public testing::Test {
 protected:
  void append(const std::vector<LogRecord>& records) {
    auto writer = RecordLogWriter::open(file());
    ASSERT_TRUE(writer) << writer.error().message;
    for (const auto& record : records) writer->append(record.type, record.body);
    ASSERT_TRUE(writer->sync());
  }
  std::string file() const { return dir_ / "log"; }
  std::string bytes() const { return unit::read_file(file()); }

  const unit::ScratchDir dir_;
  // Empty, binary, looking like a header, and long.
  const std::vector<LogRecord> three_ = {{1, ""}, {2, "VSR1\0\xff"s}, {0xffffffff, std::string(300, 'x')}};
};

bool equal(const LogRecord& a, const LogRecord& b) {
  return a.type == b.type && a.body == b.body;
}

// Every record read is one that was written, in its place: what any damage may leave.
void expect_beginning_of(const std::vector<LogRecord>& written, const RecordLog& log,
                         const std::string& damage) {
  ASSERT_LE(log.records.size(), written.size()) << damage;
  for (size_t i = 0; i < log.records.size(); ++i)
    ASSERT_TRUE(equal(log.records[i], written[i])) << damage << ", record " << i;
}

TEST_F(RecordLogTest, GivesBackWhatWasAppended) {
  append(three_);
  append({{7, "later"}});
  const auto log = read_record_log(file());
  ASSERT_TRUE(log);
  ASSERT_EQ(log->records.size(), 4u);
  expect_beginning_of(three_, {{log->records.begin(), log->records.begin() + 3}, 0, false}, "none");
  EXPECT_EQ(log->records[3].body, "later");
  EXPECT_FALSE(log->torn);
  EXPECT_EQ(log->valid_bytes, bytes().size());
}

TEST_F(RecordLogTest, AMissingFileIsAnEmptyLog) {
  const auto log = read_record_log(file());
  ASSERT_TRUE(log);
  EXPECT_TRUE(log->records.empty());
  EXPECT_FALSE(log->torn);
}

TEST_F(RecordLogTest, IsForTheOwnerAlone) {
  append(three_);
  EXPECT_EQ(unit::lstat_of(file()).st_mode & 07777, 0600u);
}

TEST_F(RecordLogTest, DoesNotFollowASymlink) {
  unit::make_symlink(dir_ / "elsewhere", file());
  EXPECT_FALSE(RecordLogWriter::open(file()));
  EXPECT_FALSE(unit::exists(dir_ / "elsewhere"));
}

TEST_F(RecordLogTest, CutAtAnyByteItGivesTheWholeRecordsBeforeTheCut) {
  append(three_);
  const std::string whole = bytes();
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    const auto log = parse_record_log(std::string_view(whole).substr(0, cut));
    expect_beginning_of(three_, log, "cut at " + std::to_string(cut));
    ASSERT_LT(log.records.size(), three_.size());
    ASSERT_EQ(log.torn, cut != log.valid_bytes) << cut;
    ASSERT_LE(log.valid_bytes, cut);
  }
}

TEST_F(RecordLogTest, AnyFlippedBitEndsTheLogThere) {
  append(three_);
  const std::string whole = bytes();
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    const auto log = parse_record_log(damaged);
    expect_beginning_of(three_, log, "bit " + std::to_string(bit));
    ASSERT_LT(log.records.size(), three_.size()) << "bit " << bit;
    ASSERT_TRUE(log.torn);
    ASSERT_LE(log.valid_bytes, bit / 8);
  }
}

TEST_F(RecordLogTest, CutsATornEndOff) {
  append(three_);
  const std::string whole = bytes();
  for (size_t cut = 0; cut < whole.size(); cut += 7) {
    unit::write_file(file(), whole.substr(0, cut));
    const size_t kept = parse_record_log(bytes()).records.size();
    append({{9, "after the crash"}});
    const auto log = read_record_log(file());
    ASSERT_TRUE(log);
    ASSERT_FALSE(log->torn) << cut;
    ASSERT_EQ(log->records.size(), kept + 1) << cut;
    ASSERT_EQ(log->records.back().body, "after the crash");
  }
}

// A journal that was read back as torn would leave recovery without the very intent that it needs.
TEST_F(RecordLogTest, RefusesABodyThatItWouldNotReadBack) {
  auto writer = RecordLogWriter::open(file());
  ASSERT_TRUE(writer);
  writer->append(1, std::string((64u << 20) + 1, 'x'));
  EXPECT_FALSE(writer->sync());
  writer->append(2, "small");
  EXPECT_FALSE(writer->sync())
      << "what was appended before is missing, so nothing after it may count as written";
  writer = RecordLogWriter::open(file());
  ASSERT_TRUE(writer);
  writer->append(3, std::string(64u << 20, 'x'));
  ASSERT_TRUE(writer->sync());
  EXPECT_EQ(read_record_log(file())->records.size(), 1u);
}

// What follows a half written record is never read back, so it must not be promised either.
TEST_F(RecordLogTest, AfterAWriteThatFailedNothingCountsAsWritten) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  auto writer = RecordLogWriter::open(file());
  ASSERT_TRUE(writer);
  writer->append(1, "whole");
  ASSERT_TRUE(writer->sync());
  const rlimit small{100, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  writer->append(2, std::string(300, 'x'));
  EXPECT_FALSE(writer->sync());
  ::setrlimit(RLIMIT_FSIZE, &before);
  writer->append(3, "later");
  EXPECT_FALSE(writer->sync());
  EXPECT_FALSE(writer->flush());
  const auto log = read_record_log(file());
  EXPECT_EQ(log->records.size(), 1u);
}

TEST(FieldReaderTest, TakesWhatWasPut) {
  std::string body;
  put_u32(body, 0x01020304);
  put_u64(body, 0xfedcba9876543210);
  put_string(body, "a\0b"s);
  put_string(body, "");
  body += "as it is";
  EXPECT_EQ(body.substr(0, 4),
            "\x04\x03\x02\x01");  // little-endian on every machine: the file may be carried to another
  FieldReader in(body);
  EXPECT_EQ(in.u32(), 0x01020304u);
  EXPECT_EQ(in.u64(), 0xfedcba9876543210u);
  EXPECT_EQ(in.string(), "a\0b"s);
  EXPECT_EQ(in.string(), "");
  EXPECT_EQ(in.take(8), "as it is");
  EXPECT_TRUE(in.ok());
  EXPECT_TRUE(in.at_end());
  EXPECT_EQ(in.take(1), "");
  EXPECT_FALSE(in.ok());
}

TEST(FieldReaderTest, AfterTheEndEverythingIsZeroAndNotOk) {
  std::string body;
  put_u32(body, 100);  // length of a string that is not there
  body += "short";
  FieldReader in(body);
  EXPECT_EQ(in.string(), "");
  EXPECT_FALSE(in.ok());
  EXPECT_EQ(in.u32(), 0u);
  EXPECT_EQ(in.u64(), 0u);
  EXPECT_FALSE(in.ok());
}

}  // namespace
}  // namespace vs
