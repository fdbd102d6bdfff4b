// vpstree: pstree over all contexts.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "isolation/context/arguments.h"
#include "isolation/context/spectator.h"
#include "isolation/context/watched_output.h"

namespace {

using namespace vs;
using namespace vs::isolation;

int run(int argc, char** argv) {
  Arguments arguments("vpstree", "[OPTION OF PSTREE...]",
                      "Runs pstree in context 1, so over the processes of all contexts. All options are "
                      "those of pstree. Names are escaped. Root only.",
                      "Exit codes: that of pstree; 125 when it could not be tried, 126 when pstree could not "
                      "be run, 127 when it was not found.\nExample:    vpstree -p");
  const auto command = command_for_context_1(arguments, argc, argv, "pstree");
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    ::setenv("COLUMNS", fmt::to_string(size.ws_col).c_str(), 1);
  const auto contexts = make_contexts(places_from_environment());
  pid_t pstree = 0;
  int status = 0;
  const std::string output = output_in_context_1(*contexts, "vpstree", command, pstree, status);
  for (size_t at = 0; at < output.size();) {
    const size_t end = std::min(output.find('\n', at), output.size());
    fmt::print("{}\n", safe_line(std::string_view(output).substr(at, end - at)));
    at = end + 1;
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("vpstree", 125, [&] { return run(argc, argv); });
}
