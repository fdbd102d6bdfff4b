// vkill: signals a process of any context.
//
// The original had to enter the context first, since its kernel let nobody signal from one context into
// another. Here the host may, and does it without entering: nothing of ours becomes visible to a hostile
// guest for it. What entering was for (that nothing outside of the context is hit) is kept by --ctx. A number
// is looked up once: the descriptor is opened first, the context is found while it is known to be alive, and
// the signal goes to the descriptor, so a process that got the number meanwhile is never hit.
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "core/escape.h"
#include "isolation/context/arguments.h"
#include "isolation/context/context.h"

namespace {

using namespace vs;
using namespace vs::isolation;

constexpr int kLastSignal = 64;

bool all_digits(const std::string& text) {
  return !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == std::string::npos;
}

// 9, KILL, SIGKILL, kill; -1 for none.
int signal_number(std::string text) {
  if (all_digits(text)) return std::stoi(text) <= kLastSignal ? std::stoi(text) : -1;
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (text.starts_with("SIG")) text.erase(0, 3);
  for (int signal = 1; signal < NSIG; ++signal)
    if (const char* name = ::sigabbrev_np(signal); name != nullptr && text == name) return signal;
  return -1;
}

void list_signals() {
  for (int signal = 1; signal < NSIG; ++signal)
    if (const char* name = ::sigabbrev_np(signal)) fmt::print("{:>2} {}\n", signal, name);
}

// A number or the name of a vserver.
unsigned context_named(Contexts& contexts, const std::string& text) {
  if (all_digits(text)) return static_cast<unsigned>(std::stoul(text));
  const auto found = contexts.find_named(text);
  if (!found) throw Error(fmt::format("vserver '{}' is not running", escaped(text)));
  return found->number;
}

// "" when it was done.
std::string signal_one(Contexts& contexts, pid_t pid, int signal, const unsigned* only) {
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return std::strerror(errno);
  if (only) {
    const auto context = contexts.of_process(pid);
    if (!context) return "its context cannot be found: it has ended, or is another user's";
    if (*context != *only) return fmt::format("it is in context {}, not {}", *context, *only);
  }
  // Fails with ESRCH when the process that was looked up is gone, whoever has its number now.
  return ::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) == 0 ? "" : std::strerror(errno);
}

int run(int argc, char** argv) {
  std::string name = "TERM", context;
  bool listed = false;
  Arguments arguments("vkill", "[-s SIGNAL | -SIGNAL] [--ctx N|NAME] PID...",
                      "Signals processes of any context by the numbers that vps shows, the first processes "
                      "of contexts too. SIGNAL is a number or a name, TERM if none is given.",
                      "Exit codes: 0 all were signalled, 1 some were not, each was named, 2 usage.\nExample: "
                      "   vkill --ctx web1 -KILL 4711");
  arguments.value("-s", "SIGNAL", name, "the signal");
  arguments.value("--ctx", "N|NAME", context, "only if the process is in this context or vserver");
  arguments.flag("-l", listed, "list the names of signals");
  arguments.otherwise([&name](const std::string& option) {
    if (signal_number(option.substr(1)) < 0) return false;
    name = option.substr(1);
    return true;
  });
  const auto words = arguments.parse(argc, argv);
  if (listed) return list_signals(), 0;
  if (words.empty()) throw Error("expected the number of a process; see vkill --help", Exit::usage);
  const int signal = signal_number(name);
  if (signal < 0)
    throw Error(fmt::format("'{}' is no signal; vkill -l lists them", escaped(name)), Exit::usage);
  for (const auto& word : words)
    if (!all_digits(word) || std::stol(word) == 0)
      throw Error(fmt::format("'{}' is no number of a process", escaped(word)), Exit::usage);
  const auto contexts = make_contexts(places_from_environment());
  const unsigned wanted = context.empty() ? kHost : context_named(*contexts, context);
  bool good = true;
  for (const auto& word : words) {
    const std::string trouble = signal_one(*contexts, static_cast<pid_t>(std::stol(word)), signal,
                                           context.empty() ? nullptr : &wanted);
    if (trouble.empty()) continue;
    fmt::print(stderr, "vkill: cannot signal process {}: {}\n", word, trouble);
    good = false;
  }
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("vkill", 0, [&] { return run(argc, argv); });
}
