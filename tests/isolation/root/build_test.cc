// Making and removing vservers.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/isolation/root/isolation_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class VserverBuildTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    host_ = std::make_unique<IsolationHost>();
  }
  std::unique_ptr<IsolationHost> host_;
};

TEST_F(VserverBuildTest, TemplateMakesAGuestThatStartsAndDeleteRemovesIt) {
  const auto model = host_->add("model", "");
  const std::string tar = host_->path("model.tar"), name = fmt::format("t{}-built", ::getpid());
  must_run({"tar", "-cf", tar, "-C", host_->tree(model), "."});
  const auto built = host_->vserver(name, {"build", "--method", "template", "--from", tar, "--hostname", "www"});
  ASSERT_EQ(built.exit_code, 0) << shown(built);
  EXPECT_EQ(host_->vserver(name, {"build"}).exit_code, 1) << "it exists";
  ASSERT_EQ(host_->vserver(name, {"start"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(name, {"exec", "hostname"}).out, "www\n");
  EXPECT_EQ(host_->vserver(name, {"delete"}).exit_code, 1) << "it runs";
  ASSERT_EQ(host_->vserver(name, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(name, {"delete"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(host_->tree(name)));
  EXPECT_FALSE(fs::exists(host_->path("conf/" + name + ".conf")));
}

TEST_F(VserverBuildTest, WhatFailsLeavesNothing) {
  const std::string name = fmt::format("t{}-failed", ::getpid());
  for (const std::vector<std::string>& options : {std::vector<std::string>{"--method", "template", "--from", "/no/such.tar"}, {"--method", "magic"}, {"--ip", "1.2.3"}}) {
    std::vector<std::string> words = {"build"};
    words.insert(words.end(), options.begin(), options.end());
    EXPECT_NE(host_->vserver(name, words).exit_code, 0);
    EXPECT_FALSE(fs::exists(host_->tree(name)));
    EXPECT_FALSE(fs::exists(host_->path("conf/" + name + ".conf")));
  }
}

TEST_F(VserverBuildTest, DeleteUnsealsOnlyForAMomentAndFollowsNoLink) {
  const auto guest = host_->add("guest", "");
  const std::string outside = host_->path("outside"), master = host_->path("master");
  fs::create_directories(outside);
  write_file(outside + "/kept", "host");
  fs::create_directory_symlink(outside, host_->tree(guest) + "/link");
  write_file(master, "shared");
  fs::create_hard_link(master, host_->tree(guest) + "/shared");
  write_file(host_->tree(guest) + "/own", "sealed by hand");
  try {
    set_immutable(master, true);
    set_immutable(host_->tree(guest) + "/own", true);
  } catch (const std::exception& error) {
    GTEST_SKIP() << "no immutable attribute here: " << error.what();
  }
  if (!is_immutable(master)) GTEST_SKIP() << "no immutable attribute here";
  const auto result = host_->vserver(guest, {"delete"});
  EXPECT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_FALSE(fs::exists(host_->tree(guest)));
  EXPECT_TRUE(is_immutable(master));
  EXPECT_EQ(read_file(master), "shared");
  EXPECT_EQ(read_file(outside + "/kept"), "host");
  set_immutable(master, false);
}

TEST_F(VserverBuildTest, DeleteKilledInThatMomentLeavesASharedFileSealed) {
  const auto guest = host_->add("guest", "");
  const std::string master = host_->path("master");
  write_file(master, "shared");
  fs::create_hard_link(master, host_->tree(guest) + "/shared");
  try {
    set_immutable(master, true);
  } catch (const std::exception& error) {
    GTEST_SKIP() << "no immutable attribute here: " << error.what();
  }
  if (!is_immutable(master)) GTEST_SKIP() << "no immutable attribute here";
  const auto killed = host_->vserver(guest, {"delete"}, {{"VS_DIE_AFTER_STEP", "unseal"}});
  EXPECT_EQ(killed.signal, SIGKILL) << shown(killed);
  for (int i = 0; i < 100 && !is_immutable(master); ++i) ::usleep(20'000);
  EXPECT_TRUE(is_immutable(master));
  EXPECT_EQ(host_->vserver(guest, {"delete"}).exit_code, 0) << "the next command goes on";
  EXPECT_FALSE(fs::exists(host_->tree(guest)));
  EXPECT_TRUE(is_immutable(master));
  set_immutable(master, false);
}

}  // namespace
}  // namespace vs::test
