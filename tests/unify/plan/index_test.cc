#include "unify/plan/index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lmdb.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <map>

#include "core/error.h"
#include "core/store/store.h"
#include "tests/core/scratch.h"

namespace vs::unify {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

FileRow some_row() {
  FileRow row;
  row.ino = 100;
  row.size = 200;
  row.btime_ns = 300;
  row.mtime_ns = 400;
  row.ctime_ns = 500;
  return row;
}

KnownContent some_content() {
  return {{1, 2}, 3, false, {4, 5}, 6};
}

MasterRecord some_master(uint64_t ino) {
  MasterRecord record;
  record.name = "ab/" + std::to_string(ino);
  record.ino = ino;
  record.size = 10;
  record.file_class = {1, 2, 0100644, -3, 4};
  record.xattrs = {{"user.a", std::string("\0\xff", 2)}, {"user.b", ""}};
  record.sha256 = std::string("\0\xff", 2) + std::string(30, 's');
  record.content = {7, 8};
  record.answers = {{9, 10}, {11, 12}};
  record.package = "libc6";
  record.version = "2.36-9";
  record.arch = "amd64";
  record.source = "glibc";
  record.retired = true;
  return record;
}

class IndexTest : public testing::Test {
 protected:
  Index open(bool read_only = false) const { return Index(dir_ / "state", read_only); }
  const unit::ScratchDir dir_;
};

TEST_F(IndexTest, ForgetsWhatIsNotThereAnyMore) {
  Index index = open();
  std::vector<Index::Learned> all;
  for (const uint64_t dev : {7, 8})
    for (uint64_t ino = 1; ino <= 300; ++ino) {
      FileRow row = some_row();
      row.ino = ino;
      all.push_back({dev, row, some_content()});
    }
  index.learn(all);
  EXPECT_EQ(index.contents(), 600u);
  EXPECT_EQ(index.forget_others(7, {300, 5, 1000}), 298u);
  EXPECT_EQ(index.contents(), 302u);
  EXPECT_TRUE(index.known(7, all[4].row));
  EXPECT_FALSE(index.known(7, all[5].row));
  EXPECT_TRUE(index.known(8, all[5].row)) << "of another filesystem";
}

TEST_F(IndexTest, ADamagedOneIsToldAndBegunAnew) {
  open().learn({{7, some_row(), some_content()}});
  std::filesystem::resize_file(dir_ / "state/index.mdb", 20'000);
  std::vector<std::string> told;
  Index index(dir_ / "state", false, [&](const std::string& message) { told.push_back(message); });
  EXPECT_EQ(told.size(), 1u);
  EXPECT_EQ(index.contents(), 0u);
  index.learn({{7, some_row(), some_content()}});
  EXPECT_TRUE(index.known(7, some_row()));
}

TEST_F(IndexTest, KnowsWhatItLearnedAlsoAfterReopening) {
  open().learn({{7, some_row(), some_content()}});
  for (const bool read_only : {false, true}) {
    const auto known = open(read_only).known(7, some_row());
    ASSERT_TRUE(known);
    EXPECT_EQ(known->content, (Key128{1, 2}));
    EXPECT_EQ(known->xattrs, 3u);
    EXPECT_FALSE(known->pristine);
    EXPECT_EQ(known->recorded, (Key128{4, 5}));
    EXPECT_EQ(known->shared_with, 6u);
  }
}

TEST_F(IndexTest, KnowsNothingOfAnotherIdentity) {
  Index index = open();
  index.learn({{7, some_row(), some_content()}});
  EXPECT_FALSE(index.known(8, some_row())) << "another device";
  const auto differs = [&](auto&& change, const char* what) {
    FileRow row = some_row();
    change(row);
    EXPECT_FALSE(index.known(7, row)) << what;
  };
  differs([](FileRow& r) { ++r.ino; }, "inode");
  differs([](FileRow& r) { ++r.btime_ns; }, "inode number reused: born later");
  differs([](FileRow& r) { ++r.size; }, "size");
  differs([](FileRow& r) { ++r.mtime_ns; }, "mtime");
  differs([](FileRow& r) { ++r.ctime_ns; }, "ctime: a guest can set mtime, not this");
  EXPECT_TRUE(index.known(7, some_row()));
}

TEST_F(IndexTest, ANewIdentityTakesThePlaceOfTheOld) {
  Index index = open();
  index.learn({{7, some_row(), some_content()}});
  FileRow later = some_row();
  later.ctime_ns = 501;
  KnownContent changed = some_content();
  changed.content = {100, 100};
  index.learn({{7, later, changed}});
  EXPECT_FALSE(index.known(7, some_row()));
  EXPECT_EQ(index.known(7, later)->content, (Key128{100, 100}));
}

TEST_F(IndexTest, KeepsEveryFieldOfAMaster) {
  open().put_masters("store", {some_master(5)});
  const auto masters = open(true).masters("store");
  ASSERT_THAT(masters, SizeIs(1));
  const MasterRecord expected = some_master(5), &got = masters[0];
  EXPECT_EQ(got.name, expected.name);
  EXPECT_EQ(got.ino, expected.ino);
  EXPECT_EQ(got.size, expected.size);
  EXPECT_EQ(got.file_class, expected.file_class);
  ASSERT_THAT(got.xattrs, SizeIs(2));
  EXPECT_EQ(got.xattrs[0].name, "user.a");
  EXPECT_EQ(got.xattrs[0].value, expected.xattrs[0].value);
  EXPECT_EQ(got.sha256, expected.sha256);
  EXPECT_EQ(got.content, expected.content);
  EXPECT_EQ(got.answers, expected.answers);
  EXPECT_EQ(got.package + got.version + got.arch + got.source, "libc62.36-9amd64glibc");
  EXPECT_TRUE(got.retired);
}

TEST_F(IndexTest, KeepsTheMastersOfStoresApart) {
  Index index = open();
  const std::string a(32, 'a'), b(32, 'b');
  index.put_masters(a, {some_master(1), some_master(2)});
  index.put_masters(b, {some_master(1)});
  EXPECT_THAT(index.masters(a), SizeIs(2));
  EXPECT_THAT(index.masters(b), SizeIs(1));
  EXPECT_THAT(index.masters(std::string(32, 'c')), IsEmpty());
  index.erase_masters(a, {1, 99});
  EXPECT_THAT(index.masters(a), SizeIs(1));
  EXPECT_THAT(index.masters(b), SizeIs(1));
}

// A bit rots in what is told of a master (its owner, its mode, an attribute) or of a content.
TEST_F(IndexTest, AnEntryInWhichABitRottedIsNone) {
  const std::string store(32, 's');
  {
    Index index = open();
    index.put_masters(store, {some_master(5)});
    index.learn({{7, some_row(), some_content()}});
  }
  const std::string path = dir_ / "state/index.mdb", whole = unit::read_file(path);
  const auto flip_all = [&](size_t begin, size_t end, const std::function<bool()>& known, const char* what) {
    for (size_t at = begin; at < end; ++at) {
      std::string rotten = whole;
      rotten[at] = static_cast<char>(rotten[at] ^ (1 << at % 8));
      unit::write_file(path, rotten);
      EXPECT_FALSE(known()) << what << " " << at - begin;
    }
    unit::write_file(path, whole);
    EXPECT_TRUE(known()) << what;
  };
  const size_t name = whole.find("ab/5"), source = whole.find("glibc", name);
  ASSERT_NE(name, std::string::npos);
  ASSERT_NE(source, std::string::npos);
  flip_all(
      name - 8, source + 9, [&] { return !open(true).masters(store).empty(); }, "master");
  // From birth time, size and the other times to the group that shares its extents.
  const std::string begin = [] {
    const uint64_t times[] = {300, 200, 400, 500};
    return std::string(reinterpret_cast<const char*>(times), sizeof times);
  }();
  const size_t content = whole.find(begin);
  ASSERT_NE(content, std::string::npos);
  flip_all(
      content, content + 80, [&] { return open(true).known(7, some_row()).has_value(); }, "content");
}

// An index of a version without checksums.
class OldIndexTest : public IndexTest {
 protected:
  void SetUp() override {
    Index index = open();
    index.put_masters(kStore, {right_master(5), right_master(6)});
    index.learn({{7, some_row(), some_content()}});
  }
  static MasterRecord right_master(uint64_t ino) {
    MasterRecord record = some_master(ino);
    record.file_class.xattrs = xattr_hash(record.xattrs);
    record.name = name_without_serial(record.sha256, record.file_class) + std::to_string(ino);
    return record;
  }
  // Every value loses its checksum; masters are of layout 1; `spoil` may change one.
  void make_old(const std::function<void(std::string& value)>& spoil = {}) const {
    MDB_env* env = nullptr;
    MDB_txn* transaction = nullptr;
    ASSERT_EQ(mdb_env_create(&env), 0);
    EXPECT_EQ(mdb_env_set_maxdbs(env, 2), 0);
    EXPECT_EQ(mdb_env_open(env, (dir_ / "state/index.mdb").c_str(), MDB_NOSUBDIR, 0600), 0);
    EXPECT_EQ(mdb_txn_begin(env, nullptr, 0, &transaction), 0);
    for (const char* name : {"masters", "contents"}) {
      MDB_dbi table = 0;
      MDB_cursor* cursor = nullptr;
      EXPECT_EQ(mdb_dbi_open(transaction, name, 0, &table), 0);
      EXPECT_EQ(mdb_cursor_open(transaction, table, &cursor), 0);
      std::map<std::string, std::string> old;
      MDB_val key, value;
      while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        old[{static_cast<const char*>(key.mv_data), key.mv_size}] = {static_cast<const char*>(value.mv_data),
                                                                     value.mv_size - 8};
      mdb_cursor_close(cursor);
      for (auto& [name_of, bytes] : old) {
        if (std::strcmp(name, "masters") == 0) bytes[0] = 1;
        if (spoil) spoil(bytes);
        std::string at = name_of;
        key = {at.size(), at.data()};
        value = {bytes.size(), bytes.data()};
        EXPECT_EQ(mdb_put(transaction, table, &key, &value, 0), 0);
      }
    }
    EXPECT_EQ(mdb_txn_commit(transaction), 0);
    mdb_env_close(env);
  }
  Index open_telling(bool read_only) {
    return Index(dir_ / "state", read_only, [this](const std::string& text) { told_.push_back(text); });
  }
  const std::string kStore = std::string(32, 's');
  std::vector<std::string> told_;
};

TEST_F(OldIndexTest, ItsMastersAreTakenOverAndItsContentsForgotten) {
  make_old();
  bool written = false;
  for (const bool read_only : {true, false, true}) {
    told_.clear();
    const Index index = open_telling(read_only);
    const auto masters = index.masters(kStore);
    ASSERT_THAT(masters, SizeIs(2));
    EXPECT_EQ(masters[0].name, right_master(5).name);
    EXPECT_EQ(masters[0].package, "libc6");
    EXPECT_TRUE(masters[0].retired);
    EXPECT_FALSE(index.known(7, some_row()));
    EXPECT_THAT(told_, SizeIs(written ? 0 : 1)) << "by the writer for the last time";
    written = !read_only;
  }
}

TEST_F(OldIndexTest, AMasterThatIsNotWhatItsNameSaysIsNotTakenOver) {
  make_old();
  ASSERT_THAT(open(true).masters(kStore), SizeIs(2));
  SetUp();
  // The name, owner, group, mode, modification time, the attributes and their hash, the digest.
  const MasterRecord record = right_master(5);
  const size_t file_class = 4 + 4 + record.name.size() + 16;
  for (const size_t at : {size_t{9}, file_class, file_class + 4, file_class + 8, file_class + 12,
                          file_class + 20, file_class + 40, file_class + 60, file_class + 70}) {
    make_old([&](std::string& value) {
      if (value[0] == 1 && value.size() > at) value[at] = static_cast<char>(value[at] ^ 1);
    });
    EXPECT_THAT(open_telling(false).masters(kStore), IsEmpty()) << at;
    SetUp();
  }
}

TEST_F(IndexTest, LookingMakesNothing) {
  const Index index = open(true);
  EXPECT_FALSE(index.known(7, some_row()));
  EXPECT_THAT(index.masters("store"), IsEmpty());
  EXPECT_FALSE(unit::exists(dir_ / "state"));
}

TEST_F(IndexTest, IsForTheOwnerAlone) {
  open().learn({{7, some_row(), some_content()}});
  EXPECT_EQ(unit::lstat_of(dir_ / "state").st_mode & 07777, 0700u);
  EXPECT_EQ(unit::lstat_of(dir_ / "state/index.mdb").st_mode & 07777, 0600u);
}

TEST_F(IndexTest, ADamagedFileIsAnErrorThatNamesIt) {
  unit::make_dirs(dir_ / "state");
  ::chmod((dir_ / "state").c_str(), 0700);
  unit::write_file(dir_ / "state/index.mdb", std::string(8192, 'x'), 0600);
  try {
    open();
    FAIL() << "took garbage for an index";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(dir_ / "state/index.mdb"));
  }
}

}  // namespace
}  // namespace vs::unify
