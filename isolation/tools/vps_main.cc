// vps: ps over all contexts, with the context and the vserver of each process.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "isolation/context/arguments.h"
#include "isolation/context/spectator.h"
#include "isolation/context/watched_output.h"

namespace {

using namespace vs;
using namespace vs::isolation;

// Into a pipe ps writes lines of any length; on a terminal they must leave room for our columns.
void set_width() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    ::setenv("COLUMNS", fmt::to_string(std::max(size.ws_col - kLabelWidth - 1, 20)).c_str(), 1);
}

int run(int argc, char** argv) {
  Arguments arguments("vps", "[OPTION OF PS...]",
                      "Runs ps in context 1, so over the processes of all contexts, and puts the number of "
                      "the context and the name of the vserver behind the column PID: 0 MAIN is the\n"
                      "host, 1 ALL_PROCS ps itself, ? one whose context cannot be found, since it has ended "
                      "say. All options are those of ps. Root only.",
                      "Exit codes: that of ps; 125 when it could not be tried, 126 when ps could not be run, "
                      "127 when it was not found.\nExample:    vps axf");
  const auto command = command_for_context_1(arguments, argc, argv, "ps");
  set_width();
  const auto contexts = make_contexts(places_from_environment());
  pid_t ps = 0;
  int status = 0;
  const std::string output = output_in_context_1(*contexts, "vps", command, ps, status);
  const ContextLabels labels(*contexts);
  bool found = false;
  fmt::print("{}",
             with_contexts(
                 output, [&](pid_t pid) { return pid == ps ? labels.spectator() : labels.of(pid); }, found));
  if (!found && status == 0)
    fmt::print(stderr, "vps: no column PID before those of free text, so no contexts are shown\n");
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("vps", 125, [&] { return run(argc, argv); });
}
