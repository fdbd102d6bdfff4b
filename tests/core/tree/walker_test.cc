// Runs twice, the second time with VS_NO_OPENAT2=1.
#include "core/tree/walker.h"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "core/tree/listing.h"
#include "tests/core/scratch.h"
#include "tests/support/skip.h"

namespace vs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

size_t open_descriptors() {
  size_t count = 0;
  for (const auto& unused : std::filesystem::directory_iterator("/proc/self/fd")) {
    static_cast<void>(unused);
    ++count;
  }
  return count;
}

// Notes every call; a hook stands for what a guest does in that moment.
class Notes final : public TreeVisitor {
 public:
  Expected<bool> visit(const WalkEntry& entry) override {
    calls.push_back("visit " + std::string(entry.name) + (entry.foreign ? " foreign" : ""));
    types[std::string(entry.name)] = entry.type;
    return go_into(entry);
  }
  Result enter(const WalkDirectory& dir) override {
    calls.push_back("enter " + std::string(dir.name));
    entered.insert(dir.dir.stat().ino);
    if (on_enter) on_enter(std::string(dir.name));
    return Ok{};
  }
  Result leave(const WalkDirectory& dir) override {
    calls.push_back("leave " + std::string(dir.name));
    if (on_leave) on_leave(dir);
    return Ok{};
  }
  bool failed(const Problem& problem) override {
    problems.push_back(problem.message);
    return go_on;
  }
  bool called(const std::string& call) const {
    return std::find(calls.begin(), calls.end(), call) != calls.end();
  }

  std::vector<std::string> calls, problems;
  std::map<std::string, uint8_t> types;
  std::set<uint64_t> entered;
  std::function<bool(const WalkEntry&)> go_into = [](const WalkEntry&) { return true; };
  std::function<void(const std::string&)> on_enter;
  std::function<void(const WalkDirectory&)> on_leave;
  bool go_on = true;
};

class WalkerTest : public testing::Test {
 protected:
  void dirs(const std::string& path) const { unit::make_dirs(dir_ / path); }
  Result walk(WalkOptions options = {.leaves = true}) {
    return walk_tree(RootDir(dir_ / "tree"), notes_, options);
  }
  void move(const std::string& from, const std::string& to) const {
    ASSERT_EQ(::rename((dir_ / from).c_str(), (dir_ / to).c_str()), 0) << from;
  }

  const unit::ScratchDir dir_;
  Notes notes_;
};

TEST_F(WalkerTest, VisitsADirectoryWholeThenWalksWhatIsBelowThenLeavesIt) {
  dirs("tree/a/b");
  unit::write_file(dir_ / "tree/a/file", "");
  EXPECT_TRUE(walk());
  const auto first = notes_.calls[3], second = notes_.calls[4];
  EXPECT_EQ((std::set<std::string>{first, second}), (std::set<std::string>{"visit b", "visit file"}));
  EXPECT_THAT(notes_.calls, ElementsAre("enter ", "visit a", "enter a", first, second, "enter b", "leave b",
                                        "leave a", "leave "));
}

TEST_F(WalkerTest, GoesIntoWhatIsAskedForOnlyAndLeavesNothingUnasked) {
  dirs("tree/no/below");
  notes_.go_into = [](const WalkEntry&) { return false; };
  EXPECT_TRUE(walk({}));
  EXPECT_THAT(notes_.calls, ElementsAre("enter ", "visit no"));
}

TEST_F(WalkerTest, EachKindIsNamedAndALinkIsNeverFollowed) {
  dirs("tree/dir");
  dirs("outside/secret");
  unit::write_file(dir_ / "tree/file", "");
  unit::make_symlink(dir_ / "outside", dir_ / "tree/link");
  unit::make_fifo(dir_ / "tree/fifo");
  for (const bool stat_all : {false, true}) {
    EXPECT_TRUE(walk({.stat_all = stat_all}));
    EXPECT_EQ(notes_.types["dir"], DT_DIR);
    EXPECT_EQ(notes_.types["file"], DT_REG);
    EXPECT_EQ(notes_.types["link"], DT_LNK);
    EXPECT_EQ(notes_.types["fifo"], DT_FIFO);
  }
  EXPECT_FALSE(notes_.called("visit secret"));
}

TEST_F(WalkerTest, ATypeThatTheFilesystemDoesNotSayIsAskedFor) {
  dirs("dir");
  unit::make_symlink("dir", dir_ / "link");
  const RootDir root(dir_.path());
  EXPECT_EQ(type_of(DirEntry{0, DT_UNKNOWN, "dir"}, root.fd()), DT_DIR);
  EXPECT_EQ(type_of(DirEntry{0, DT_UNKNOWN, "link"}, root.fd()), DT_LNK);
  EXPECT_EQ(type_of(DirEntry{0, DT_UNKNOWN, "gone"}, root.fd()), DT_UNKNOWN);
  EXPECT_EQ(type_of(DirEntry{0, DT_REG, "gone"}, root.fd()), DT_REG);
}

