#include "unify/change/exchange.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "tests/support/skip.h"
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
  Expected<Exchange> exchange() { return exchanger_.exchange("00000000", name(), new_, old_); }
  // What a guest does in the moment before.
  void replace(std::string_view content) const {
    unit::write_file(at("dir/tmp"), content);
    ASSERT_EQ(::rename(at("dir/tmp").c_str(), at().c_str()), 0);
  }

  unit::Host host_{{"a"}};
  Exchanger exchanger_ = host_.exchanger();
  uint64_t old_ = 0, new_ = 0;
  UniqueFd dir_;
  UniqueFd hold_old_,
      hold_new_;  // as the linker does: an inode number means this inode only as long as it cannot be freed
};

TEST_F(ExchangeTest, TheGuestGetsTheNewAndStagingTheOld) {
  ASSERT_EQ(*exchange(), Exchange::done);
  EXPECT_EQ(unit::ino_of(at()), new_);
  EXPECT_EQ(unit::ino_of(staged()), old_);
  EXPECT_THAT(std::distance(std::filesystem::directory_iterator(at("dir")), {}), 1)
      << "no temporary name in the guest";
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
  const std::function<void()> kinds[] = {[&] { unit::make_symlink("/etc/passwd", at()); },
                                         [&] { unit::make_fifo(at()); },
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
  VS_STOP_IF(unit::cannot_seal());
  unit::seal(staged());
  EXPECT_EQ(exchange().error().code, EPERM);
  EXPECT_EQ(unit::ino_of(at()), old_);
}

// --- Giving back -------------------------------------------------------------------------------------------

class PutBackTest : public ExchangeTest {
 protected:
  // As after a good exchange: the guest has the new, staging what it shall get back.
  PutBackTest() { EXPECT_EQ(*exchange(), Exchange::done); }
  Exchange back() { return exchanger_.put_back("00000000", name(), new_); }
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
  EXPECT_THAT(host_.staging(), IsEmpty())
      << "neither ours, which the guest replaced, nor the old, which ours had replaced";
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
    EXPECT_TRUE(exchanger_.keep_as_lost("00000000", "a name\x1b"));
    EXPECT_THAT(host_.staging(), IsEmpty());
  }
  EXPECT_THAT(host_.lost(), SizeIs(3));
}

// --- A guest that does nothing else ------------------------------------------------------------------------

