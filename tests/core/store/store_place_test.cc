#include "core/store/store_place.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cstdlib>

#include "tests/core/scratch.h"

namespace vs {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

class StorePlaceTest : public testing::Test {
 protected:
  StorePlaceTest() {
    ::unsetenv("VS_STORE");
    unit::make_dirs(dir_ / "guest");
    unit::make_dirs(store_);
    ::chmod(store_.c_str(), 0700);
  }
  ~StorePlaceTest() override { ::unsetenv("VS_STORE"); }
  std::vector<HostLock> lock() const { return lock_stores(RootDir(dir_ / "guest"), conf_); }
  std::string refusal() const {
    try {
      lock();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::locked);
      return error.what();
    }
    return "";
  }

  const unit::ScratchDir dir_;
  const std::string store_ = dir_ / "elsewhere", conf_ = dir_ / "vunify.conf";
};

TEST_F(StorePlaceTest, IsThatOfTheFileOrBeforeItThatOfTheEnvironment) {
  EXPECT_EQ(configured_store(conf_), "") << "there is no such file";
  unit::write_file(conf_, "jobs = 2\nstore = /first\n# store = /no\nstore = \"/pool/a store\"  # mine\n");
  EXPECT_EQ(configured_store(conf_), "/pool/a store");
  ::setenv("VS_STORE", "/of/the/environment", 1);
  EXPECT_EQ(configured_store(conf_), "/of/the/environment");
  ::setenv("VS_STORE", "", 1);
  EXPECT_EQ(configured_store(conf_), "") << "the default place";
}

TEST_F(StorePlaceTest, AFileThatIsNotUnderstoodIsNoReasonToGoOnUnlocked) {
  unit::write_file(conf_, "store\n");
  EXPECT_THROW(lock(), Error);
}

TEST_F(StorePlaceTest, TheConfiguredStoreIsLocked) {
  unit::write_file(conf_, "store = " + store_ + "\n");
  const auto locks = lock();
  ASSERT_THAT(locks, SizeIs(1));
  EXPECT_THAT(refusal(), HasSubstr(store_ + "/lock"));
}

TEST_F(StorePlaceTest, TheStoreOfTheEnvironmentIsLocked) {
  ::setenv("VS_STORE", store_.c_str(), 1);
  const auto locks = lock();
  ASSERT_THAT(locks, SizeIs(1));
  EXPECT_THAT(refusal(), HasSubstr(store_ + "/lock"));
}

TEST_F(StorePlaceTest, WhatOthersCanWriteIsNoStore) {
  ::chmod(store_.c_str(), 0777);
  unit::write_file(conf_, "store = " + store_ + "\n");
  EXPECT_THAT(lock(), SizeIs(0));
}

}  // namespace
}  // namespace vs
