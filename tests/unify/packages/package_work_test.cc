#include "unify/packages/package_work.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/temp_dir.h"

namespace vs::unify {
namespace {

using testing::HasSubstr;
using testing::Optional;

class PackageWorkTest : public testing::Test {
 protected:
  std::optional<std::string> work() const { return package_work(RootDir(dir_.path())); }
  std::string make(const std::string& file) const {
    std::filesystem::create_directories(std::filesystem::path(dir_ / file).parent_path());
    test::write_file(dir_ / file, "");
    return dir_ / file;
  }
  // Another process holds it, as a package manager of a guest does, while `look` runs.
  static void while_locked(const std::string& file, short type, const std::function<void()>& look) {
    int ready[2], go[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(go, O_CLOEXEC), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      struct flock lock {};
      lock.l_type = type;
      const int fd = ::open(file.c_str(), O_RDWR);
      const bool locked = ::fcntl(fd, F_SETLK, &lock) == 0;
      char byte = locked ? 'y' : 'n';
      ::_exit(::write(ready[1], &byte, 1) == 1 && ::close(go[1]) == 0 && ::read(go[0], &byte, 1) == 0 ? 0
                                                                                                      : 1);
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_EQ(byte, 'y');
    look();
    for (const int fd : {go[1], go[0], ready[0], ready[1]}) ::close(fd);
    ::waitpid(pid, nullptr, 0);
  }
  const test::TempDir dir_;
};

TEST_F(PackageWorkTest, ALockThatAPackageManagerHoldsIsSeen) {
  for (const char* file : {"var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/rpm/.rpm.lock",
                           "usr/lib/sysimage/rpm/.rpm.lock"}) {
    const std::string path = make(file);
    EXPECT_FALSE(work()) << file << " is there, and nobody holds it";
    while_locked(path, F_WRLCK, [&] { EXPECT_THAT(work(), Optional(HasSubstr(file))); });
    EXPECT_FALSE(work());
  }
}

TEST_F(PackageWorkTest, AQueryOfRpmIsNoWork) {
  while_locked(make("var/lib/rpm/.rpm.lock"), F_RDLCK, [&] { EXPECT_FALSE(work()); });
}

TEST_F(PackageWorkTest, WhatDpkgHasNotFinishedIsWork) {
  make("var/lib/dpkg/status");
  std::filesystem::create_directories(dir_ / "var/lib/dpkg/updates");
  EXPECT_FALSE(work());
  make("var/lib/dpkg/updates/0001");
  EXPECT_THAT(work(), Optional(HasSubstr("dpkg --configure -a")));
}

TEST_F(PackageWorkTest, AGuestThatHasSomethingElseThereIsNoWork) {
  std::filesystem::create_directories(dir_ / "var/lib/dpkg/lock");
  ASSERT_EQ(::mkfifo((dir_ / "var/lib/dpkg/lock-frontend").c_str(), 0600), 0);
  ASSERT_EQ(::symlink("/etc", (dir_ / "var/lib/dpkg/updates").c_str()), 0);
  EXPECT_FALSE(work());
}

}  // namespace
}  // namespace vs::unify
