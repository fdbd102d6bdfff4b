// Which vservers this host has, and where their trees are.
#pragma once

#include <string>
#include <vector>

#include "core/tree/root_dir.h"
#include "core/typed_number.h"

namespace vs {

struct Guest {
  std::string name;    // unique on this host
  std::string source;  // "vserver", "nspawn", "lxc", "--tree"
  RootDir root;
};

// Which of the guests that a command works on.
using GuestNumber = TypedNumber<struct GuestTag>;
using Guests = TypedSpan<GuestNumber, const Guest>;

struct InventoryOptions {
  std::vector<std::string> trees;  // NAME=DIR; when not empty, only these
  std::string pool;                // only guests on this path's filesystem; "" for all
  bool leave_out_trees = false;    // also one of `trees` that cannot be opened is left out, not an error
  // The places looked at; tests point them elsewhere.
  std::string vserver_conf = "/etc/vservers";
  std::string vserver_trees = "/vservers";
  std::string nspawn_trees = "/var/lib/machines";
  std::string lxc_trees = "/var/lib/lxc";
};

// Guests sorted by name. Throws Error(Exit::usage), naming the trouble, for: NAME=DIR malformed, a name twice
// or with
// '/', control characters or a leading dot or '-'; a tree that cannot be opened, is a symlink, is "/", or
// lies inside another tree; the same tree under two names. Found (not named) trees that cannot be opened are
// told in `warnings` and left out; `left_out` gets their names.
std::vector<Guest> find_guests(const InventoryOptions& options, std::vector<std::string>& warnings,
                               std::vector<std::string>* left_out = nullptr);

}  // namespace vs
