// start, stop, restart: what changes whether a vserver runs.
#include <fmt/format.h>

#include "isolation/tools/vserver_verbs.h"
#include "isolation/vserver/lifecycle.h"
#include "isolation/vserver/vserver_config.h"

namespace vs::isolation {
namespace {

Verbosity verbosity_of(const VerbOptions& options) {
  return options.verbose ? Verbosity::verbose : options.silent ? Verbosity::quiet : Verbosity::normal;
}

int with_runtime(const VerbOptions& options, void (*change)(Runtime&, const std::string&), const char* said) {
  Log log(verbosity_of(options), "vserver");
  Runtime runtime = make_runtime(log);
  runtime.add_addresses = !options.nodev;
  change(runtime, options.name);
  if (!options.silent) fmt::print("Server {} is {}\n", options.name, said);
  return 0;
}

}  // namespace

int cmd_start(const VerbOptions& options) {
  return with_runtime(options, start_vserver, "running");
}
int cmd_stop(const VerbOptions& options) {
  return with_runtime(options, stop_vserver, "not running");
}
int cmd_restart(const VerbOptions& options) {
  return with_runtime(
      options,
      [](Runtime& runtime, const std::string& name) {
        read_vserver_config(runtime.places, name);  // a file with a mistake must not end a vserver that runs
        stop_vserver(runtime, name);
        start_vserver(runtime, name);
      },
      "running");
}

}  // namespace vs::isolation
