// Pass 9: does what a plan says, in batches, each journaled before it is begun and left whole whatever
// happens.
#pragma once

#include "core/guest_freezer.h"
#include "core/run_context.h"
#include "core/store/guard.h"
#include "unify/change/journal.h"
#include "unify/change/master_maker.h"
#include "unify/plan/guest_files.h"
#include "unify/plan/index.h"

namespace vs::unify {

struct ApplyInput {
  PlannedFiles files;
  const Store& store;
  const Guard& guard;
  MasterTable& masters;
  Index& index;
  const JournalRun& run;
  std::string state_dir;
  GuestDevices devices;
  bool ignore_mtime = false;
  GuestFreezer* freezer = nullptr;  // none: what runs is left alone
};

struct ApplyResult {
  uint64_t files_linked = 0;
  uint64_t masters_made = 0;
  uint64_t bytes_saved = 0;       // on disk: old inodes freed, less new masters; reflink: extents now shared
  uint64_t bytes_held = 0;        // old inodes that are freed when the programs end that have them open
  uint64_t bytes_in_extents = 0;  // reflink: of the files linked, whether they shared before or not
  uint64_t put_back = 0;
  uint64_t classes_restored = 0;
  uint64_t longest_window_us = 0;  // in which a master was unsealed
  uint64_t leases_broken = 0;
  TypedVector<GuestNumber, ReasonCounts> skipped;  // names of duplicates
};

// For guards that share inodes. Throws Error only for what ends the run (journal or index cannot be written);
// what was begun is finished first.
ApplyResult apply_plan(const ApplyInput& input, RunContext& context);

// For the reflink guard: extents of equal files become shared, the kernel comparing. Nothing to journal: each
// step is whole.
ApplyResult apply_reflinks(const ApplyInput& input, RunContext& context);
// What apply_reflinks() would free: extents of the duplicates, but the first of each group, that no other
// file has.
uint64_t bytes_not_shared(const PlannedFiles& files);

}  // namespace vs::unify
