#include "unify/options.h"

#include <algorithm>

namespace vs::unify {

void add_shared_options(Verb& verb, Options& options) {
  verb.list("--tree", "NAME=DIR", options.trees,
            "a vserver and its tree; only these, instead of what the host has");
  verb.option("--pool", "DIR", options.pool, "only vservers on the filesystem of DIR");
  verb.option("--state", "DIR", options.state, "index, journal, run history [/var/lib/vservers/unify]");
  verb.option("--store", "DIR", options.store, "the store of masters [.unify at the pool's mount point]");
  verb.choice("--guard", "NAME", {"auto", "immutable", "reflink"}, options.guard,
              "auto, immutable or reflink [auto]");
  verb.choice("--scope", "SCOPE", {"packages", "all"}, options.scope,
              "packages: pristine package files; all: any equal files [packages]");
  verb.choice("--mtime", "HOW", {"exact", "ignore"}, options.mtime,
              "exact: share equal times only; ignore: the oldest wins [exact]");
  verb.list("--exclude", "GLOB", options.excludes, "leave these paths out, relative to each tree");
  verb.flag("--no-default-excludes", options.no_default_excludes,
            "do not leave out etc, home, var and the like");
  verb.option("--max-read", "BYTES", options.max_read,
              "read no more of one vserver's files in one run [1 TiB]");
  verb.option("--min-size", "BYTES", options.min_size, "leave smaller files alone [1]");
  add_frame_options(verb, options);
}

Rules rules_of(const Options& options) {
  Rules rules;
  if (options.scope == "all")
    rules.scope = Scope::all;
  else if (options.scope != "packages")
    throw Error("--scope: expected packages or all, found '" + options.scope + "'", Exit::usage);
  if (options.mtime == "ignore")
    rules.ignore_mtime = true;
  else if (options.mtime != "exact")
    throw Error("--mtime: expected exact or ignore, found '" + options.mtime + "'", Exit::usage);
  rules.max_read = options.max_read;
  rules.min_size = std::max<uint64_t>(options.min_size, 1);
  if (!options.no_default_excludes)
    for (const auto& path : default_excludes()) rules.excludes.add(path);
  for (const auto& glob : options.excludes) rules.excludes.add(glob);
  return rules;
}

InventoryOptions inventory_of(const Options& options) {
  InventoryOptions inventory;
  inventory.trees = options.trees;
  inventory.pool = options.pool;
  return inventory;
}

}  // namespace vs::unify
