// System calls that fail: a message names the object and what the system said, the exit code is honest,
// nothing is lost.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <sstream>
#include <string_view>

#include "tests/crash/crash_host.h"
#include "tests/support/inject.h"
#include "tests/support/skip.h"

namespace vs::test {
namespace {

struct Failure {
  const char* syscall;
  std::vector<const char*> errors;
  size_t sampled;
};

// On guests and store, what each call may say on a bad day.
const std::vector<Failure>& failures() {
  static const std::vector<Failure> all = {
      {"linkat", {"ENOSPC", "EIO", "EPERM", "EMLINK"}, 5},
      {"renameat2", {"EIO", "ENOSPC", "EPERM", "EINVAL"}, 5},
      {"unlinkat", {"EIO", "EPERM"}, 6},
      {"openat2", {"EMFILE", "ENOMEM", "EIO", "EACCES", "EINTR", "EAGAIN"}, 6},
      {"openat", {"ENOSPC", "EMFILE", "EIO"}, 6},
      {"statx", {"EIO", "ENOMEM"}, 6},
      {"getdents64", {"EIO"}, 8},
      {"pread64", {"EIO", "EINTR"}, 6},
      {"read", {"EIO", "EINTR"}, 6},
      {"mmap", {"ENOMEM"}, 3},
      {"write", {"ENOSPC", "EIO", "EINTR"}, 6},
      {"pwrite64", {"ENOSPC", "EIO", "EINTR"}, 6},
      {"copy_file_range", {"EIO", "ENOSPC", "EXDEV"}, 4},
      {"fallocate", {"ENOSPC", "EOPNOTSUPP"}, 4},
      {"ftruncate", {"ENOSPC", "EIO"}, 4},
      {"fsync", {"EIO", "ENOSPC"}, 6},
      {"fdatasync", {"EIO", "ENOSPC"}, 6},
      {"syncfs", {"EIO"}, 3},
      {"ioctl", {"EIO", "EPERM", "ENOTTY"}, 8},
      {"fcntl", {"EAGAIN", "EINVAL", "ENOMEM"}, 8},
      {"fchown", {"EPERM", "EDQUOT"}, 3},
      {"fchmod", {"EPERM", "EIO"}, 3},
      {"utimensat", {"EPERM", "EIO"}, 3},
      {"fsetxattr", {"ENOSPC", "EPERM"}, 3},
      {"flistxattr", {"EIO"}, 3},
      {"mkdirat", {"ENOSPC", "EIO"}, 4},
      {"rename", {"ENOSPC", "EIO"}, 4},
      {"flock", {"EIO"}, 2},
  };
  return all;
}

// "ENOSPC" -> "No space left on device"
std::string error_text(const std::string& name) {
  static const std::map<std::string, int> numbers = {
      {"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EPERM", EPERM},   {"EMLINK", EMLINK},
      {"EINVAL", EINVAL}, {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM}, {"EACCES", EACCES},
      {"EINTR", EINTR},   {"EAGAIN", EAGAIN}, {"EXDEV", EXDEV},   {"EOPNOTSUPP", EOPNOTSUPP},
      {"ENOTTY", ENOTTY}, {"EDQUOT", EDQUOT}};
  return std::strerror(numbers.at(name));
}

// The system's words and a path: what was tried, on what, and what was answered.
bool names_trouble(const RunResult& result, const std::string& error) {
  return result.err.find(error_text(error)) != std::string::npos && result.err.find('/') != std::string::npos;
}

// LMDB and libc call fcntl too, and turn what it answers into words of their own: only leases are ours.
// EAGAIN for a write lease is no failure but the answer that somebody has the file open.
bool is_failing_lease(const std::string& call, const std::string& error) {
  return call.find("F_SETLEASE") != std::string::npos &&
         !(error == "EAGAIN" && call.find("F_WRLCK") != std::string::npos);
}

// Without the lines that say that a hard link is none any more.
std::string without_link_lines(const std::string& changes) {
  std::istringstream lines(changes);
  std::string rest;
  for (std::string line; std::getline(lines, line);)
    if (!line.empty() && !line.starts_with("guest ") && line.find("no longer one file") == std::string::npos)
      rest += "\n" + line;
  return rest;
}

constexpr unsigned kMostFailures = 8;  // enough to see what they have in common

class FailingCallTest : public testing::TestWithParam<std::string> {};

TEST_P(FailingCallTest, IsToldAndLosesNothing) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_STOP_IF(injection_impossible());
  const Task& task = test::task(GetParam());
  TestHost host(small_host("ext4"));
  const TempDir logs;
  unsigned told = 0, failed = 0;
  for (const auto& [syscall, errors, sampled] : failures()) {
    if (left_out(syscall)) continue;
    host.reset();
    task.prepare(host);
    const Command command = host.command(task.verb, task.options);
    const bool leases = std::string_view(syscall) == "fcntl";
    const auto ordinals =
        call_ordinals(command, syscall, leases ? Command{"F_SETLEASE"} : host.trace_marks());
    size_t turn = 0;
    for (const unsigned when : sample(ordinals, most_steps(task.verb == "run" ? sampled : sampled / 2 + 1))) {
      // Each step meets one of the errors, every third step from then on for good; who is interrupted for
      // good may try for good.
      const std::string error = errors[turn % errors.size()];
      const std::string at = std::to_string(when) + (turn % 3 == 2 && error != "EINTR" ? "+" : "");
      ++turn;
      const std::string what = fmt::format("{} with {} {} at {}", task.name, syscall, error, at);
      host.reset();
      task.prepare(host);
      const auto before = host.snapshots();
      const auto result = run(with_injection(command, syscall, "error=" + error, at, logs / "log"));
      EXPECT_FALSE(result.killed() || result.timed_out) << what << ": " << shown(result);
      // 2: a tree that cannot be opened is one that was named wrongly.
      EXPECT_TRUE(result.exit_code >= 0 && result.exit_code <= 3) << what << ": " << shown(result);
      const bool must_tell = !leases || is_failing_lease(first_injected(logs / "log"), error);
      const bool silent = must_tell && result.exit_code != 0 && !names_trouble(result, error);
      EXPECT_FALSE(silent) << what << ": " << shown(result);
      told += result.exit_code != 0;
      // Exit 1 may be a stop in the middle of a group of hard links, when neither going on nor back was
      // possible: the journal tells recovery to complete it. Everything else has to be right at once.
      std::string trouble =
          result.exit_code == 1 ? without_link_lines(host.changes_since(before)) : host.changes_since(before);
      trouble += host.trouble_after_recovery(before);
      EXPECT_EQ(trouble, "") << what << ": " << shown(result);
      if ((silent || !trouble.empty()) && ++failed == kMostFailures) return;
    }
  }
  EXPECT_TRUE(told > 10U || anything_left_out()) << "hardly any failure was told: " << told;
}

// A read lease that is a write lease for a moment, to see whether somebody has the file open, may not be had
// back. Those are few of all calls: each is tried here, in which the sample above may have none.
TEST(FailingRunTest, SaysThatALeaseWasNotGivenBack) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_STOP_IF(injection_impossible());
  const Task& task = test::task("run_masters_gain_names");
  TestHost host(small_host("ext4"));
  const TempDir logs;
  task.prepare(host);
  const Command command = host.command(task.verb, task.options);
  const auto write_leases = call_ordinals(command, "fcntl", {"F_SETLEASE, F_WRLCK"});
  unsigned tried = 0;
  for (const unsigned write_lease : sample(write_leases, most_steps(4)))
    for (const char* error : {"EAGAIN", "ENOMEM"}) {
      host.reset();
      task.prepare(host);
      const auto before = host.snapshots();
      const auto result = run(with_injection(command, "fcntl", std::string("error=") + error,
                                             std::to_string(write_lease + 1), logs / "log"));
      // On a busy machine a run takes more turns, and makes more calls.
      if (first_injected(logs / "log").find("F_SETLEASE, F_RDLCK") == std::string::npos) continue;
      ++tried;
      EXPECT_EQ(result.exit_code, 3) << error << " at " << write_lease + 1 << ": " << shown(result);
      EXPECT_TRUE(names_trouble(result, error))
          << error << " at " << write_lease + 1 << ": " << shown(result);
      EXPECT_EQ(host.changes_since(before), "") << shown(result);
    }
  EXPECT_GT(tried, 0u);
}

