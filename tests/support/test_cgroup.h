// A cgroup (version 2) of a test's own, for processes that shall be frozen as those of a guest are.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <string>

#include "core/cgroup_freeze.h"
#include "tests/support/within.h"

namespace vs::test {

class TestCgroup {
 public:
  explicit TestCgroup(const std::string& name)
      : path_(cgroup2_mount() + "/test-" + name + "-" + std::to_string(::getpid())) {
    std::filesystem::create_directories(path_);
  }
  // Its processes have ended, or are about to.
  ~TestCgroup() {
    within(std::chrono::seconds(10), [&] { return ::rmdir(path_.c_str()) == 0 || errno != EBUSY; });
  }
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;
  // A word of shell that puts the shell into it.
  std::string entering() const { return "echo 0 > '" + path_ + "/cgroup.procs'; "; }
  // Opened before a chroot: what is written there ("0") puts who writes it into the cgroup.
  int open_procs() const { return ::open((path_ + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC); }

 private:
  const std::string path_;
};

}  // namespace vs::test
