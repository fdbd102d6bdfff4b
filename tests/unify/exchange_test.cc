#include "unify/exchange.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// `staged` in staging holds "new"; the guest's name held "old" when it was looked at.
class ExchangeTest : public testing::Test {
 protected:
  ExchangeTest() {
    host_.file("a", "dir/name", "old");
    stage("new");
    old_ = host_.ino("a", "dir/name");
    hold_old_.reset(::open(at().c_str(), O_PATH | O_CLOEXEC));
    dir_.reset(::open(host_.path("a", "dir").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  void stage(std::string_view content) {
    unit::write_file(staged(), content);
    new_ = unit::ino_of(staged());
    hold_new_.reset(::open(staged().c_str(), O_PATH | O_CLOEXEC));
  }
  std::string staged() const { return host_.store_path() + "/staging/00000000"; }
  std::string at(const std::string& name = "dir/name") const { return host_.path("a", name); }
  GuestName name() const { return {dir_.get(), "name", at()}; }
  Expected<Exchange> exchange() { return exchange_names(*host_.store, "00000000", name(), new_, old_, host_.context.log); }
  // What a guest does in the moment before.
  void replace(std::string_view content) const {
    unit::write_file(at("dir/tmp"), content);
    ASSERT_EQ(::rename(at("dir/tmp").c_str(), at().c_str()), 0);
  }

  unit::Host host_{{"a"}};
  uint64_t old_ = 0, new_ = 0;
  UniqueFd dir_;
  UniqueFd hold_old_, hold_new_;  // as the linker does: an inode number means this inode only as long as it cannot be freed
};

TEST_F(ExchangeTest, TheGuestGetsTheNewAndStagingTheOld) {
  ASSERT_EQ(*exchange(), Exchange::done);
  EXPECT_EQ(unit::ino_of(at()), new_);
  EXPECT_EQ(unit::ino_of(staged()), old_);
  EXPECT_THAT(std::distance(std::filesystem::directory_iterator(at("dir")), {}), 1) << "no temporary name in the guest";
}

TEST_F(ExchangeTest, GivesBackWhatTheGuestPutThereMeanwhile) {
  replace("newer");
  const uint64_t newer = unit::ino_of(at());
  ASSERT_EQ(*exchange(), Exchange::put_back);
  EXPECT_EQ(unit::ino_of(at()), newer);
  EXPECT_EQ(unit::read_file(at()), "newer");
  EXPECT_EQ(unit::ino_of(staged()), new_);
}

TEST_F(ExchangeTest, GivesBackWhateverKindOfFileItIs) {
  const std::function<void()> kinds[] = {[&] { unit::make_symlink("/etc/passwd", at()); }, [&] { unit::make_fifo(at()); },
                                         [&] { unit::write_file(at("dir/name/inside"), "x"); }};
  for (const auto& make : kinds) {
    std::filesystem::remove_all(at());
    make();
    const auto before = unit::lstat_of(at());
    ASSERT_EQ(*exchange(), Exchange::put_back);
    EXPECT_EQ(unit::lstat_of(at()).st_ino, before.st_ino);
    EXPECT_EQ(unit::lstat_of(at()).st_mode, before.st_mode);
    EXPECT_EQ(unit::ino_of(staged()), new_);
  }
}

TEST_F(ExchangeTest, AMissingNameIsAProblemAndNothingIsExchanged) {
  ASSERT_EQ(::unlink(at().c_str()), 0);
  const auto exchanged = exchange();
  ASSERT_FALSE(exchanged);
  EXPECT_EQ(exchanged.error().code, ENOENT);
  EXPECT_EQ(unit::ino_of(staged()), new_);
  EXPECT_FALSE(unit::exists(at()));
}

TEST_F(ExchangeTest, ADirectoryThatWasMovedAwayIsFollowedByItsDescriptorOnly) {
  ASSERT_EQ(::rename(at("dir").c_str(), at("moved").c_str()), 0);
  unit::write_file(at(), "another file under the old path");
  ASSERT_EQ(*exchange(), Exchange::done);
  EXPECT_EQ(unit::ino_of(at("moved/name")), new_);
  EXPECT_EQ(unit::read_file(at()), "another file under the old path");
}

TEST_F(ExchangeTest, ASealedMasterInStagingIsNotMoved) {
  if (const std::string why = unit::cannot_seal(); !why.empty()) GTEST_SKIP() << why;
  unit::seal(staged());
  EXPECT_EQ(exchange().error().code, EPERM);
  EXPECT_EQ(unit::ino_of(at()), old_);
}

// --- Giving back ------------------------------------------------------------------------------------------------

class PutBackTest : public ExchangeTest {
 protected:
  // As after a good exchange: the guest has the new, staging what it shall get back.
  PutBackTest() { EXPECT_EQ(*exchange(), Exchange::done); }
  Exchange back() { return put_back(*host_.store, "00000000", name(), new_, host_.context.log); }
};

TEST_F(PutBackTest, TheGuestHasItsOwnAgain) {
  ASSERT_EQ(back(), Exchange::put_back);
  EXPECT_EQ(unit::ino_of(at()), old_);
  EXPECT_EQ(unit::ino_of(staged()), new_);
  EXPECT_EQ(host_.context.log.failed_objects(), 0u);
}

// What the guest wrote last is what it keeps; what it replaced itself is gone.
TEST_F(PutBackTest, WhatTheGuestPutThereLaterStays) {
  replace("newest");
  ASSERT_EQ(back(), Exchange::put_back);
  EXPECT_EQ(unit::read_file(at()), "newest");
  EXPECT_THAT(host_.staging(), IsEmpty()) << "neither ours, which the guest replaced, nor the old, which ours had replaced";
  EXPECT_THAT(host_.lost(), IsEmpty());
}

TEST_F(PutBackTest, FindsTheNameThatTheGuestMovedOursTo) {
  ASSERT_EQ(::rename(at().c_str(), at("dir/moved").c_str()), 0);
  ASSERT_EQ(back(), Exchange::put_back);
  EXPECT_EQ(unit::ino_of(at("dir/moved")), old_);
  EXPECT_EQ(unit::ino_of(staged()), new_);
  EXPECT_FALSE(unit::exists(at()));
}

TEST_F(PutBackTest, WhatHasNoPlaceAnyMoreIsKeptNotDeleted) {
  ASSERT_EQ(::unlink(at().c_str()), 0);
  ASSERT_EQ(back(), Exchange::lost);
  ASSERT_THAT(host_.lost(), SizeIs(1));
  EXPECT_EQ(unit::read_file(host_.store_path() + "/lost/" + host_.lost()[0]), "old");
  EXPECT_THAT(host_.staging(), IsEmpty());
  EXPECT_EQ(host_.context.log.failed_objects(), 1u) << "and it is told";
}

TEST_F(PutBackTest, SeveralEntriesOfOneSecondAreAllKept) {
  for (int i = 0; i < 3; ++i) {
    unit::write_file(staged(), "kept " + std::to_string(i));
    keep_as_lost(*host_.store, "00000000", "a name\x1b", host_.context.log);
    EXPECT_THAT(host_.staging(), IsEmpty());
  }
  EXPECT_THAT(host_.lost(), SizeIs(3));
}

// --- A guest that does nothing else ---------------------------------------------------------------------------

// It replaces the name all the time and numbers what it puts there; each exchange fails or is given back. Whatever
// happens, in the end it has what it put there last.
TEST_F(ExchangeTest, AGuestThatReplacesTheNameAllTheTimeKeepsItsLast) {
  int last = 0;
  std::jthread guest([&](std::stop_token stop) {
    while (!stop.stop_requested()) {
      ++last;
      unit::write_file(at("dir/tmp"), std::to_string(last));
      if (::rename(at("dir/tmp").c_str(), at().c_str()) != 0) ADD_FAILURE() << "rename in the guest: " << errno;
    }
  });
  while (unit::ino_of(at()) == old_) std::this_thread::yield();  // until it has begun
  int put_back_count = 0;
  for (int i = 0; i < 300; ++i) {
    const auto exchanged = exchange();
    ASSERT_TRUE(exchanged) << exchanged.error().message;
    ASSERT_NE(*exchanged, Exchange::done);
    put_back_count += *exchanged == Exchange::put_back;
    if (!unit::exists(staged())) stage("new");
  }
  guest.request_stop();
  guest.join();
  EXPECT_EQ(unit::read_file(at()), std::to_string(last));
  EXPECT_GT(put_back_count, 250);
}

// It moves the name away and back: our inode is found where it was moved to, or what the guest had waits in lost/.
TEST_F(ExchangeTest, AGuestThatMovesTheNameToAndFroLosesNothing) {
  std::atomic<bool> stop{false};
  std::jthread guest([&] {
    while (!stop) {
      ::rename(at().c_str(), at("dir/moved").c_str());
      ::rename(at("dir/moved").c_str(), at().c_str());
    }
  });
  replace("precious");
  old_ = 1;  // not what is there: each exchange is given back
  for (int i = 0; i < 300; ++i) {
    (void)exchange();
    if (!unit::exists(staged())) stage("new");
    if (!host_.lost().empty()) break;
  }
  stop = true;
  guest.join();
  std::vector<std::string> places = {at(), at("dir/moved")};
  for (const auto& kept : host_.lost()) places.push_back(host_.store_path() + "/lost/" + kept);
  int found = 0;
  for (const auto& place : places) found += unit::exists(place) && unit::read_file(place) == "precious";
  EXPECT_EQ(found, 1);
}

}  // namespace
}  // namespace vs::unify
