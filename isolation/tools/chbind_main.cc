// chbind: ties a command and all it starts to addresses of this host.
#include <unistd.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "isolation/context/arguments.h"
#include "isolation/network/bind_self.h"

namespace {

using namespace vs;
using namespace vs::isolation;

int run(int argc, char** argv) {
  std::vector<std::string> given;
  std::string broadcast;
  bool silent = false;
  Arguments arguments("chbind", "--ip ADDRESS|NAME|INTERFACE [--ip ...] COMMAND [WORD...]",
                      "Runs a command that can use only these addresses of the host, for serving and as a "
                      "client: binding to any address means the first of them,\n"
                      "another one is refused, and no packet from or to another one passes. Up to 16, IPv4 "
                      "and IPv6. Root only.",
                      "Exit codes: the command's own; 125 when it could not be tried, 126 when it could not "
                      "be run, 127 when it was not found.\n"
                      "Example:    chbind --ip eth0 /etc/init.d/nginx restart");
  arguments.list("--ip", "ADDRESS", given,
                 "an address, with /LENGTH or /MASK if you like, a name, or an interface");
  arguments.value("--bcast", "ADDRESS", broadcast,
                  "accepted as the original had it; the kernel knows the broadcast address");
  arguments.flag("--silent", silent, "do not print the addresses");
  const auto command = arguments.parse(argc, argv);
  if (command.empty()) throw Error("expected a command; see chbind --help", Exit::usage);
  if (given.empty()) throw Error("expected at least one --ip", Exit::usage);
  if (::geteuid() != 0) throw Error("must be run by root");
  bind_self(given, silent);
  return exec_program("chbind", command);
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("chbind", 125, [&] { return run(argc, argv); });
}
