// --each-pool: a host's vservers may lie on several filesystems, and a verb takes one after the other.
#pragma once

#include <vector>

#include "unify/options.h"

namespace vs::unify {

// `options` once for each pool that holds vservers, with --pool set to it; as it is where --each-pool was not
// asked for. All pools have one state directory, hence one journal: the pool of an interrupted run comes
// first, because no other one can be written to before that run was recovered. Throws as find_guests() does.
std::vector<Options> each_pool(const Options& options);

}  // namespace vs::unify
