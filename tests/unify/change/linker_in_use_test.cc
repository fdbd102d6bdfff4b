// Runs twice, the second time with VS_NO_OPENAT2=1. What becomes of files that somebody has open, or runs.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "tests/support/run.h"
#include "tests/support/within.h"
#include "tests/unify/change/linker_fixture.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(LinkerTest, WhatSomebodyHasOpenIsLeftForLater) {
  plan();
  const uint64_t before = unit::ino_of(x("b"));
  const UniqueFd reader(::open(x("b").c_str(), O_RDONLY | O_CLOEXEC));
  GroupWork work = prepared();
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), IsEmpty());
  ASSERT_THAT(work.in_use, SizeIs(1));
  EXPECT_TRUE(linked("a") && linked("c"));
  EXPECT_EQ(unit::ino_of(x("b")), before);
  expect_tidy();
}

// Begun between the look and the exchange: what is open has its own name again.
TEST_F(LinkerTest, WhatSomebodyBeginsToUseIsGivenBack) {
  plan();
  GroupWork work = prepared();
  linker_->compare(work);
  const UniqueFd reader(::open(x("b").c_str(), O_RDONLY | O_CLOEXEC));
  linker_->exchange(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b running"));
  EXPECT_TRUE(linked("a") && linked("c") && !linked("b"));
  EXPECT_EQ(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(reader.get())), x("b"));
  expect_tidy();
}

TEST_F(LinkerTest, NoMasterIsMadeOfWhatIsAllInUse) {
  plan();
  std::vector<UniqueFd> readers;
  for (const char* guest : {"a", "b", "c"})
    readers.emplace_back(::open(x(guest).c_str(), O_RDONLY | O_CLOEXEC));
  GroupWork work;
  work.end = DuplicateNumber(3);
  linker_->prepare(work);
  EXPECT_FALSE(work.ready);
  EXPECT_THAT(work.in_use, SizeIs(3));
  EXPECT_THAT(host().store->list_masters(), IsEmpty());
}

// The program of b runs, b stands still: after it the program has its own path, as after an upgrade. So has
// the mapping of c's, and the guests get their inodes back in the same way.
TEST_F(LinkerTest, WhatRunsKeepsItsPathWhereTheGuestStandsStill) {
  for (const bool spoiled : {false, true}) {
    SCOPED_TRACE(spoiled);
    start_over(unit::read_file("/usr/bin/sleep") + (spoiled ? "2" : "1"));
    for (const char* guest : {"a", "b", "c"})
      std::filesystem::permissions(x(guest), std::filesystem::perms(0755));
    const uint64_t before = unit::ino_of(x("b"));
    test::Process program(test::Command{x("b"), "60"});
    const std::string exe = "/proc/" + std::to_string(program.pid()) + "/exe";
    ASSERT_TRUE(test::within(std::chrono::seconds(10), [&] {
      std::error_code error;
      return std::filesystem::read_symlink(exe, error) == x("b");
    }));
    plan();
    GroupWork work = prepared();
    work.processes = Processes::standing_still;
    link(work);
    if (spoiled) unit::set_mtime(host().store_path() + "/staging/" + work.swapped[1].names[0].staged, 1);
    settle(work);
    EXPECT_EQ(std::filesystem::read_symlink(exe), x("b") + " (deleted)");
    EXPECT_EQ(linked("b"), !spoiled);
    EXPECT_EQ(unit::ino_of(x("b")) == before, spoiled);
    EXPECT_TRUE(linked("a") && linked("c"));
    expect_tidy();
  }
  EXPECT_GT(host().counts.bytes_held, 0u) << "what the program still holds is not freed";
}

TEST_F(LinkerTest, WhereTheGuestStandsStillNothingElseIsRenamedOver) {
  plan();
  GroupWork work = prepared();
  work.processes = Processes::standing_still;
  linker_->compare(work);
  unit::write_file(x("b") + ".new", "newer");
  ASSERT_EQ(::rename((x("b") + ".new").c_str(), x("b").c_str()), 0);
  linker_->exchange(work);
  settle(work);
  EXPECT_EQ(unit::read_file(x("b")), "newer");
  EXPECT_TRUE(linked("a") && linked("c"));
  expect_tidy();
}

}  // namespace
}  // namespace vs::unify
