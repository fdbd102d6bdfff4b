#include "unify/plan/index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "core/error.h"
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
