// vserver build --method clone: what is shared stays shared, everything else is the same and its own.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "core/unique_fd.h"
#include "tests/isolation/root/isolation_host.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct stat looked_at(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) throw std::runtime_error("no " + path);
  return found;
}

// A guest with all that a copy can lose, and two names of a sealed master as unify leaves them.
class CloneTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    VS_NEEDS_FILESYSTEM("ext4");
    disk_ = std::make_unique<LoopFilesystem>("ext4", 64);
    host_ = std::make_unique<IsolationHost>(disk_->path());
    guest_ = host_->add("model", "");
    const std::string tree = host_->tree(guest_);
    ::chmod(disk_->path().c_str(), 0755);
    master_ = disk_->path() + "/.unify/masters/m";
    write_file(master_, "shared by many");
    ::chmod((disk_->path() + "/.unify").c_str(), 0700);
    must_run({"chown", "7:8", master_});
    ::chmod(master_.c_str(), 0750);
    must_run({"touch", "-d", "2001-02-03 04:05:06.123456789", master_});
    fs::create_directories(tree + "/usr/lib");
    fs::create_hard_link(master_, tree + "/usr/lib/shared");
    fs::create_hard_link(master_, tree + "/usr/lib/also");
    set_immutable(master_, true);
    write_file(tree + "/etc/own", "its own");
    ::chmod((tree + "/etc/own").c_str(), 04711);
    must_run({"chown", "33:34", tree + "/etc/own"});
    must_run({"setfattr", "-n", "user.note", "-v", "kept", tree + "/etc/own"});
    fs::create_hard_link(tree + "/etc/own", tree + "/etc/own2");
    must_run({"mkfifo", tree + "/fifo"});
    must_run({"truncate", "-s", "1M", tree + "/sparse"});
    must_run({"chown", "-h", "5:6", tree + "/bin/ls"});
    must_run({"touch", "-d", "2002-02-02 02:02:02.222222222", tree + "/usr/lib", tree + "/usr"});
    ::chmod((tree + "/usr/lib").c_str(), 01775);
    copy_ = fmt::format("t{}-copy", ::getpid());
  }
  void TearDown() override {
    if (!host_) return;
    host_->vserver(copy_, {"delete"});
    if (fs::exists(master_)) set_immutable(master_, false);
    host_.reset();
  }
  RunResult clone(std::map<std::string, std::string> env = {}) {
    return host_->vserver(copy_, {"build", "--method", "clone", "--from", guest_}, env);
  }
  std::unique_ptr<LoopFilesystem> disk_;
  std::unique_ptr<IsolationHost> host_;
  std::string guest_, copy_, master_;
};

TEST_F(CloneTest, LinksWhatIsSealedAndCopiesTheRestWithAllItHas) {
  const auto result = clone();
  ASSERT_EQ(result.exit_code, 0) << shown(result);
  const std::string from = host_->tree(guest_), to = host_->tree(copy_);
  const auto master = looked_at(master_);
  for (const char* name : {"/usr/lib/shared", "/usr/lib/also"})
    EXPECT_EQ(looked_at(to + name).st_ino, master.st_ino) << name;
  EXPECT_EQ(master.st_nlink, 5u);
  EXPECT_TRUE(is_immutable(master_));
  EXPECT_EQ(looked_at(to + "/etc/own").st_ino, looked_at(to + "/etc/own2").st_ino)
      << "a link group stays one";
  EXPECT_NE(looked_at(to + "/etc/own").st_ino, looked_at(from + "/etc/own").st_ino)
      << "but not one with the model's";
  for (const char* name :
       {"", "/etc/own", "/usr", "/usr/lib", "/bin/ls", "/fifo", "/sparse", "/etc/passwd", "/bin/busybox"}) {
    const auto a = looked_at(from + name), b = looked_at(to + name);
    EXPECT_EQ(a.st_mode, b.st_mode) << name;
    EXPECT_EQ(a.st_uid, b.st_uid) << name;
    EXPECT_EQ(a.st_gid, b.st_gid) << name;
    EXPECT_EQ(a.st_mtim.tv_sec, b.st_mtim.tv_sec) << name;
    EXPECT_EQ(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec) << name;
  }
  EXPECT_EQ(must_run({"getfattr", "--only-values", "-n", "user.note", to + "/etc/own"}), "kept");
  EXPECT_LT(looked_at(to + "/sparse").st_blocks, 64);
  EXPECT_EQ(run({"diff", "-r", "--no-dereference", "-x", "fifo", from, to}).out, "");
}

bool locked(const std::string& path) {
  return run({"flock", "-n", path, "true"}).exit_code != 0;
}

