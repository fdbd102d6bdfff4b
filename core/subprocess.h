// Running another program: the one place that forks in order to call exec.
//
// The program starts with the descriptors 0, 1, 2 and those of `keep`, and with no others, whatever threads
// or libraries of ours have open. No signal is blocked in it, and SIGPIPE does what it does by default. When
// it could not be run, the Problem names the program and carries the errno of exec itself.
//
// Processes that fork and do not become another program (contexts of namespaces, the seal keeper, the guest
// freezer, the sandbox of the package readers) are not started here; each says where it forks why.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/error.h"
#include "core/unique_fd.h"

namespace vs {

// What becomes of one of the program's three standard files.
struct Stream {
  enum class Kind {
    inherit,  // ours; /dev/null where ours is closed
    null,     // /dev/null
    capture,  // read by run() into ProgramResult; for stdout and stderr
    pipe,     // the other end is in Subprocess
    file      // `fd`, an open descriptor of the caller's, who keeps it
  };
  Kind kind = Kind::inherit;
  int fd = -1;
  size_t limit = 0;  // capture: how many bytes are kept; what is beyond them is read and thrown away

  static Stream inherit() { return {}; }
  static Stream null() { return {Kind::null, -1, 0}; }
  static Stream capture(size_t limit) { return {Kind::capture, -1, limit}; }
  static Stream pipe() { return {Kind::pipe, -1, 0}; }
  static Stream file(int fd) { return {Kind::file, fd, 0}; }
};

struct Program {
  std::vector<std::string> arguments;  // the first is looked for in PATH unless it contains a '/'
  std::optional<std::vector<std::string>> environment = {};  // NAME=VALUE; nothing: ours
  Stream in = {}, out = {}, err = {};
  std::vector<int> keep = {};  // descriptors that the program gets besides, by the same numbers
  int directory = -1;          // an open directory to start in; -1: ours
  // A process group of its own, which signals of our terminal do not reach. Always so with a deadline or a
  // cancel: then the whole group is killed, and not only the program.
  bool own_group = false;
  // Runs in the child right before exec, after all of the above. Returns 0 or an errno, with which the start
  // fails. Where this process has threads, it may do no more than what is async-signal-safe.
  std::function<int()> before_exec = {};
  // Only for run().
  std::optional<std::chrono::milliseconds> deadline = {};
  const Cancel* cancel = nullptr;
};

// How a program ended.
class ExitStatus {
 public:
  explicit ExitStatus(int wait_status) : wait_status_(wait_status) {}
  bool success() const { return wait_status_ == 0; }
  int code() const;           // -1 when a signal ended it
  int signal() const;         // that signal; 0 when it ended by itself
  int shell() const;          // as a shell tells it: the exit code, or 128 and the signal
  std::string words() const;  // "ended with status 3", "was killed by signal 9 (Killed)"

 private:
  int wait_status_;
};

// A program that was started. When its owner goes first, it is killed (its group, where it has its own).
class Subprocess {
 public:
  static Expected<Subprocess> start(const Program& program);
  Subprocess(Subprocess&& other) noexcept;
  Subprocess& operator=(Subprocess&&) = delete;
  ~Subprocess();
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }  // readable once it has ended
  void signal(int number) const;              // to its group where it has its own, else to it alone
  // Waits for its end; once.
  Expected<ExitStatus> wait();
  // From now on it is the caller's to wait for.
  pid_t release();

  UniqueFd in, out, err;  // our ends of pipes

 private:
  Subprocess(pid_t pid, bool own_group);
  pid_t pid_;
  UniqueFd pidfd_;
  bool own_group_;
};

struct ProgramResult {
  ExitStatus status{0};
  std::string out, err;                           // what was captured
  bool cut = false;                               // there was more than the limit
  bool out_of_time = false, interrupted = false;  // then it was killed
};

// Starts a program and waits for its end. Its output is complete up to its own end; something that it leaves
// in the background and that holds its output open is not waited for.
Expected<ProgramResult> run_to_end(const Program& program);

}  // namespace vs
