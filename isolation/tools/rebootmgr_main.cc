// rebootmgr: the one process on the host that takes requests of vservers to be restarted or stopped.
#include <fmt/format.h>
#include <unistd.h>

#include "core/durable/durable_file.h"
#include "core/error.h"
#include "isolation/confine/confine.h"
#include "isolation/context/arguments.h"
#include "isolation/reboot/reboot_server.h"
#include "isolation/vserver/vserver_config.h"

namespace {

using namespace vs;
using namespace vs::isolation;

int run(int argc, char** argv) {
  RebootServerOptions options;
  std::string pidfile;
  Arguments arguments("rebootmgr", "[OPTION...] [NAME...]",
                      "Restarts or stops vservers that ask for it: by vreboot or vhalt at their /dev/reboot, "
                      "or by reboot(2). All of them, or those named. Stays in the foreground and tells on\n"
                      "stderr what it does; ends at SIGTERM, the vservers run on. How reboot(2) was meant is "
                      "known only of vservers that were\n"
                      "started below rebootmgr: by --start, or by itself.",
                      "Exit codes: 0 told to end, 1 failed, 2 usage, 11 another one runs.\nExample:    "
                      "rebootmgr --pidfile /run/rebootmgr.pid web1 web2");
  arguments.value("--pidfile", "FILE", pidfile, "write the number of the process there; removed at the end");
  arguments.flag("--start", options.start, "run 'vservers start' as a child first");
  options.names = arguments.parse(argc, argv);
  for (const auto& name : options.names) check_vserver_name(name);
  if (::geteuid() != 0) throw Error("must be run by root");
  run_from_read_only_self(argv);
  Log log(Verbosity::normal, "rebootmgr");
  Runtime runtime = make_runtime(log);
  if (!pidfile.empty()) ok_or_throw(write_durably(pidfile, fmt::format("{}\n", ::getpid()), 0644));
  serve_reboots(runtime, options);
  if (!pidfile.empty()) ::unlink(pidfile.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("rebootmgr", 0, [&] { return run(argc, argv); });
}
