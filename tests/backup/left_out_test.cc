// One of several targets that cannot be written to, one of several vservers whose tree is not there: it is
// named, and the others are whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "backup/archive/set_target.h"
#include "backup/backup.h"
#include "tests/backup/backup_host.h"
#include "tests/backup/quiet_run.h"

namespace vs::backup {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// A target that fails in one of its calls.
class FailingTarget : public Target {
 public:
  explicit FailingTarget(std::string where) : where_(std::move(where)) {}
  std::string describe() const override { return "failing"; }
  void begin(const RunView& run) override {
    run_.emplace(run);
    fail("begin");
  }
  DirectoryWants::Want wants_shared(InodeNumber) override { return in("wants_shared", DirectoryWants::yes); }
  void end_shared() override { fail("end_shared"); }
  void begin_guest(GuestNumber) override { fail("begin_guest"); }
  DirectoryWants plan_directory(GuestNumber, DirNumber dir, const std::string&) override {
    DirectoryWants wants;
    wants.self = DirectoryWants::yes;
    wants.children.assign(run_->host.dirs[dir].children.size(), DirectoryWants::yes);
    return in("plan_directory", wants);
  }
  bool may_have(const Item&, const Inode&) const override { return false; }
  bool has(const Item&, const Inode&, const InodeDetails&) override { return false; }
  bool append(const Item&, const Inode&, const InodeDetails&, const Content&, std::string& out) override {
    out += "entry";
    return in("append", true);
  }
  int level() const override { return 1; }
  void take(const std::vector<Item>&, Encoded&&) override { fail("take"); }
  void end_guest(GuestNumber) override { fail("end_guest"); }
  void finish() override { fail("finish"); }
  void abandon() override {}
  Counts counts() const override { return {}; }

 private:
  void fail(const std::string& call) const {
    if (call == where_) throw Error("fails in " + call);
  }
  template <class T>
  T in(const std::string& call, T value) const {
    fail(call);
    return value;
  }
  const std::string where_;
  std::optional<RunView> run_;
};

class LeftOutTest : public testing::Test, protected test::QuietRun {
 protected:
  LeftOutTest() { host_.make_guests(); }
  CreateResult create(std::vector<std::unique_ptr<Target>> targets) {
    std::vector<Guest> guests;
    for (const auto& [name, path] : host_.trees()) guests.push_back({name, "--tree", RootDir(path)});
    return create_backup(std::move(guests), targets, "", {}, context_);
  }
  // Everything of both guests is in the set.
  void expect_whole(const std::string& set) const {
    EXPECT_EQ(test::run({test::vbackup_path(), "check", "--to", set}).exit_code, 0);
    const std::string list = test::run({test::vbackup_path(), "list", "--to", set}).out;
    EXPECT_THAT(list, AllOf(HasSubstr("alpha"), HasSubstr("beta")));
  }

  test::BackupHost host_;
};

TEST_F(LeftOutTest, ATargetThatFailsInAnyCallTakesNoOtherAlong) {
  for (const char* call : {"begin", "wants_shared", "end_shared", "begin_guest", "plan_directory", "append",
                           "take", "end_guest", "finish"}) {
    const std::string set = host_.scratch(std::string("set-") + call);
    testing::internal::CaptureStderr();
    std::vector<std::unique_ptr<Target>> targets;
    targets.push_back(std::make_unique<FailingTarget>(call));
    targets.push_back(std::make_unique<SetTarget>(set, ArchiveOptions{.init = true}));
    const CreateResult result = create(std::move(targets));
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("failing: fails in " + std::string(call)));
    EXPECT_THAT(result.failed_targets, ElementsAre(true, false)) << call;
    expect_whole(set);
  }
}

TEST_F(LeftOutTest, TheRunEndsWhereNoTargetIsLeft) {
  for (const size_t count : {1, 2}) {
    std::vector<std::unique_ptr<Target>> targets;
    for (size_t i = 0; i < count; ++i) targets.push_back(std::make_unique<FailingTarget>("end_guest"));
    EXPECT_THROW(create(std::move(targets)), Error) << count;
  }
}

TEST_F(LeftOutTest, ATargetThatIsNotThereWhenTheRunBeginsIsNamedAndTheOthersAreWhole) {
  const std::string locked = host_.scratch("locked"), absent = "/proc/nope/set";
  fs::create_directories(locked);
  test::write_file(locked + "/.lock", "");
  fs::permissions(locked, fs::perms::owner_all);
  const test::Process holder({"flock", locked + "/.lock", "sleep", "60"});
  while (test::run({"flock", "-n", locked + "/.lock", "true"}).exit_code == 0)
    test::BackupHost::let_clock_pass();
  const test::RunResult result = host_.create({"--to", "archive:" + locked, "--to", "archive:" + absent});
  EXPECT_EQ(result.exit_code, 3) << shown(result);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("error: archive:" + locked), HasSubstr("error: archive:" + absent)));
  expect_whole(host_.set());
}

TEST_F(LeftOutTest, WithNoTargetTheRunFails) {
  test::Command line{
      test::vbackup_path(), "create", "--init",       "--state", host_.scratch("state"),        "--to",
      "/proc/nope/a",       "--to",   "/proc/nope/b", "--tree",  "alpha=" + host_.tree("alpha")};
  const test::RunResult result = test::run(line);
  EXPECT_EQ(result.exit_code, 1) << shown(result);
  EXPECT_THAT(result.err, AllOf(HasSubstr("/proc/nope/a"), HasSubstr("/proc/nope/b")));
}

TEST_F(LeftOutTest, AVserverWhoseTreeIsNotThereIsNamedAndTheOthersAreArchived) {
  const test::RunResult result = host_.create({"--tree", "gamma=" + host_.scratch("nothere")});
  EXPECT_EQ(result.exit_code, 3) << shown(result);
  EXPECT_THAT(result.err, HasSubstr("gamma left out"));
  expect_whole(host_.set());
  // By its name, too, beside others; alone there is nothing to do.
  const test::Command trees{"--tree", "gamma=" + host_.scratch("nothere")};
  for (const auto& [guests, code] : {std::pair<test::Command, int>{{"alpha", "gamma"}, 3},
                                     {{"alpha", "delta"}, 3},
                                     {{"gamma"}, 1},
                                     {{"delta"}, 2}}) {
    test::Command more = trees;
    more.insert(more.end(), guests.begin(), guests.end());
    const test::RunResult some = host_.create(more);
    EXPECT_EQ(some.exit_code, code) << guests.back() << " " << shown(some);
    EXPECT_THAT(some.err, HasSubstr(guests.back()));
  }
}

}  // namespace
}  // namespace vs::backup
