#include "isolation/context/init.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>

#include "core/durable/durable_file.h"
#include "isolation/context/run_program.h"

namespace vs::isolation {
namespace {

// What the others get to end after SIGTERM, before process 1 ends and the kernel kills them.
constexpr int kGraceMs = 5000;

void end_all() {
  ::kill(-1, SIGTERM);
  ::kill(-1, SIGCONT);
  using Clock = std::chrono::steady_clock;
  for (const auto deadline = Clock::now() + std::chrono::milliseconds(kGraceMs); Clock::now() < deadline;
       ::usleep(2000)) {
    pid_t gone = 0;
    while ((gone = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    if (gone < 0 && errno == ECHILD) return;
  }
}

// ps inside shows "init", not how the host's administrator called vserver. (Memory and environment of process
// 1 are out of reach: it is not dumpable.)
void show_as_init() {
  ::prctl(PR_SET_NAME, "init");
  const auto read = read_whole("/proc/self/stat");
  if (!read) return;  // no /proc
  const std::string& text = *read;
  // Fields 48 and 49, arg_start and arg_end; field 3 is behind the name, which may hold anything and is in
  // parentheses.
  std::istringstream words(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int field = 3; field < 48; ++field) words >> skipped;
  uintptr_t begin = 0, end = 0;
  if (!(words >> begin >> end) || begin == 0 || end <= begin + sizeof "init") return;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel gives the place as a number
  char* const arguments = reinterpret_cast<char*>(begin);
  std::memset(arguments, 0, end - begin);
  std::memcpy(arguments, "init", sizeof "init");
}

}  // namespace

int run_init(InitEnds ends, const std::function<int()>& command) {
  if (ends == InitEnds::when_asked) show_as_init();
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
  // Not core/subprocess: this is process 1, which waits for any child; what the command does is the caller's
  // own code.
  const pid_t first = ::fork();
  if (first < 0) return 125;
  if (first == 0) {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::_exit(command());
  }
  for (;;) {
    siginfo_t info{};
    const int signal = ::sigwaitinfo(&all, &info);
    if (signal == SIGCHLD) {
      int status = 0;
      for (pid_t gone; (gone = ::waitpid(-1, &status, WNOHANG)) > 0;)
        if (gone == first && ends == InitEnds::with_command) return shell_status(status);
    } else if (ends == InitEnds::when_asked && (signal == SIGTERM || signal == SIGINT || signal == SIGPWR)) {
      end_all();
      return 0;
    } else if (ends == InitEnds::with_command &&
               (signal == SIGTERM || signal == SIGHUP || signal == SIGINT || signal == SIGQUIT)) {
      // From the host's chcontext, which passes on what it gets. From the terminal the command has it
      // already.
      if (info.si_code <= 0) ::kill(first, signal);
    }
  }
}

}  // namespace vs::isolation
