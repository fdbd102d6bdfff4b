// Runs twice, the second time with VS_NO_OPENAT2=1. What becomes of equal files; what stays as it is is in
// linker_in_use_test.cc and linker_refuses_test.cc.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "tests/support/skip.h"
#include "tests/unify/change/linker_fixture.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(LinkerTest, WhoIsStoppedMakesNoMasterAndLinksNothing) {
  plan();
  Cancel cancel;
  PlannedFiles files = host().planned();
  files.cancel = &cancel;
  Linker linker(*host().store, *host().guard, files, host().masters, nullptr, false, host().counts,
                host().context.log);
  GroupWork work = host().work(GroupNumber(0), linker);
  cancel.request();
  linker.link(work);
  linker.settle(work);
  EXPECT_THAT(refused(work), ElementsAre("a out_of_time", "b out_of_time", "c out_of_time"));
  GroupWork next;
  next.end = DuplicateNumber(3);
  linker.prepare(next);
  EXPECT_FALSE(next.ready);
  EXPECT_THAT(host().store->list_masters(), SizeIs(1));
  expect_tidy();
}

TEST_F(LinkerTest, MakesEqualFilesOneSealedInodeOfTheirClass) {
  const auto before = unit::lstat_of(x("a"));
  const GroupWork work = run();
  EXPECT_THAT(refused(work), IsEmpty());
  EXPECT_TRUE(linked("a") && linked("b") && linked("c"));
  expect_tidy();
  const auto after = unit::lstat_of(x("b"));
  EXPECT_EQ(unit::read_file(x("b")), "same");
  EXPECT_EQ(after.st_nlink, 4u) << "three names and the store's";
  EXPECT_EQ(std::tuple(after.st_mode, after.st_uid, after.st_gid, after.st_size),
            std::tuple(before.st_mode, before.st_uid, before.st_gid, before.st_size));
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(host().counts.files_linked, 3u);
  EXPECT_EQ(host().counts.bytes_freed, 3 * static_cast<uint64_t>(before.st_blocks) * 512);
}

// What this thread has read so far, by any call.
uint64_t bytes_read() {
  const std::string io = unit::read_file("/proc/thread-self/io");
  return std::stoull(io.substr(io.find("rchar: ") + 7));
}

// A window is as long as its exchanges: while a master is unsealed nothing of a guest is read, and it belongs
// to one guest, which cannot stretch it by many names.
TEST_F(LinkerTest, AWindowHasFewNamesOfOneGuestAndReadsNothing) {
  start_over(std::string(64 << 10, 's'));
  copy_in_b(40);
  plan();
  GroupWork work = prepared();
  const uint64_t asked = bytes_read(), read_to_ask = bytes_read() - asked;
  uint64_t begin = 0;
  std::map<std::string, size_t> before;
  const auto linked_names = [&] {
    std::map<std::string, size_t> names;
    for (const char* guest : {"a", "b", "c"})
      for (const auto& entry : std::filesystem::directory_iterator(host().path(guest, "usr")))
        names[guest] += unit::ino_of(entry.path()) == work.master.record.ino ? 1 : 0;
    return names;
  };
  size_t windows = 0;
  host().guard->after_unseal = [&](int) {
    ++windows;
    before = linked_names();
    begin = bytes_read();
  };
  host().guard->before_seal = [&](int) {
    EXPECT_LT(bytes_read() - begin, read_to_ask + 64);  // the number grows a digit now and then
    size_t guests = 0;
    for (const auto& [guest, names] : linked_names()) {
      guests += names != before[guest] ? 1 : 0;
      EXPECT_LE(names - before[guest], 32u);
    }
    EXPECT_LE(guests, 1u);
  };
  link(work);
  host().guard->after_unseal = {};
  host().guard->before_seal = {};
  settle(work);
  EXPECT_GE(windows, 4u) << "one for a, two or more for b, one for c";
  EXPECT_THAT(refused(work), IsEmpty());
  EXPECT_EQ(host().counts.files_linked, 43u);
  expect_tidy();
}

// With 40 copies that are not in memory, which a guest made to keep the window open.
TEST_F(LinkerTest, NoGuestChoosesHowLongAWindowIs) {
  start_over(std::string(8 << 20, 's'));
  copy_in_b(40);
  plan();
  GroupWork work = prepared();
  for (const auto& entry : std::filesystem::directory_iterator(host().path("b", "usr"))) {
    const UniqueFd fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(::fdatasync(fd.get()), 0);
    ASSERT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  }
  const auto begin = std::chrono::steady_clock::now();
  link(work);
  const std::chrono::nanoseconds all = std::chrono::steady_clock::now() - begin;
  settle(work);
  EXPECT_EQ(host().counts.files_linked, 43u);
  // Of the time in which 300 MB are read, whatever else runs on the machine.
  EXPECT_LT(host().counts.longest_ns, static_cast<uint64_t>(all.count()) / 4);
  RecordProperty("longest_us", std::to_string(host().counts.longest_ns / 1000));
}

// No guest ever had a descriptor of it.
TEST_F(LinkerTest, TheMasterIsAnInodeThatNoGuestEverHad) {
  const uint64_t a = unit::ino_of(x("a")), b = unit::ino_of(x("b")), c = unit::ino_of(x("c"));
  run();
  EXPECT_THAT((std::vector<uint64_t>{a, b, c}), testing::Not(testing::Contains(master_ino())));
}

TEST_F(LinkerTest, DescriptorsThatReadersHaveGoOnReadingTheirOwn) {
  const UniqueFd reader(::open(x("a").c_str(), O_RDONLY | O_CLOEXEC));
  plan();
  GroupWork work = prepared();
  work.processes = Processes::none;
  link(work);
  settle(work);
  char buffer[4];
  EXPECT_EQ(::pread(reader.get(), buffer, 4, 0), 4);
  EXPECT_TRUE(linked("a"));
}