TEST_F(CloneTest, TheLockOfTheStoreIsRespected) {
  Process holder({"flock", disk_->path() + "/.unify/lock", "sleep", "20"});
  ASSERT_TRUE(within(std::chrono::seconds(10), [&] { return locked(disk_->path() + "/.unify/lock"); }));
  const auto result = clone();
  EXPECT_EQ(result.exit_code, 11) << shown(result);
  EXPECT_THAT(result.err, HasSubstr(".unify/lock"));
  EXPECT_FALSE(fs::exists(host_->tree(copy_)));
  EXPECT_EQ(looked_at(master_).st_nlink, 3u);
}

TEST_F(CloneTest, TheLockOfAStoreElsewhereIsRespectedByCloneAndDelete) {
  const std::string store = disk_->path() + "/elsewhere/store";
  fs::create_directories(store);
  ::chmod(store.c_str(), 0700);
  write_file(host_->path("conf/vunify.conf"), "# store = /nowhere\nstore = \"" + store + "\"  # mine\n");
  {
    Process holder({"flock", store + "/lock", "sleep", "20"});
    ASSERT_TRUE(within(std::chrono::seconds(10), [&] { return locked(store + "/lock"); }));
    const auto result = clone();
    EXPECT_EQ(result.exit_code, 11) << shown(result);
    EXPECT_THAT(result.err, HasSubstr(store + "/lock"));
    const auto removal = host_->vserver(guest_, {"delete"});
    EXPECT_EQ(removal.exit_code, 11) << shown(removal);
    EXPECT_TRUE(fs::exists(host_->tree(guest_) + "/usr/lib/shared"));
    EXPECT_EQ(looked_at(master_).st_nlink, 3u);
  }
  EXPECT_EQ(clone().exit_code, 0);
}

// As vunify itself: the environment comes before the file.
TEST_F(CloneTest, TheLockOfAStoreThatTheEnvironmentNamesIsRespected) {
  const std::string store = disk_->path() + "/elsewhere/store";
  fs::create_directories(store);
  ::chmod(store.c_str(), 0700);
  write_file(host_->path("conf/vunify.conf"), "store = /nowhere\n");
  const std::map<std::string, std::string> env = {{"VS_STORE", store}};
  Process holder({"flock", store + "/lock", "sleep", "20"});
  ::usleep(300'000);
  const auto result = clone(env);
  EXPECT_EQ(result.exit_code, 11) << shown(result);
  EXPECT_THAT(result.err, HasSubstr(store + "/lock"));
  const auto removal = host_->vserver(guest_, {"delete"}, env);
  EXPECT_EQ(removal.exit_code, 11) << shown(removal);
  EXPECT_TRUE(fs::exists(host_->tree(guest_) + "/usr/lib/shared"));
  EXPECT_EQ(looked_at(master_).st_nlink, 3u);
}

TEST_F(CloneTest, WhatSomebodyHasOpenForWritingIsCopied) {
  // Opened before it was sealed: through this descriptor the filesystem would still write.
  set_immutable(master_, false);
  const UniqueFd writer(::open(master_.c_str(), O_WRONLY | O_CLOEXEC));
  set_immutable(master_, true);
  const auto result = clone();
  ASSERT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_THAT(result.err, HasSubstr("2 shared files are in use"));
  EXPECT_NE(looked_at(host_->tree(copy_) + "/usr/lib/shared").st_ino, looked_at(master_).st_ino);
  EXPECT_EQ(read_file(host_->tree(copy_) + "/usr/lib/shared"), "shared by many");
  EXPECT_FALSE(is_immutable(host_->tree(copy_) + "/usr/lib/shared"));
  EXPECT_TRUE(is_immutable(master_));
}

TEST_F(CloneTest, KilledAtAnyInstantItLeavesEverySealOn) {
  for (int i = 0; i < 400; ++i) {
    const std::string name = fmt::format("{}/.unify/masters/{}", disk_->path(), i);
    write_file(name, fmt::to_string(i));
    fs::create_hard_link(name, fmt::format("{}/usr/lib/m{}", host_->tree(guest_), i));
    set_immutable(name, true);
  }
  for (int delay = 5; delay < 60; delay += 5) {
    {
      auto process = host_->background(copy_, {"build", "--method", "clone", "--from", guest_});
      ::usleep(static_cast<useconds_t>(delay) * 1000);  // what is varied here: the instant of the kill
      process->signal_group(SIGKILL);
      process->wait();
    }
    ASSERT_TRUE(within(std::chrono::seconds(10), [&] { return !locked(disk_->path() + "/.unify/lock"); }))
        << "the keeper of the seals has gone";
    for (int i = 0; i < 400; ++i)
      ASSERT_TRUE(is_immutable(fmt::format("{}/.unify/masters/{}", disk_->path(), i)))
          << "after " << delay << " ms";
    host_->vserver(copy_, {"delete"});
    ASSERT_FALSE(fs::exists(host_->tree(copy_)));
  }
  for (int i = 0; i < 400; ++i) set_immutable(fmt::format("{}/.unify/masters/{}", disk_->path(), i), false);
}

}  // namespace
}  // namespace vs::test
