#include "backup/restore/live_masters.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>

#include "backup/source_reader.h"
#include "tests/core/sealing.h"

namespace vs::backup {
namespace {

// A store with one master, of which a guest has a name, and what an archive knows of that file.
class LiveMastersTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_STOP_IF(unit::cannot_seal());
    unit::make_dirs(dir_ / "guest");
    std::vector<Guest> guests;
    guests.push_back({"guest", "--tree", RootDir(dir_ / "guest")});
    store_ = Store::open(dir_ / ".unify", find_pool(guests), guests, true);
    unit::write_file(name_, "content");
    const UniqueFd fd(::open(name_.c_str(), O_RDONLY | O_CLOEXEC));
    const auto file = value_or_throw(shared_as_it_is(fd.get(), name_));
    master_ = store_->shown_master(
        value_or_throw(store_->name_master(fd.get(), std::string(32, 'x'), file.file_class)));
    unit::seal(name_);
    entry_.type = 'f';
    entry_.size = 7;
    entry_.mode = file.file_class.mode & 07777;
    entry_.uid = file.file_class.uid;
    entry_.gid = file.file_class.gid;
    entry_.mtime_ns = file.file_class.mtime_ns;
    entry_.content = value_or_throw(digest_of(fd.get(), 7, name_, nullptr));
  }
  void TearDown() override { store_.reset(); }
  uint64_t link(int fd) const {
    return ::linkat(fd, "", AT_FDCWD, fresh_.c_str(), AT_EMPTY_PATH) == 0 ? 1 : 0;
  }
  Result unlink() const {
    return ::unlink(fresh_.c_str()) == 0 ? Result(Ok{}) : Result(problem_from_errno("unlink", fresh_));
  }
  Expected<bool> link_live(std::unique_ptr<Guard> guard) {
    LiveMasters masters(dir_ / ".unify", std::move(guard), cancel_, log_);
    return masters.link_to(
        entry_, [this](int fd) { return link(fd); }, [this] { return unlink(); });
  }
  unsigned mode() const { return unit::lstat_of(name_).st_mode & 07777; }

  const unit::ScratchDir dir_;
  const std::string name_ = dir_ / "guest/name", fresh_ = dir_ / "fresh";
  std::string master_;
  std::unique_ptr<Store> store_;
  Entry entry_;
  const Cancel cancel_;
  Log log_{Verbosity::quiet, "test"};
};

TEST_F(LiveMastersTest, GivesASealedNameOfTheSameFile) {
  const auto linked = link_live(make_immutable_guard());
  ASSERT_TRUE(linked) << linked.error().message;
  EXPECT_TRUE(*linked);
  EXPECT_EQ(unit::ino_of(fresh_), unit::ino_of(name_));
  EXPECT_TRUE(unit::is_sealed(name_));
}

TEST_F(LiveMastersTest, AnotherFileIsNotTaken) {
  entry_.mode = 0600;
  const auto linked = link_live(make_immutable_guard());
  EXPECT_TRUE(linked && !*linked);
  EXPECT_FALSE(unit::exists(fresh_));
}

TEST_F(LiveMastersTest, AModeThatAGuestChangesInTheWindowIsPutBack) {
  const unsigned before = mode();
  auto guard = std::make_unique<unit::HookedGuard>();
  guard->after_unseal = [&, first = true](int) mutable {
    if (!std::exchange(first, false)) return;
    ASSERT_EQ(::chmod(name_.c_str(), 06777), 0);
  };
  const auto linked = link_live(std::move(guard));
  ASSERT_TRUE(linked) << linked.error().message;
  EXPECT_TRUE(*linked);
  EXPECT_EQ(mode(), before);
  EXPECT_TRUE(unit::is_sealed(name_));
  EXPECT_TRUE(unit::exists(fresh_));
}

TEST_F(LiveMastersTest, AGuestThatKeepsChangingItLosesNothingButTheNewName) {
  auto guard = std::make_unique<unit::HookedGuard>();
  guard->before_seal = [&, n = 0](int) mutable {
    ASSERT_EQ(::chmod(name_.c_str(), ++n % 2 ? 0777 : 0700), 0);
  };
  const auto linked = link_live(std::move(guard));
  ASSERT_TRUE(linked) << linked.error().message;
  EXPECT_FALSE(*linked) << "so a file of its own is restored";
  EXPECT_FALSE(unit::exists(fresh_));
  EXPECT_TRUE(unit::is_sealed(name_));
  EXPECT_GT(log_.failed_objects(), 0u);
}

TEST_F(LiveMastersTest, KilledInTheWindowItIsSealed) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto guard = std::make_unique<unit::HookedGuard>();
    guard->after_unseal = [](int) { ::raise(SIGKILL); };
    static_cast<void>(link_live(std::move(guard)));
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  for (int i = 0; i < 500 && !unit::is_sealed(name_); ++i) ::usleep(10'000);
  EXPECT_TRUE(unit::is_sealed(name_)) << "by the seal keeper";
}

TEST_F(LiveMastersTest, WhatIsNoStoreIsAUsageError) {
  try {
    const LiveMasters masters(dir_ / "guest", make_immutable_guard(), cancel_, log_);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::usage) << error.what();
  }
}

}  // namespace
}  // namespace vs::backup