TEST_F(LinkerTest, CarriesAttributesAndAccessListsOver) {
  for (const char* guest : {"a", "b", "c"})
    if (::setxattr(x(guest).c_str(), "user.note", "mine", 4, 0) != 0)
      VS_SKIP(kFilesystem) << "no user attributes here";
  run();
  EXPECT_TRUE(linked("a") && linked("c"));
  char value[4];
  EXPECT_EQ(::getxattr(x("c").c_str(), "user.note", value, 4), 4);
}

TEST_F(LinkerTest, ANewGuestGetsTheMasterThatIsThere) {
  host().everywhere("usr/x", "same");
  ASSERT_EQ(::unlink(x("c").c_str()), 0);
  run();
  host().file("c", "usr/x", "same");
  const GroupWork work = run();
  EXPECT_FALSE(work.master.fresh);
  EXPECT_EQ(host().masters.size(), 1u);
  EXPECT_TRUE(linked("a") && linked("b") && linked("c"));
  expect_tidy();
}

TEST_F(LinkerTest, LinksNothingTwice) {
  run();
  host().plan();
  EXPECT_THAT(host().link_plan.groups, IsEmpty());
}

// --- Hard links --------------------------------------------------------------------------------------------

TEST_F(LinkerTest, MovesAllNamesOfAHardLinkedFile) {
  host().link("a", "usr/x", "usr/y");
  host().link("a", "usr/x", "other/dir/z");
  run();
  EXPECT_TRUE(linked("a") && linked("b"));
  for (const char* name : {"usr/y", "other/dir/z"}) EXPECT_EQ(host().ino("a", name), master_ino()) << name;
  expect_tidy();
}

// --- Large files, odd names --------------------------------------------------------------------------------

TEST_F(LinkerTest, KeepsHoles) {
  host().everywhere("usr/x", "");
  for (const char* guest : {"a", "b", "c"}) {
    const UniqueFd fd = open_for_writing(x(guest));
    const std::string begin(3 << 20, 'b');  // what is mostly holes is left alone
    ASSERT_EQ(::pwrite(fd.get(), begin.data(), begin.size(), 0), static_cast<ssize_t>(begin.size()));
    ASSERT_EQ(::pwrite(fd.get(), "end", 3, 8 << 20), 3);
    unit::set_mtime(x(guest), unit::kMtime);
  }
  run();
  EXPECT_TRUE(linked("a") && linked("b"));
  EXPECT_LT(unit::lstat_of(x("a")).st_blocks, 1000 + (3 << 20) / 512);
  EXPECT_EQ(unit::read_file(x("a")).substr(8 << 20), "end");
}

TEST_F(LinkerTest, TakesNamesOfAnyBytesAndPathsOfAnyLength) {
  for (const char* guest : {"a", "b", "c"}) ASSERT_EQ(::unlink(x(guest).c_str()), 0);
  const std::string names[] = {"new\nline", "\x1b[2J", "\xff\xfe", std::string(255, 'n'), "dir\n/in dir"};
  for (const auto& name : names) host().everywhere(name, "same");
  std::string deep;
  for (const char* guest : {"a", "b", "c"}) {
    UniqueFd deepest;
    deep = unit::make_deep(host().path(guest), std::string(200, 'd'), 30, deepest);
    const UniqueFd leaf(::openat(deepest.get(), "leaf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    ASSERT_EQ(::write(leaf.get(), "same", 4), 4);
    const timespec times[2] = {{0, UTIME_OMIT}, {unit::kMtime / 1'000'000'000, unit::kMtime % 1'000'000'000}};
    ASSERT_EQ(::futimens(leaf.get(), times), 0);
  }
  const GroupWork work = run();
  EXPECT_THAT(refused(work), IsEmpty());
  for (const auto& name : names) EXPECT_EQ(host().ino("b", name), master_ino());
  EXPECT_EQ(stat_fd(host().guests.back().root.open_regular(deep + "/leaf")->get(), "")->ino, master_ino());
  EXPECT_EQ(host().counts.files_linked, 18u);
  expect_tidy();
}

// --- Time ignored ------------------------------------------------------------------------------------------

TEST_F(LinkerTest, WhereTimesAreIgnoredTheMasterTakesTheOldest) {
  unit::set_mtime(x("b"), 1'000'000'000'000'000'000);
  host().rules.ignore_mtime = true;
  run();
  EXPECT_TRUE(linked("a") && linked("b") && linked("c"));
  EXPECT_EQ(unit::lstat_of(x("c")).st_mtim.tv_sec, 1'000'000'000);
}

// --- Journal -----------------------------------------------------------------------------------------------

TEST_F(LinkerTest, AnnouncesTheStagingNamesThatItUses) {
  host().link("a", "usr/x", "usr/y");
  plan();
  GroupWork work = prepared();
  JournalBatch batch;
  linker_->announce(work, batch);
  EXPECT_THAT(batch.masters, ElementsAre(work.master.record.name));
  ASSERT_THAT(batch.steps, SizeIs(4));
  link(work);
  for (const auto& step : batch.steps) {
    EXPECT_EQ(step.new_ino, master_ino());
    EXPECT_EQ(unit::ino_of(host().store_path() + "/staging/" + step.staged), step.old_ino) << step.path;
    EXPECT_EQ(host().ino(step.guest, step.path), step.new_ino);
  }
  settle(work);
  expect_tidy();
}

}  // namespace
}  // namespace vs::unify
