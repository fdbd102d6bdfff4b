// vtop: top over all contexts.
//
// On a terminal top draws by itself, and escapes the names of processes by itself; there is a test that the
// packaged one does.
#include "isolation/context/arguments.h"
#include "isolation/context/spectator.h"

namespace {

using namespace vs;
using namespace vs::isolation;

int run(int argc, char** argv) {
  Arguments arguments("vtop", "[OPTION OF TOP...]",
                      "Runs top in context 1: it shows the processes of all contexts, and its commands to "
                      "signal and renice reach none. All options are those of top. Root only.",
                      "Exit codes: that of top; 125 when it could not be tried, 126 when top could not be "
                      "run, 127 when it was not found.\nExample:    vtop -b -n 1");
  const auto command = command_for_context_1(arguments, argc, argv, "top");
  const auto contexts = make_contexts(places_from_environment());
  return wait_and_pass_on(start_watching(*contexts, "vtop", command, -1));
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("vtop", 125, [&] { return run(argc, argv); });
}
