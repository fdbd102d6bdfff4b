// Making masters: host-made inodes that no guest ever had a descriptor of.
#pragma once

#include <string>

#include "core/cancel.h"
#include "core/store/guard.h"
#include "core/store/store.h"
#include "core/store/unsealed_window.h"
#include "core/tree/inventory.h"
#include "unify/plan/eligibility.h"
#include "unify/plan/link_plan.h"

namespace vs::unify {

struct PlannedFiles {  // what a plan and its steps refer to
  Guests guests;
  const LinkPlan& plan;
  const FileTable& table;
  const Cancel* cancel = nullptr;  // asked at every block that is read: problem code ECANCELED
};

// An open master and what is known of it.
struct OpenMaster {
  MasterRecord record;
  std::string shown;  // its path on the host, for messages
  UniqueFd fd;        // for reading; the only descriptor of it
  bool fresh = false;
};

// Copies the first duplicate of [begin, end) that is what the plan says into a new nameless inode in the
// store, gives it the class, takes its digests from the bytes that were written to it, and names it.
// Duplicates that are not what the plan says are in `refused`. The caller syncs the store before any guest
// gets a name of it. A guest can change the duplicate while it is copied: then the digest (or, where none is
// recorded, the plan's content hash) does not match and the next duplicate is tried.
Expected<OpenMaster> make_master(const Store& store, const PlannedFiles& files, const PlanGroup& group,
                                 DuplicateNumber begin, DuplicateNumber end, bool ignore_mtime,
                                 std::vector<std::pair<DuplicateNumber, Reason>>& refused, Log& log);

// Copies a whole file, keeping holes; `to` is empty. Returns nothing but trouble.
struct CopyDigests {
  Key128 content;
  std::string sha256, md5;
  std::string recorded;  // by the algorithm asked for
};
Expected<CopyDigests> copy_contents(int from, int to, DigestAlgorithm recorded, const std::string& object,
                                    const Cancel* cancel = nullptr);

// A private, writable copy of a master, content and class equal, without a name: nothing is left of it if we
// are killed. For release. Problem code EUCLEAN: the content is not that which is recorded.
enum class Copied { if_as_recorded, as_it_is };
Expected<UniqueFd> private_copy(const Store& store, const OpenMaster& master,
                                Copied which = Copied::if_as_recorded, const Cancel* cancel = nullptr);

// An existing master, open, with what is recorded of it; nothing is looked at.
Expected<OpenMaster> open_recorded(const Store& store, const MasterRecord& record);

// For its window: what it must be when that is over. `master` must stay where it is as long as this is used.
SharedFile shared_file(const OpenMaster& master);

// What of the inode flags and the project of this master is right: it was made in the staging directory, and
// has of it what that hands down.
InodeMarks marks_as_made(const Store& store, int fd);

// An existing master that is what its record says, and sealed. A retired one may have another class: it is
// opened to take its names away.
Expected<OpenMaster> open_master(const Store& store, const Guard& guard, const MasterRecord& record);

// For messages: " (package libc6 2.36-9)", or nothing where none is known.
std::string of_package(const MasterRecord& record);

Reason reason_of_errno(int code);

}  // namespace vs::unify
