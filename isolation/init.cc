#include "isolation/init.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

namespace vs::isolation {
namespace {

// What the others get to end after SIGTERM, before process 1 ends and the kernel kills them.
constexpr int kGraceMs = 5000;

int status_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

void end_all() {
  ::kill(-1, SIGTERM);
  ::kill(-1, SIGCONT);
  using Clock = std::chrono::steady_clock;
  for (const auto deadline = Clock::now() + std::chrono::milliseconds(kGraceMs); Clock::now() < deadline; ::usleep(2000)) {
    pid_t gone = 0;
    while ((gone = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    if (gone < 0 && errno == ECHILD) return;
  }
}

}  // namespace

int run_init(InitEnds ends, const std::function<int()>& command) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
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
        if (gone == first && ends == InitEnds::with_command) return status_of(status);
    } else if (ends == InitEnds::when_asked && (signal == SIGTERM || signal == SIGINT || signal == SIGPWR)) {
      end_all();
      return 0;
    } else if (ends == InitEnds::with_command && (signal == SIGTERM || signal == SIGHUP || signal == SIGINT || signal == SIGQUIT)) {
      // From the host's chcontext, which passes on what it gets. From the terminal the command has it already.
      if (info.si_code <= 0) ::kill(first, signal);
    }
  }
}

}  // namespace vs::isolation
