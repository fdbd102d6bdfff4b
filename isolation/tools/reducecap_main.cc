// reducecap: lowers the ceiling of capabilities for a command and all it starts, set-id programs included.
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "isolation/confine/capabilities.h"
#include "isolation/context/arguments.h"

namespace {

using namespace vs;
using namespace vs::isolation;

void show() {
  const auto state = current_capabilities();
  fmt::print("{:<20} {:<10} {:<10} {:<11} {}\n", "Capability", "Effective", "Permitted", "Inheritable",
             "Ceiling");
  for (unsigned number = 0; number < capability_count(); ++number) {
    const auto mark = [number](CapabilitySet set) { return (set >> number) & 1 ? "X" : "."; };
    fmt::print("{:<20} {:<10} {:<10} {:<11} {}\n", capability_name(number), mark(state.effective),
               mark(state.permitted), mark(state.inheritable), mark(state.bounding));
  }
}

int run(int argc, char** argv) {
  bool secure = false, shown = false;
  CapabilitySet taken = 0;
  Arguments arguments("reducecap", "[--secure] [--show] [--NAME...] [COMMAND [WORD...]]",
                      "Runs a command that, with all it starts, can never gain the capabilities taken away, "
                      "not by set-id programs either. --NAME takes one: --NET_RAW.\n"
                      "For an ordinary user, who has none to take, set-id programs gain nothing at all.",
                      "Exit codes: the command's own; 125 when it could not be tried, 126 when it could not "
                      "be run, 127 when it was not found.\n"
                      "Example:    reducecap --secure /bin/sh");
  arguments.flag("--secure", secure, "keep only what does not reach out of a vserver");
  arguments.flag("--show", shown, "print the capabilities, after what the other options take");
  arguments.otherwise([&taken](const std::string& option) {
    if (!option.starts_with("--")) return false;
    taken |= capability_named(option.substr(2));
    return true;
  });
  const auto command = arguments.parse(argc, argv);
  if (command.empty() && !shown)
    throw Error("expected a command, or --show; see reducecap --help", Exit::usage);
  const CapabilitySet keep = (secure ? secure_capabilities() : all_capabilities()) & ~taken;
  if (::geteuid() == 0)
    ok_or_throw(keep_only(keep));
  else if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    throw Error(problem_from_errno("set", "no_new_privs").message);
  if (shown) show();
  if (command.empty()) return 0;
  return exec_program("reducecap", command);
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("reducecap", 125, [&] { return run(argc, argv); });
}
