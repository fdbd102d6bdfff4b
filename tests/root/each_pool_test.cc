// --each-pool: vservers on two filesystems, one state directory, hence one journal for both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "tests/support/fake_guest.h"
#include "tests/support/inject.h"
#include "tests/support/skip.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr const char* kShared = "usr/share/pkg/pkg-1";

// Two pools, each with two guests that have the same package.
class EachPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_FILESYSTEM("ext4");
    for (const int pool : {0, 1}) {
      pools_.push_back(std::make_unique<LoopFilesystem>("ext4", 32));
      for (const char* name : {"a", "b"})
        guests_.emplace_back(name + std::to_string(pool), pools_.back()->path() + "/" + name,
                             std::vector<FakePackage>{shared_package("pkg", "usr/share/pkg", 6)});
    }
  }

  Command command(const std::string& verb, const Command& more) const {
    Command all{vunify_path(), verb, "--state", dir_ / "state"};
    for (const auto& guest : guests_) all.insert(all.end(), {"--tree", guest.name() + "=" + guest.root()});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  RunResult vunify(const std::string& verb, const Command& more) const { return run(command(verb, more)); }

  const std::string& pool(size_t i) const { return pools_[i]->path(); }
  bool unified(size_t pool) const {
    struct ::stat a {
    }, b{};
    return ::stat((guests_[2 * pool] / kShared).c_str(), &a) == 0 &&
           ::stat((guests_[2 * pool + 1] / kShared).c_str(), &b) == 0 && a.st_ino == b.st_ino &&
           is_immutable(guests_[2 * pool] / kShared);
  }
  bool interrupted() const {
    return fs::exists(dir_ / "state/journal") && fs::file_size(dir_ / "state/journal") > 0;
  }
  // A run on this pool that is killed while names are exchanged.
  void interrupt(size_t i) {
    ASSERT_TRUE(
        run(with_injection(command("run", {"--pool", pool(i), "-j", "1"}), "renameat2", "signal=KILL", "2"))
            .killed());
    ASSERT_TRUE(interrupted());
  }

  TempDir dir_;
  std::vector<std::unique_ptr<LoopFilesystem>> pools_;
  std::vector<FakeGuest> guests_;
};

TEST_F(EachPoolTest, RunTakesOnePoolAfterTheOther) {
  EXPECT_EQ(vunify("run", {}).exit_code, 2) << "several pools without --each-pool";
  const auto result = vunify("run", {"--each-pool"});
  EXPECT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_TRUE(unified(0));
  EXPECT_TRUE(unified(1));
}

TEST_F(EachPoolTest, RunRecoversThePoolThatWasInterruptedFirst) {
  VS_STOP_IF(injection_impossible());
  for (const size_t i : {0, 1}) {
    interrupt(i);
    const auto result = vunify("run", {"--each-pool"});
    EXPECT_EQ(result.exit_code, 0) << "pool " << i << " was interrupted: " << shown(result);
    EXPECT_FALSE(interrupted());
    EXPECT_TRUE(unified(0) && unified(1));
    ASSERT_EQ(vunify("undo", {"last", "--pool", pool(1)}).exit_code, 0);
  }
}

TEST_F(EachPoolTest, RecoverMakesThePoolWholeAndNoStoreWhereThereIsNone) {
  VS_STOP_IF(injection_impossible());
  interrupt(1);
  const auto result = vunify("recover", {"--each-pool"});
  EXPECT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_FALSE(interrupted());
  EXPECT_TRUE(fs::is_empty(pool(1) + "/.unify/staging"));
  EXPECT_FALSE(fs::exists(pool(0) + "/.unify"));
}

TEST_F(EachPoolTest, APoolThatFailsDoesNotEndTheNightOfTheOthers) {
  for (const size_t broken : {0, 1}) {
    if (fs::exists(pool(broken) + "/.unify")) fs::rename(pool(broken) + "/.unify", pool(broken) + "/aside");
    write_file(pool(broken) + "/.unify", "no directory");
    const auto result = vunify("run", {"--each-pool"});
    EXPECT_EQ(result.exit_code, 3) << shown(result);
    EXPECT_THAT(result.err, HasSubstr("pool " + pool(broken) + ": "));
    EXPECT_TRUE(unified(1 - broken));
    fs::remove(pool(broken) + "/.unify");
  }
}

TEST_F(EachPoolTest, StatusShowsEachPool) {
  const auto result = vunify("status", {"--each-pool"});
  EXPECT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_THAT(result.out, HasSubstr(pool(0)));
  EXPECT_THAT(result.out, HasSubstr(pool(1)));
}

TEST_F(EachPoolTest, OneStoreCannotServeSeveralPools) {
  const auto result = vunify("run", {"--each-pool", "--store", pool(0) + "/.unify"});
  EXPECT_EQ(result.exit_code, 2) << shown(result);
  EXPECT_THAT(result.err, HasSubstr("--store"));
}

}  // namespace
}  // namespace vs::test
