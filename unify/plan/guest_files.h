// Passes 3 to 5: scan the guests' trees, knowing the masters and the packages, and keep the files that may be
// shared.
//
// The order of questions makes the nightly run cheap: an entry with a master's inode number is already
// unified and costs no system call; a file that no package owns or that a rule keeps out costs a look-up;
// only the rest is stat'ed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/run_context.h"
#include "core/tree/inventory.h"
#include "unify/packages/package_index.h"
#include "unify/packages/trouble_log.h"
#include "unify/plan/eligibility.h"
#include "unify/plan/master_table.h"
#include "unify/scan/file_table.h"

namespace vs::unify {

struct GuestCounts {
  uint64_t entries = 0;
  uint64_t regular_files = 0;
  uint64_t owned = 0;       // by a package
  uint64_t considered = 0;  // rows kept: may be shared as far as names, records and stat tell
  uint64_t unified = 0;     // names of masters
  ReasonCounts skipped{};
};

// A name of a master met in a guest.
struct Sighting {
  GuestNumber guest;
  MasterNumber master;
};

using CountsByGuest = TypedVector<GuestNumber, GuestCounts>;
using GuestPackages = TypedVector<GuestNumber, PackageIndex>;
// filesystem_id() of each guest's tree: what the index knows a file by, with its inode number.
using GuestDevices = TypedVector<GuestNumber, uint64_t>;
GuestDevices devices_of(Guests guests);

// Guests of which nothing may be shared just now, and why; empty: there are none.
using GuestsLeftAlone = TypedVector<GuestNumber, std::optional<Reason>>;

struct GuestFiles {
  GuestsLeftAlone left_alone;
  GuestPackages packages;
  CountsByGuest counts;
  GuestDevices devices;  // they differ between btrfs subvolumes only
  FileTable table;       // what is considered; FileRow::tag is the position in packages[guest].files(),
                         // kNoPackage without
  std::vector<Sighting> sightings;  // in no order
  GuestCounts total() const;
  void add(const CountsByGuest& more);  // what a later pass counted
};
inline constexpr uint32_t kNoPackage = 0xffffffff;

// What the databases of all guests say, and what is wrong with them; nothing is logged. `cache_dir` as in
// load_packages().
struct GuestDatabases {
  GuestPackages packages;
  TypedVector<GuestNumber, std::vector<PackageTrouble>> troubles;
};
GuestDatabases read_guest_databases(Guests guests, const std::optional<std::string>& cache_dir,
                                    RunContext& context);

// Pass 4, before the scan because it saves the scan most of its work. What is wrong with a database is
// logged: what may pass as trouble of this run, an oddity that stays as one warning a guest (`vunify status`
// lists them), for the files that it concerns have their reasons.
GuestPackages load_guest_packages(Guests guests, const std::optional<std::string>& cache_dir,
                                  RunContext& context);

// Passes 3 and 5 in one walk.
GuestFiles scan_guests(Guests guests, const Rules& rules, const MasterTable& masters, GuestPackages packages,
                       RunContext& context, GuestsLeftAlone left_alone = {});

}  // namespace vs::unify
