// chbind: ties a command and all it starts to addresses of this host.
#include <fmt/format.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "core/escape.h"
#include "isolation/address_programs.h"
#include "isolation/arguments.h"
#include "isolation/bind_address.h"
#include "isolation/cgroup.h"

namespace {

using namespace vs;
using namespace vs::isolation;

int run(int argc, char** argv) {
  std::vector<std::string> given;
  std::string broadcast;
  bool silent = false;
  Arguments arguments("chbind", "--ip ADDRESS|NAME|INTERFACE [--ip ...] COMMAND [WORD...]",
                      "Runs a command that can use only these addresses of the host, for serving and as a client: binding to any address means the first of them,\n"
                      "another one is refused, and no packet from or to another one passes. Up to 16, IPv4 and IPv6. Root only.",
                      "Exit codes: the command's own; 125 when it could not be tried, 126 when it could not be run, 127 when it was not found.\n"
                      "Example:    chbind --ip eth0 /etc/init.d/nginx restart");
  arguments.list("--ip", "ADDRESS", given, "an address, with /LENGTH or /MASK if you like, a name, or an interface");
  arguments.value("--bcast", "ADDRESS", broadcast, "accepted as the original had it; the kernel knows the broadcast address");
  arguments.flag("--silent", silent, "do not print the addresses");
  const auto command = arguments.parse(argc, argv);
  if (command.empty()) throw Error("expected a command; see chbind --help", Exit::usage);
  if (given.empty()) throw Error("expected at least one --ip", Exit::usage);
  if (::geteuid() != 0) throw Error("must be run by root");
  AddressRules rules;
  std::string shown;
  for (const auto& text : given)
    for (const auto& address : resolve_address(text)) {
      rules.addresses.push_back(address);
      shown += " " + address.text();
    }
  if (rules.addresses.empty()) throw Error(fmt::format("'{}' has no address", escaped(given[0])), Exit::usage);
  if (rules.addresses.size() > kMostAddresses) throw Error(fmt::format("at most {} addresses", kMostAddresses), Exit::usage);
  const Cgroups cgroups;
  cgroups.sweep(".chbind.");  // of those that ended: nobody stays to remove them
  const std::string name = fmt::format(".chbind.{}", ::getpid());
  ok_or_throw(cgroups.make(name, {}));
  const UniqueFd cgroup = value_or_throw(cgroups.open(name));
  ok_or_throw(tie_to_addresses(cgroup.get(), rules));
  ok_or_throw(cgroups.enter(name, true));
  if (!silent) fmt::print("ipv4root is now{}\n", shown);
  return become("chbind", command);
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("chbind", 125, [&] { return run(argc, argv); });
}
