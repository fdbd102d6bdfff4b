// freeze, thaw: all processes of a vserver stand still, or go on.
#include <fmt/format.h>

#include "core/error.h"
#include "isolation/tools/vserver_verbs.h"
#include "isolation/vserver/lifecycle.h"

namespace vs::isolation {
namespace {

int set_frozen(const VerbOptions& options, bool frozen) {
  Log log(Verbosity::normal, "vserver");
  Runtime runtime = make_runtime(log);
  if (!running_context(runtime, options.name))
    throw Error(fmt::format("vserver {} is not running", options.name));
  ok_or_throw(runtime.cgroups.freeze(options.name, frozen));
  if (!options.silent) fmt::print("Server {} is {}\n", options.name, frozen ? "frozen" : "running");
  return 0;
}

}  // namespace

int cmd_freeze(const VerbOptions& options) {
  return set_frozen(options, true);
}
int cmd_thaw(const VerbOptions& options) {
  return set_frozen(options, false);
}

}  // namespace vs::isolation
