#include "unify/cli/each_pool.h"

#include <algorithm>

#include "core/store/pool.h"
#include "core/store/store_place.h"
#include "unify/change/journal.h"

namespace vs::unify {

std::vector<Options> each_pool(const Options& options) {
  if (!options.each_pool) return {options};
  if (!options.store.empty())
    throw Error("--store names the store of one pool; leave it out with --each-pool", Exit::usage);
  std::vector<std::string> warnings;  // told again by each pool's own look
  std::vector<std::string> tops = pool_tops(find_guests(inventory_of(options), warnings));
  if (const auto unfinished = read_journal(options.state + "/journal"))
    std::stable_partition(tops.begin(), tops.end(), [&](const std::string& top) {
      return unfinished->run.store == default_store_path(top);
    });
  std::vector<Options> all;
  for (const auto& top : tops) {
    all.push_back(options);
    all.back().pool = top;
  }
  return all;
}

}  // namespace vs::unify
