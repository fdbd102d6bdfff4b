#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "tests/unify/report/savings_sample.h"

namespace vs::unify {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class HistoryTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "historyXXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    file_ = (dir_ / "history.jsonl").string();
  }
  void TearDown() override { fs::remove_all(dir_); }

  void write(const std::string& text) { std::ofstream(file_, std::ios::binary) << text; }
  std::string text() const {
    std::ostringstream out;
    out << std::ifstream(file_, std::ios::binary).rdbuf();
    return out.str();
  }
  std::vector<std::string> runs() const {
    std::vector<std::string> names;
    for (const HistoryEntry& row : read_history(file_)) names.push_back(row.run);
    return names;
  }
  void append(const std::string& run) { append_history(file_, sample_night(run, 1795499507, 7, 70)); }

  fs::path dir_;
  std::string file_;
};

// Runs of several pools are in one history.
TEST_F(HistoryTest, EachRunTellsItsPool) {
  append("old");  // as before there was a pool in it
  for (const char* pool : {"/srv/a", "/srv/b"}) {
    HistoryEntry row = sample_night(pool, 1795499507, 7, 70);
    row.pool = pool;
    append_history(file_, row);
  }
  const auto rows = runs_on_pool(read_history(file_), "/srv/b");
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].run, "old");
  EXPECT_EQ(rows[1].pool, "/srv/b");
}

TEST_F(HistoryTest, ALineWithoutAPoolIsStillRead) {
  write("{\"run\":\"r1\",\"time\":5,\"verb\":\"run\",\"bytes_saved_total\":7}\n");
  const auto rows = read_history(file_);
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].pool, "");
  EXPECT_EQ(rows[0].bytes_saved_total, 7u);
}

TEST_F(HistoryTest, WhatWasAppendedIsReadBackOldestFirst) {
  append("r1");
  HistoryEntry row = sample_night("r2", -5, UINT64_MAX, UINT64_MAX);
  append_history(file_, row);
  const auto rows = read_history(file_);
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].run, "r1");
  EXPECT_EQ(rows[0].files_linked, 7u);
  EXPECT_EQ(rows[0].guests, 3u);
  EXPECT_EQ(rows[0].files_seen, 45000u);
  EXPECT_EQ(rows[0].masters, 12000u);
  EXPECT_EQ(rows[0].bytes_saved, 7u * 4096);
  EXPECT_EQ(rows[0].verb, "run");
  EXPECT_EQ(rows[0].seconds, 1.5);
  EXPECT_EQ(rows[0].problems, 1u);
  EXPECT_EQ(rows[1].time, -5);
  EXPECT_EQ(rows[1].bytes_saved_total, UINT64_MAX);
}

TEST_F(HistoryTest, BeforeTheFirstRunThereIsNone) {
  EXPECT_THAT(read_history(file_), IsEmpty());
}

TEST_F(HistoryTest, AWriteTornAnywhereLosesThatRowOnly) {
  append("r1");
  const std::string first = text();
  append("r2");
  const std::string both = text();
  for (size_t length = first.size(); length < both.size() - 1; ++length) {
    write(both.substr(0, length));
    ASSERT_THAT(runs(), ElementsAre("r1")) << length;
    append("r3");
    ASSERT_THAT(runs(), ElementsAre("r1", "r3")) << length;
  }
}

TEST_F(HistoryTest, AWholeRowWithoutItsLineBreakIsKept) {
  append("r1");
  append("r2");
  write(text().substr(0, text().size() - 1));
  EXPECT_THAT(runs(), ElementsAre("r1", "r2"));
  append("r3");
  EXPECT_THAT(runs(), ElementsAre("r1", "r2", "r3"));
}

TEST_F(HistoryTest, ATailOfZeroBytesIsOverwritten) {
  append("r1");
  write(text() + std::string(10'000, '\0'));
  EXPECT_THAT(runs(), ElementsAre("r1"));
  append("r2");
  EXPECT_THAT(runs(), ElementsAre("r1", "r2"));
  EXPECT_LT(text().size(), 1000u);
}

TEST_F(HistoryTest, MalformedLinesAreSkipped) {
  append("r1");
  std::string lines = text();
  for (const char* bad : {"", "{", "null", "[1,2]", "\xff\xfe", "{\"run\":1,\"time\":2}", "{\"run\":\"x\"}",
                          "{\"run\":\"x\",\"time\":\"now\"}", "{\"run\":\"x\",\"time\":1,\"guests\":-1}",
                          "{\"run\":\"x\",\"time\":1,\"masters\":\"many\"}"})
    lines += std::string(bad) + "\n";
  lines += std::string(100'000, '[') + "\n";
  write(lines);
  append("r2");
  EXPECT_THAT(runs(), ElementsAre("r1", "r2"));
}

TEST_F(HistoryTest, KeysOfOtherVersionsDoNotMatter) {
  write("{\"run\":\"old\",\"time\":1}\n{\"run\":\"new\",\"time\":2,\"colour\":\"red\",\"guests\":4}\n");
  const auto rows = read_history(file_);
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].guests, 0u);
  EXPECT_EQ(rows[1].guests, 4u);
}

TEST_F(HistoryTest, StrangeBytesAndNumbersInARowAreStillWritten) {
  HistoryEntry row = sample_night("r\n\xff", 1, 1, 1);
  row.seconds = std::numeric_limits<double>::infinity();
  append_history(file_, row);
  append("r2");
  const auto rows = read_history(file_);
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].seconds, 0);
}

TEST_F(HistoryTest, RunsThatEndTogetherAllGetTheirRow) {
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        for (int k = 0; k < 10; ++k) append("r");
      });
  }
  EXPECT_THAT(read_history(file_), SizeIs(80));
}

TEST_F(HistoryTest, WhereItCannotBeWrittenTheErrorNamesTheFile) {
  try {
    append_history((dir_ / "missing" / "history.jsonl").string(), sample_night("r", 1, 1, 1));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("missing/history.jsonl"));
  }
  EXPECT_THROW(read_history(dir_.string()), Error);
}

}  // namespace
}  // namespace vs::unify
