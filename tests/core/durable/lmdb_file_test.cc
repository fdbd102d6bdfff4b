#include "core/durable/lmdb_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lmdb.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

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

// What is damaged in whatever way is told, and no process dies of it.
class DamagedLmdbFileTest : public LmdbFileTest {
 protected:
  // Of several levels, with values that have pages of their own, and with free pages.
  void SetUp() override {
    LmdbFile file(dir_, "x.mdb", options());
    for (int round = 0; round < 5; ++round) {
      LmdbTransaction transaction(file, Mode::writing);
      for (int i = 0; i < 3000; ++i)
        transaction.put(static_cast<size_t>(i % 2), "key" + std::to_string(i * (round + 1)),
                        std::string(static_cast<size_t>(i % 100 == 0 ? 9000 : i % 300), 'v'));
      for (int i = 0; i < 3000; i += 3)
        transaction.erase(static_cast<size_t>(i % 2), "key" + std::to_string(i));
      transaction.commit();
    }
  }
  LmdbOptions options_with_damage(bool read_only = false) {
    LmdbOptions all = options(read_only);
    all.damaged = [this](const std::string& message) { told_.push_back(message); };
    return all;
  }
  std::string path() const { return dir_ + "/x.mdb"; }
  // Into the first table, as LMDB itself does it.
  void put_raw(std::string key, std::string value) const {
    MDB_env* env = nullptr;
    MDB_txn* transaction = nullptr;
    MDB_dbi table = 0;
    MDB_val k{key.size(), key.data()}, v{value.size(), value.data()};
    ASSERT_EQ(mdb_env_create(&env), 0);
    EXPECT_EQ(mdb_env_set_maxdbs(env, 2), 0);
    EXPECT_EQ(mdb_env_open(env, path().c_str(), MDB_NOSUBDIR, 0600), 0);
    EXPECT_EQ(mdb_txn_begin(env, nullptr, 0, &transaction), 0);
    EXPECT_EQ(mdb_dbi_open(transaction, "first", 0, &table), 0);
    EXPECT_EQ(mdb_put(transaction, table, &k, &v, 0), 0);
    EXPECT_EQ(mdb_txn_commit(transaction), 0);
    mdb_env_close(env);
  }
  // Reads and changes all there is.
  static void use(const LmdbFile& file) {
    for (const size_t table : {0, 1}) EXPECT_LE(keys(file, table, "").size(), 100'000u);
    LmdbTransaction transaction(file, Mode::writing);
    for (int i = 0; i < 4000; ++i) transaction.put(0, "new" + std::to_string(i), std::string(100, 'n'));
    for (const size_t table : {0, 1})
      transaction.erase_if(table, "key", [](std::string_view) { return true; });
    transaction.commit();
  }
  std::vector<std::string> told_;
};

TEST_F(DamagedLmdbFileTest, AWholeOneIsNotCalledDamaged) {
  use(LmdbFile(dir_, "x.mdb", options_with_damage()));
  use(LmdbFile(dir_, "x.mdb", options_with_damage()));
  EXPECT_TRUE(LmdbFile(dir_, "x.mdb", options_with_damage(true)).is_open());
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(DamagedLmdbFileTest, OneThatWasCutOffIsSetAsideAndBegunAnew) {
  const auto whole = std::filesystem::file_size(path());
  for (const uintmax_t size :
       {whole / 2, uintmax_t{40'000}, uintmax_t{8192}, uintmax_t{5000}, uintmax_t{100}}) {
    told_.clear();
    std::filesystem::resize_file(path(), size);
    LmdbFile file(dir_, "x.mdb", options_with_damage());
    EXPECT_THAT(told_, ElementsAre(HasSubstr("test index " + path() + ": open: "))) << size;
    EXPECT_THAT(keys(file, 0, ""), IsEmpty());
    EXPECT_EQ(std::filesystem::file_size(path() + ".damaged"), size);
    use(file);
  }
}

TEST_F(DamagedLmdbFileTest, WhoCannotSetItAsideIsTold) {
  std::filesystem::resize_file(path(), 40'000);
  EXPECT_FALSE(LmdbFile(dir_, "x.mdb", options_with_damage(true)).is_open());
  EXPECT_EQ(told_.size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(path() + ".damaged"));
  EXPECT_THROW(LmdbFile(dir_, "x.mdb", options()), LmdbDamaged);
}

TEST_F(DamagedLmdbFileTest, RandomBytesInItEndNoProcess) {
  std::mt19937 random(7 + static_cast<unsigned>(testing::UnitTest::GetInstance()->random_seed()));
  const std::string whole = unit::read_file(path());
  size_t damaged = 0;
  for (int round = 0; round < 100; ++round) {
    std::string bytes = whole;
    // From one byte to most of it; some of it in the places that steer, at the beginnings of pages.
    const size_t length = size_t{1} << random() % 16;
    const size_t page = random() % (bytes.size() / 4096) * 4096;
    const size_t at = page + (round % 2 == 0 ? random() % 4096 : random() % 40);
    for (size_t i = at; i < std::min(at + length, bytes.size()); ++i) bytes[i] = static_cast<char>(random());
    unit::write_file(path(), bytes);
    told_.clear();
    try {
      const LmdbFile file(dir_, "x.mdb", options_with_damage());
      damaged += told_.size();
      use(file);
    } catch (const Error& error) {
      ADD_FAILURE() << "round " << round << ": " << error.what();
    }
  }
  EXPECT_GT(damaged, 15u);
}

// A bit of an entry rots: of its key, its value, its checksum. Nothing of it is seen, by nobody.
class RottenEntryTest : public DamagedLmdbFileTest {
 protected:
  void SetUp() override {
    LmdbFile file(dir_, "x.mdb", options());
    LmdbTransaction transaction(file, Mode::writing);
    transaction.put(0, "rotten key", kValue);
    transaction.put(0, "whole key", "whole value");
    transaction.put(1, "rotten key", "of another table");
    transaction.commit();
  }
  // Only what is whole, whoever looks.
  void expect_the_rest(const LmdbFile& file, const std::string& when) {
    EXPECT_THAT(keys(file, 0, ""), ElementsAre("whole key")) << when;
    const LmdbTransaction transaction(file, Mode::reading);
    EXPECT_EQ(transaction.get(0, "rotten key"), std::nullopt) << when;
    EXPECT_EQ(transaction.get(0, "whole key"), "whole value") << when;
    EXPECT_EQ(transaction.get(1, "rotten key"), "of another table") << when;
  }
  const std::string kValue = "a value that is read by somebody who believes it";
};

TEST_F(RottenEntryTest, IsNone) {
  const std::string whole = unit::read_file(path());
  const size_t value = whole.find(kValue), key = value - std::string("rotten key").size();
  ASSERT_NE(value, std::string::npos);
  for (size_t at = key; at < value + kValue.size() + 8; ++at)
    for (const int bit : {0, 5}) {
      const std::string when = std::to_string(at - key) + " " + std::to_string(bit);
      std::string rotten = whole;
      rotten[at] = static_cast<char>(rotten[at] ^ (1 << bit));
      unit::write_file(path(), rotten);
      told_.clear();
      expect_the_rest(LmdbFile(dir_, "x.mdb", options_with_damage(true)), when);
      expect_the_rest(LmdbFile(dir_, "x.mdb", options_with_damage()), when + ", the writer erases it");
      EXPECT_THAT(told_, ElementsAre(HasSubstr(": 1 entries"), HasSubstr(": 1 entries"))) << when;
      LmdbFile file(dir_, "x.mdb", options_with_damage());
      EXPECT_EQ(told_.size(), 2u) << "told once; " << when;
      EXPECT_EQ(LmdbTransaction(file, Mode::reading).size(0), 1u) << when;
    }
}

// What an earlier version wrote has no checksums.
TEST_F(RottenEntryTest, OneOfAnEarlierVersionIsReadInItsOldFormIfItHasOne) {
  put_raw("old key", "old value");
  put_raw("older key", "older value");
  LmdbOptions all = options_with_damage(true);
  all.of_before = [](size_t table, std::string_view value) -> std::optional<std::string> {
    if (table != 0 || value != "old value") return std::nullopt;
    return "new value";
  };
  const auto seen = [&](const LmdbOptions& how) {
    std::vector<std::string> values;
    const LmdbFile file(dir_, "x.mdb", how);
    LmdbTransaction(file, Mode::reading).each(0, "old", [&](std::string_view, std::string_view value) {
      values.emplace_back(value);
    });
    return values;
  };
  EXPECT_THAT(seen(all), ElementsAre("new value"));
  all.read_only = false;
  EXPECT_THAT(seen(all), ElementsAre("new value"));
  EXPECT_THAT(told_, ElementsAre(HasSubstr(": 1 entries"), HasSubstr(": 1 entries")));
  EXPECT_THAT(seen(options()), ElementsAre("new value")) << "written again";
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