// It replaces the name all the time and numbers what it puts there; each exchange fails or is given back.
// Whatever happens, in the end it has what it put there last.
TEST_F(ExchangeTest, AGuestThatReplacesTheNameAllTheTimeKeepsItsLast) {
  int last = 0;
  std::jthread guest([&](std::stop_token stop) {
    while (!stop.stop_requested()) {
      ++last;
      unit::write_file(at("dir/tmp"), std::to_string(last));
      if (::rename(at("dir/tmp").c_str(), at().c_str()) != 0)
        ADD_FAILURE() << "rename in the guest: " << errno;
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

// It moves the name away and back: our inode is found where it was moved to, or what the guest had waits in
// lost/.
TEST_F(ExchangeTest, AGuestThatMovesTheNameToAndFroLosesNothing) {
  replace("precious");  // first: the guest's own renames would take it away
  old_ = 1;             // not what is there: each exchange is given back
  std::atomic<bool> stop{false};
  std::jthread guest([&] {
    while (!stop) {
      ::rename(at().c_str(), at("dir/moved").c_str());
      ::rename(at("dir/moved").c_str(), at().c_str());
    }
  });
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

// --- Masters in the way ------------------------------------------------------------------------------------

// The guest has renamed a name of another master, while that was unsealed, over the file that is being
// exchanged.
class StrayMasterTest : public unit::HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    for (const std::string name : {"one", "two"}) host().everywhere("usr/" + name, "content of " + name);
    host().unify();
    host().file("a", "dir/name", "old");
    unit::write_file(staged(), "new");
    new_ = unit::ino_of(staged());
    hold_new_.reset(::open(staged().c_str(), O_PATH | O_CLOEXEC));
    dir_.reset(::open(host().path("a", "dir").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    exchanger_.reset(new Exchanger(host().exchanger()));
    links_ = unit::lstat_of(master("one")).st_nlink;
  }
  std::string staged() { return host().store_path() + "/staging/00000000"; }
  std::string at(const std::string& name = "dir/name") { return host().path("a", name); }
  std::string master(const std::string& name) { return host().path("b", "usr/" + name); }  // b's name of it
  GuestName name() { return {dir_.get(), "name", at()}; }
  Exchange back() { return exchanger_->put_back("00000000", name(), new_); }
  // In the master's window: a's name of it goes to `to`.
  void rename_unsealed(const std::string& which, const std::string& to) {
    unit::unseal(master(which));
    ASSERT_EQ(::rename(at("usr/" + which).c_str(), to.c_str()), 0);
    unit::seal(master(which));
  }
  void swap() {
    ASSERT_EQ(::syscall(SYS_renameat2, AT_FDCWD, staged().c_str(), AT_FDCWD, at().c_str(), RENAME_EXCHANGE),
              0);
  }
  bool is(const std::string& path, const std::string& which) {
    return unit::exists(path) && unit::ino_of(path) == unit::ino_of(master(which));
  }
  void expect_sealed() {
    for (const std::string name : {"one", "two"}) EXPECT_TRUE(unit::is_sealed(master(name))) << name;
  }

  uint64_t new_ = 0, links_ = 0;
  UniqueFd dir_, hold_new_;
  std::unique_ptr<Exchanger> exchanger_;
};

TEST_F(StrayMasterTest, OneThatCameOutGoesBack) {
  swap();
  rename_unsealed("one", staged());  // in place of the old inode: as if the guest had been just before
  ASSERT_EQ(back(), Exchange::put_back);
  EXPECT_TRUE(is(at(), "one"));
  EXPECT_EQ(unit::ino_of(staged()), new_);
  EXPECT_EQ(host().context.log.failed_objects(), 0u);
  EXPECT_THAT(exchanger_->strays().changed(), IsEmpty());
  expect_sealed();
}

TEST_F(StrayMasterTest, OneThatStandsThereStays) {
  swap();
  rename_unsealed("one", at());
  ASSERT_EQ(back(), Exchange::put_back);
  EXPECT_TRUE(is(at(), "one")) << "what the guest put there last";
  EXPECT_THAT(host().staging(), IsEmpty());
  EXPECT_THAT(host().lost(), IsEmpty());
  expect_sealed();
}

TEST_F(StrayMasterTest, OneInEachPlaceIsOneToKeepAndOneToForget) {
  swap();
  rename_unsealed("one", staged());
  rename_unsealed("two", at());
  ASSERT_EQ(back(), Exchange::put_back);
  EXPECT_TRUE(is(at(), "two"));
  EXPECT_THAT(host().staging(), IsEmpty());
  EXPECT_EQ(unit::lstat_of(master("one")).st_nlink, links_ - 1) << "the guest itself had replaced it";
  expect_sealed();
}

TEST_F(StrayMasterTest, WithoutAPlaceACopyOfItIsKept) {
  swap();
  rename_unsealed("one", staged());
  ASSERT_EQ(::unlink(at().c_str()), 0);
  ASSERT_EQ(back(), Exchange::lost);
  ASSERT_THAT(host().lost(), SizeIs(1));
  const std::string kept = host().store_path() + "/lost/" + host().lost()[0];
  EXPECT_EQ(unit::read_file(kept), "content of one");
  EXPECT_EQ(unit::lstat_of(kept).st_nlink, 1u) << "and no hard link of the master";
  EXPECT_EQ(unit::lstat_of(master("one")).st_nlink, links_ - 1);
  EXPECT_THAT(host().staging(), IsEmpty());
  expect_sealed();
}

// Unsealed it would be writable for who has it open. It stays where recovery finds it.
TEST_F(StrayMasterTest, IsNotUnsealedWhileSomebodyHasItOpenForWriting) {
  swap();
  unit::unseal(master("one"));
  const UniqueFd writer(::open(master("one").c_str(), O_WRONLY | O_CLOEXEC));
  rename_unsealed("one", staged());
  host().guard->after_unseal = [](int) { ADD_FAILURE() << "unsealed"; };
  ASSERT_EQ(back(), Exchange::stuck);
  host().guard->after_unseal = nullptr;
  EXPECT_TRUE(is(staged(), "one"));
  EXPECT_EQ(unit::ino_of(at()), new_);
  EXPECT_GT(host().context.log.failed_objects(), 0u);
  EXPECT_THAT(host().lost(), IsEmpty());
  expect_sealed();
}

TEST_F(StrayMasterTest, WhatAGuestDidToItMeanwhileIsTold) {
  swap();
  rename_unsealed("one", staged());
  host().guard->before_seal = [](int fd) { (void)::fchmod(fd, 0666); };  // it wins each time
  ASSERT_EQ(back(), Exchange::put_back);
  host().guard->before_seal = nullptr;
  EXPECT_TRUE(is(at(), "one"));
  const auto changed = exchanger_->strays().changed();
  ASSERT_THAT(changed, SizeIs(1));
  EXPECT_EQ(host().masters[changed[0]].ino, unit::ino_of(master("one")));
  expect_sealed();
}

// Windows of the master open and close all the time, and in each the guest puts a name of it over the file,
// or a new file. Whatever happens, in the end it has what it put there last.
TEST_F(StrayMasterTest, AGuestThatUsesEachWindowKeepsItsLast) {
  std::string last;
  std::jthread guest([&](std::stop_token stop) {
    for (int i = 0; !stop.stop_requested(); ++i) {
      const bool of_master = i % 2 == 0;
      const std::string next = of_master ? "content of one" : "own " + std::to_string(i);
      for (bool done = false; !done;) {  // a window of the exchanger may end ours
        unit::unseal(master("one"));
        const bool room = ::unlink(at("dir/tmp").c_str()) == 0 ||
                          errno == ENOENT;  // renaming a name of the master over another one leaves both
        if (room && !of_master) unit::write_file(at("dir/tmp"), next);
        const bool made = room && (!of_master || ::link(master("one").c_str(), at("dir/tmp").c_str()) == 0);
        done = made && ::rename(at("dir/tmp").c_str(), at().c_str()) == 0;
        unit::seal(master("one"));
      }
      last = next;
    }
  });
  int given_back = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto exchanged = exchanger_->exchange("00000000", name(), new_, 1);
    given_back += exchanged && *exchanged == Exchange::put_back;
    ASSERT_FALSE(exchanged && (*exchanged == Exchange::lost || *exchanged == Exchange::stuck)) << i;
    if (unit::exists(staged()) && unit::ino_of(staged()) == new_) continue;
    unit::write_file(staged(), "new");
    new_ = unit::ino_of(staged());
    hold_new_.reset(::open(staged().c_str(), O_PATH | O_CLOEXEC));
  }
  guest.request_stop();
  guest.join();
  EXPECT_EQ(unit::read_file(at()), last);
  EXPECT_GT(given_back, 100);
  expect_sealed();
}

}  // namespace
}  // namespace vs::unify
