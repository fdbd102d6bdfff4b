#include "tests/support/inject.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "tests/support/temp_dir.h"

namespace vs::test {

std::optional<Obstacle> injection_impossible() {
  if (auto missing = without_program("strace", "strace")) return missing;
  static const bool works =
      run(with_injection({"cat", "/dev/null"}, "close", "error=EIO", "1")).exit_code >= 0 &&
      run({"strace", "-o", "/dev/null", "true"}).exit_code == 0;
  if (!works) return Obstacle{Skip::kRoot, "needs the right to trace"};
  return std::nullopt;
}

Command with_injection(const Command& command, const std::string& syscall, const std::string& action,
                       const std::string& when, const std::string& log) {
  Command traced{"strace",
                 "-f",
                 "-qqq",
                 "-o",
                 log,
                 "-e",
                 "trace=" + syscall,
                 "-e",
                 "signal=none",
                 "-e",
                 "inject=" + syscall + ":" + action + ":when=" + when};
  // Stops for this call alone, which is much faster; but strace 6.1 then never delivers the signal.
  if (!action.starts_with("signal=")) traced.insert(traced.begin() + 2, "--seccomp-bpf");
  traced.insert(traced.end(), command.begin(), command.end());
  return traced;
}

std::string first_injected(const std::string& log) {
  std::istringstream lines(read_file(log));
  for (std::string line; std::getline(lines, line);)
    if (line.ends_with("(INJECTED)")) return line;
  return {};
}

std::vector<unsigned> call_ordinals(const Command& command, const std::string& syscall,
                                    const std::vector<std::string>& paths) {
  TempDir dir;
  Command traced{"strace",    "-f", "--seccomp-bpf",    "-qqq", "-y",         "-s", "256", "-o",
                 dir / "log", "-e", "trace=" + syscall, "-e",   "signal=none"};
  traced.insert(traced.end(), command.begin(), command.end());
  run(traced);
  std::istringstream log(read_file(dir / "log"));
  std::map<std::string, unsigned> count;  // by thread, as strace counts
  std::set<unsigned> found;
  std::string first_thread;
  unsigned loading = 0;  // calls of the first thread before it comes to our paths: those of the loader
  bool loaded = false;
  for (std::string line; std::getline(log, line);) {
    const auto space = line.find_first_of(' ');
    const std::string thread = line.substr(0, space),
                      call = line.substr(std::min(line.size(), line.find_first_not_of(' ', space)));
    if (!call.starts_with(syscall + "(")) continue;  // the second half of an interrupted line, an exit
    const unsigned ordinal = ++count[thread];
    if (first_thread.empty()) first_thread = thread;
    const bool ours = std::any_of(paths.begin(), paths.end(),
                                  [&](const auto& path) { return call.find(path) != std::string::npos; });
    if (ours) found.insert(ordinal);
    if (thread == first_thread && !loaded) {
      loaded = ours;
      if (!ours) loading = ordinal;
    }
  }
  // The same ordinal is reached by every thread, and a program whose libraries cannot be read says nothing of
  // itself.
  found.erase(found.begin(), found.upper_bound(loading));
  return {found.begin(), found.end()};
}

std::vector<unsigned> sample(const std::vector<unsigned>& ordinals, size_t most) {
  if (ordinals.size() <= most) return ordinals;
  const size_t head = most / 2, rest = most - head;
  std::vector<unsigned> chosen(ordinals.begin(), ordinals.begin() + static_cast<long>(head));
  for (size_t i = 1; i <= rest; ++i)
    chosen.push_back(ordinals[head - 1 + i * (ordinals.size() - head) / rest]);
  return chosen;
}

}  // namespace vs::test
