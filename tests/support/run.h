// Running a command and looking at everything it did: exit code, signal, stdout, stderr.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace vs::test {

using Command = std::vector<std::string>;

struct RunOptions {
  std::map<std::string, std::string> env;  // added to the test's own, which has LC_ALL=C on top
  std::optional<uid_t> uid;                // run as this user and group; needs root
  std::chrono::milliseconds timeout{120'000};
};

struct RunResult {
  int exit_code = -1;      // -1 when a signal ended it
  int signal = 0;          // that signal
  bool timed_out = false;  // it was killed because it did not come to an end
  std::string out, err;
  bool killed() const { return signal != 0; }
};
// "exit 3", "signal 9", "timed out", with the end of what it wrote: for test messages.
std::string shown(const RunResult& result);

// A command in the background, in a process group of its own. Ends (SIGKILL to the group) with its scope.
class Process {
 public:
  explicit Process(const Command& command, const RunOptions& options = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  pid_t pid() const { return pid_; }
  void signal(int number) const;        // to the process alone
  void signal_group(int number) const;  // to it and everything it started
  bool running() const;
  RunResult wait();  // until it ends or its time is up; once

 private:
  pid_t pid_ = -1;
  int pidfd_ = -1, out_ = -1, err_ = -1;
  std::chrono::milliseconds timeout_;
};

RunResult run(const Command& command, const RunOptions& options = {});
// For the steps of a test itself, which must work: throws with everything the command wrote otherwise.
std::string must_run(const Command& command);
bool have_program(const std::string& name);
// Child processes of `pid` (strace's tracee, say).
std::vector<pid_t> children_of(pid_t pid);

}  // namespace vs::test
