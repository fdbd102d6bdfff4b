#include "core/durable/lmdb_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/core/scratch.h"

namespace vs {
namespace {

using Mode = LmdbTransaction::Mode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class LmdbFileTest : public testing::Test {
 protected:
  LmdbOptions options(bool read_only = false) const {
    return {size_t{1} << 24, {"first", "second"}, read_only, "test index"};
  }
  static std::vector<std::string> keys(const LmdbFile& file, size_t table, std::string_view prefix) {
    std::vector<std::string> found;
    LmdbTransaction(file, Mode::reading).each(table, prefix, [&](std::string_view key, std::string_view) {
      found.emplace_back(key);
    });
    return found;
  }
  unit::ScratchDir scratch_;
  std::string dir_ = scratch_.path() + "/state";
};

TEST_F(LmdbFileTest, KeepsWhatWasCommittedByTableAndDropsTheRest) {
  {
    LmdbFile file(dir_, "x.mdb", options());
    LmdbTransaction transaction(file, Mode::writing);
    transaction.put(0, "a", "one");
    transaction.put(1, "a", "two");
    transaction.commit();
    LmdbTransaction(file, Mode::writing).put(0, "b", "never committed");
  }
  const LmdbFile file(dir_, "x.mdb", options(true));
  const LmdbTransaction transaction(file, Mode::reading);
  EXPECT_EQ(transaction.get(0, "a"), "one");
  EXPECT_EQ(transaction.get(1, "a"), "two");
  EXPECT_EQ(transaction.get(0, "b"), std::nullopt);
  EXPECT_EQ(transaction.size(0), 1u);
}

TEST_F(LmdbFileTest, GoesThroughAPrefixAndErasesWhatIsGone) {
  LmdbFile file(dir_, "x.mdb", options());
  LmdbTransaction transaction(file, Mode::writing);
  for (const char* key : {"a1", "a2", "a3", "b1"}) transaction.put(0, key, "");
  EXPECT_EQ(transaction.erase_if(0, "a", [](std::string_view key) { return key != "a2"; }), 2u);
  transaction.erase(0, "not there");
  transaction.commit();
  EXPECT_THAT(keys(file, 0, "a"), ElementsAre("a2"));
  EXPECT_THAT(keys(file, 0, ""), ElementsAre("a2", "b1"));
  EXPECT_THAT(keys(file, 1, ""), IsEmpty());
}

TEST_F(LmdbFileTest, AReaderSeesWhatWasThereWhenItBegan) {
  LmdbFile file(dir_, "x.mdb", options());
  const LmdbTransaction reader(file, Mode::reading);
  LmdbTransaction writer(file, Mode::writing);
  writer.put(0, "a", "new");
  writer.commit();
  EXPECT_EQ(reader.get(0, "a"), std::nullopt);
  EXPECT_EQ(LmdbTransaction(file, Mode::reading).get(0, "a"), "new");
}

TEST_F(LmdbFileTest, AMissingFileIsEmptyForAReaderAndMadeByAWriterWithItsDirectory) {
  EXPECT_FALSE(LmdbFile(dir_, "x.mdb", options(true)).is_open());
  EXPECT_FALSE(std::filesystem::exists(dir_));
  EXPECT_TRUE(LmdbFile(dir_, "x.mdb", options()).is_open());
  EXPECT_TRUE(LmdbFile(dir_, "x.mdb", options(true)).is_open());
}

TEST_F(LmdbFileTest, SaysWhichFileIsNoDatabaseAndWhatWasTried) {
  std::filesystem::create_directory(dir_);
  std::ofstream(dir_ + "/x.mdb") << std::string(10000, 'x');
  try {
    LmdbFile(dir_, "x.mdb", options());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("test index " + dir_ + "/x.mdb: open"));
  }
}

TEST_F(LmdbFileTest, WithoutNamesThereIsOneTable) {
  LmdbFile file(dir_, "x.mdb", {size_t{1} << 24, {}, false, "test index"});
  LmdbTransaction transaction(file, Mode::writing);
  transaction.put(0, "a", "one");
  transaction.commit();
  EXPECT_THAT(keys(file, 0, ""), ElementsAre("a"));
}

}  // namespace
}  // namespace vs
