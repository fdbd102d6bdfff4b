#include "isolation/network/bind_self.h"

#include <fmt/format.h>
#include <unistd.h>

#include "core/error.h"
#include "core/escape.h"
#include "isolation/context/cgroup.h"
#include "isolation/network/address_programs.h"
#include "isolation/network/bind_address.h"

namespace vs::isolation {

void bind_self(const std::vector<std::string>& given, bool silent) {
  AddressRules rules;
  std::string shown;
  for (const auto& text : given)
    for (const auto& address : resolve_address(text)) {
      rules.addresses.push_back(address);
      shown += " " + address.text();
    }
  if (rules.addresses.empty())
    throw Error(fmt::format("'{}' has no address", escaped(given.at(0))), Exit::usage);
  if (rules.addresses.size() > kMostAddresses)
    throw Error(fmt::format("at most {} addresses", kMostAddresses), Exit::usage);
  const Cgroups cgroups;
  cgroups.sweep(".chbind.");  // of those that ended: nobody stays to remove them
  const std::string name = fmt::format(".chbind.{}", ::getpid());
  ok_or_throw(cgroups.make(name, {}));
  const UniqueFd cgroup = value_or_throw(cgroups.open(name));
  ok_or_throw(tie_to_addresses(cgroup.get(), rules));
  ok_or_throw(cgroups.enter(name, true));
  if (!silent) fmt::print("ipv4root is now{}\n", shown);
}

}  // namespace vs::isolation