// Every hundredth level has a second directory, for which the walk has to come back.
TEST_F(WalkerTest, TenThousandLevelsNeedNoMoreThanItsBudget) {
  constexpr size_t kDepth = 10'000;
  dirs("tree");
  UniqueFd at(::open((dir_ / "tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (size_t i = 0; i < kDepth; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "down", 0755), 0);
    ASSERT_TRUE(i % 100 != 0 || ::mkdirat(at.get(), "side", 0755) == 0);
    at.reset(::openat(at.get(), "down", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  at.reset();
  rlimit before{}, few{256, 0};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  few.rlim_max = before.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const size_t at_start = open_descriptors();
  size_t most = 0, left = 0;
  const auto look = [&] {
    if (++left % 500 == 0) most = std::max(most, open_descriptors());
  };
  notes_.on_enter = [&](const std::string&) { look(); };
  notes_.on_leave = [&](const WalkDirectory& dir) {
    look();
    if (dir.above != nullptr) {
      EXPECT_EQ(::unlinkat(dir.above->fd(), dir.name.data(), AT_REMOVEDIR), 0) << dir.name;
    }
  };
  EXPECT_TRUE(walk());
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(notes_.problems, IsEmpty());
  EXPECT_EQ(left, 2 * (kDepth + kDepth / 100 + 1));
  EXPECT_GT(most, at_start);
  EXPECT_LE(most, at_start + kOpenLevels + 4);
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "tree")) << "post-order: all could be removed";
}

TEST_F(WalkerTest, ALimitOfDepthIsToldByNameAndTheRestIsWalked) {
  dirs("tree/a/b/c/d");
  dirs("tree/side");
  EXPECT_TRUE(walk({.max_depth = 2}));
  ASSERT_THAT(notes_.problems, SizeIs(1));
  EXPECT_THAT(notes_.problems[0], HasSubstr("tree/a/b/c"));
  EXPECT_TRUE(notes_.called("enter b"));
  EXPECT_TRUE(notes_.called("enter side"));
  EXPECT_FALSE(notes_.called("enter c"));
}

TEST_F(WalkerTest, ADirectoryReplacedByALinkIsNotFollowed) {
  dirs("tree/a");
  dirs("outside/secret");
  notes_.on_enter = [&](const std::string& name) {
    if (!name.empty()) return;
    move("tree/a", "gone");
    unit::make_symlink(dir_ / "outside", dir_ / "tree/a");
  };
  notes_.go_into = [&](const WalkEntry&) { return true; };
  // The hook runs before the top is listed, so it is a link then; swap again once it was visited.
  EXPECT_TRUE(walk());
  EXPECT_EQ(notes_.types["a"], DT_LNK);
  notes_ = {};
  ::unlink((dir_ / "tree/a").c_str());
  dirs("tree/a");
  notes_.go_into = [&](const WalkEntry& entry) {
    if (entry.name == "a" && entry.type == DT_DIR) {
      move("tree/a", "gone2");
      unit::make_symlink(dir_ / "outside", dir_ / "tree/a");
    }
    return true;
  };
  EXPECT_TRUE(walk());
  EXPECT_THAT(notes_.problems, SizeIs(1));
  EXPECT_FALSE(notes_.called("visit secret"));
  EXPECT_FALSE(notes_.called("enter a"));
}

TEST_F(WalkerTest, ADirectoryReplacedByAnotherIsAProblemAndNotEntered) {
  dirs("tree/a");
  dirs("other/secret");
  notes_.go_into = [&](const WalkEntry& entry) {
    if (entry.name == "a") {
      move("tree/a", "old");
      move("other", "tree/a");
    }
    return true;
  };
  EXPECT_TRUE(walk());
  ASSERT_THAT(notes_.problems, SizeIs(1));
  EXPECT_THAT(notes_.problems[0], HasSubstr("go into"));
  EXPECT_FALSE(notes_.called("visit secret"));
}

TEST_F(WalkerTest, WhatVanishesMeanwhileIsPassedOver) {
  dirs("tree/a");
  dirs("tree/b/c");
  notes_.go_into = [&](const WalkEntry& entry) {
    if (entry.name == "a") ::rmdir((dir_ / "tree/a").c_str());
    return true;
  };
  EXPECT_TRUE(walk());
  EXPECT_THAT(notes_.problems, IsEmpty());
  EXPECT_FALSE(notes_.called("enter a"));
  EXPECT_TRUE(notes_.called("leave c"));
}

// The walk is deeper than it keeps directories open when a guest moves the chain it came through.
TEST_F(WalkerTest, AChainThatIsMovedAwayLeadsNowhereElse) {
  constexpr size_t kDepth = 3 * kOpenLevels;
  dirs("tree/top");
  dirs("elsewhere");
  UniqueFd deepest;
  unit::make_deep(dir_ / "tree/top", "d", kDepth, deepest);
  ASSERT_EQ(::mkdirat(deepest.get(), "last", 0755), 0);
  std::string middle = "tree/top";
  for (size_t i = 0; i < kOpenLevels; ++i) middle += "/d";
  const uint64_t elsewhere = unit::ino_of(dir_ / "elsewhere");
  size_t moved = 0;
  notes_.on_enter = [&](const std::string& name) {
    if (name == "last" && moved++ == 0) move(middle, "elsewhere/d");
  };
  std::set<uint64_t> left_in;
  notes_.on_leave = [&](const WalkDirectory& dir) {
    if (dir.above != nullptr) left_in.insert(dir.above->stat().ino);
  };
  EXPECT_TRUE(walk());
  EXPECT_EQ(moved, 1u);
  EXPECT_FALSE(left_in.contains(elsewhere)) << "the directory above by \"..\" was not one of ours";
  EXPECT_TRUE(notes_.called("leave top")) << "what still is where it was is found again from the top";
}

TEST_F(WalkerTest, AMountIsShownAndNotEntered) {
  if (!unit::is_root() || ::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    VS_SKIP(kRoot) << "mounting needs root";
  dirs("tree/bind");
  dirs("tree/late");
  dirs("outside/secret");
  const auto bind = [&](const char* at) {
    ASSERT_EQ(::mount((dir_ / "outside").c_str(), (dir_ / at).c_str(), nullptr, MS_BIND, nullptr), 0);
  };
  bind("tree/bind");
  notes_.go_into = [&](const WalkEntry& entry) {
    if (entry.name == "late") bind("tree/late");  // after it was looked at
    return true;
  };
  EXPECT_TRUE(walk());
  EXPECT_TRUE(notes_.called("visit bind foreign"));
  EXPECT_FALSE(notes_.called("visit secret"));
  EXPECT_FALSE(notes_.called("enter bind"));
  EXPECT_THAT(notes_.problems, SizeIs(1));
  for (const char* at : {"tree/bind", "tree/late"}) ::umount2((dir_ / at).c_str(), MNT_DETACH);
}

TEST_F(WalkerTest, StopsBeforeTheNextDirectoryWhenCancelled) {
  dirs("tree/a/b");
  Cancel cancel;
  notes_.on_enter = [&](const std::string& name) {
    if (name == "a") cancel.request();
  };
  const auto ended = walk({.cancel = &cancel});
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, ECANCELED);
  EXPECT_FALSE(notes_.called("enter b"));
  notes_ = {};
  EXPECT_FALSE(walk({.cancel = &cancel}));
  EXPECT_THAT(notes_.calls, IsEmpty());
}

TEST_F(WalkerTest, TroubleEndsItOnlyIfTheVisitorSaysSo) {
  if (!unit::is_root()) VS_SKIP(kRoot) << "needs two users";
  dirs("tree/closed/below");
  dirs("tree/open");
  ASSERT_EQ(::chmod((dir_ / "tree/closed").c_str(), 0), 0);
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  for (const bool go_on : {true, false}) {
    notes_ = {};
    notes_.go_on = go_on;
    ASSERT_EQ(::seteuid(65534), 0);
    const auto ended = walk();
    ASSERT_EQ(::seteuid(0), 0);
    EXPECT_EQ(ended.has_value(), go_on);
    ASSERT_THAT(notes_.problems, SizeIs(1));
    EXPECT_THAT(notes_.problems[0], HasSubstr("tree/closed: Permission denied"));
    EXPECT_TRUE(!go_on || notes_.called("leave open"));
  }
}

TEST_F(WalkerTest, ALongPathIsShownByItsEnds) {
  dirs("tree");
  const RootDir root(dir_ / "tree");
  EXPECT_EQ(shown_path(root, "a/b"), root.host_path("a/b"));
  const std::string path = "first/" + std::string(100'000, 'd') + "/last";
  EXPECT_LT(shown_path(root, path).size(), 2000u);
  EXPECT_THAT(shown_path(root, path), HasSubstr("tree/first/"));
  EXPECT_TRUE(shown_path(root, path).ends_with("/last"));
}

}  // namespace
}  // namespace vs