// A run that could not do all of it (exit 3) says why on stderr: each kind once, with an example and a
// number.
TEST(FailingRunTest, SaysEachKindOfTroubleOnce) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_STOP_IF(injection_impossible());
  TestHost host(small_host("ext4"));
  for (const char* syscall : {"linkat", "renameat2"})
    for (const bool quiet : {false, true}) {
      host.reset();
      const auto result = run(with_injection(host.command("run", quiet ? Command{"-q"} : Command{}), syscall,
                                             "error=ENOSPC", "1+"));
      EXPECT_EQ(result.exit_code, 3) << shown(result);
      EXPECT_TRUE(names_trouble(result, "ENOSPC")) << shown(result);
      EXPECT_NE(result.err.find(" x no_space ("), std::string::npos) << shown(result);
      EXPECT_NE(result.err.find(host.pool() + "/"), std::string::npos) << "a whole path: " << shown(result);
      EXPECT_LT(std::count(result.err.begin(), result.err.end(), '\n'), 5) << shown(result);
    }
}

// Two names of one inode that become names of two would be a change that no guest asked for, and none may
// see.
TEST(FailingReleaseTest, HardLinksStayTogether) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_STOP_IF(injection_impossible());
  const Task& task = test::task("release");
  TestHost host(small_host("ext4"));
  const auto inode = [&](const char* name) {
    struct stat stat {};
    EXPECT_EQ(::lstat((host.guest("alpha") / "usr/lib/two/" + name).c_str(), &stat), 0) << name;
    return stat.st_ino;
  };
  task.prepare(host);
  size_t tried = 0;
  for (const auto& [syscall, error] :
       {std::pair{"renameat2", "EIO"}, {"openat2", "EMFILE"}, {"fcntl", "EAGAIN"}, {"linkat", "ENOSPC"}}) {
    const Command command = host.command(task.verb, task.options);
    const auto ordinals = call_ordinals(
        command, syscall, std::string_view(syscall) == "fcntl" ? Command{"F_SETLEASE"} : host.trace_marks());
    for (const unsigned when : ordinals) {
      host.reset();
      task.prepare(host);
      const auto result =
          run(with_injection(command, syscall, std::string("error=") + error, std::to_string(when)));
      ++tried;
      EXPECT_EQ(inode("two-0"), inode("two-link")) << syscall << " at " << when << ": " << shown(result);
    }
    host.reset();
    task.prepare(host);
  }
  EXPECT_GT(tried, 0u);
}

INSTANTIATE_TEST_SUITE_P(Tasks, FailingCallTest,
                         testing::Values("run_one_thread", "run_masters_gain_names", "release", "undo"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace vs::test
