// `vunify forget`: the names of shared files of a guest that is to be deleted go, without a copy.
//
// Whoever deletes the tree of a guest cannot remove a sealed file, and a private copy first (release) takes
// space that a full disk does not have. So each name is removed in a window of its master, as `vserver
// delete` does. The other guests keep theirs. Nothing is journaled: each removal is whole, and who is killed
// in a window is followed by the seal keeper. The guest does not run, so nobody else changes its tree; a name
// that is not the master's any more stays.
#pragma once

#include <vector>

#include "core/run_context.h"
#include "core/store/guard.h"
#include "unify/change/names_of_masters.h"

namespace vs::unify {

struct ForgetInput {
  Guests guests;
  const Store& store;
  const Guard& guard;
  const MasterTable& masters;
};

struct ForgetResult {
  uint64_t dropped = 0;
  uint64_t left = 0;  // told as failed objects
};

ForgetResult forget_names(const ForgetInput& input, const std::vector<NameOfMaster>& names,
                          RunContext& context);

}  // namespace vs::unify
