// Where in the guests the names of masters are, and which of them belong together.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/run_context.h"
#include "core/tree/inventory.h"
#include "unify/plan/master_table.h"

namespace vs::unify {

struct NameOfMaster {
  GuestNumber guest;
  MasterNumber master;
  std::string path;
  uint64_t link_group = 0;  // not 0: was a hard link of the other names with this number (known_link_groups)
  bool seen = true;         // false: the run history knows it and it could not be looked at now
  bool operator==(const NameOfMaster&) const = default;
};

// Hard links of one another before they were unified: they move together or not at all.
bool were_linked(const NameOfMaster& a, const NameOfMaster& b);

// All names of masters in the guests, sorted by (master, guest, link group, path). One walk, and the run
// history in state_dir: what that knows as a hard link of such a name and what could not be looked at is
// among them, not `seen`.
std::vector<NameOfMaster> find_names_of_masters(Guests guests, const MasterTable& masters,
                                                const std::string& state_dir, RunContext& context);

// Those that are wanted, and with each the names that were hard links of it: what was one file shall not
// become two.
std::vector<NameOfMaster> select_names(std::vector<NameOfMaster> names,
                                       const std::function<bool(const NameOfMaster&)>& wanted);

// Masters that were retired because a guest won against the seal (core/store/unsealed_window.h), or because
// they had lost it (seal_check.h): sealed, but with another content, owner, mode, time or attribute than they
// were made with. Guests must not have names of them. Reads the retired ones that have names.
std::vector<MasterNumber> spoiled_masters(const Store& store, const MasterTable& masters);

}  // namespace vs::unify
