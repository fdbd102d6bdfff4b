// Proof that nothing shared was tampered with.
#pragma once

#include "core/run_context.h"
#include "core/tree/inventory.h"
#include "unify/opened_pool.h"

namespace vs::unify {

struct Finding {
  std::string kind;    // "unsealed", "content", "class", "links", "unreadable", "modified", "missing",
                       // "version", "package_missing", "package_added"
  std::string object;  // master's name, guest:path, package
  std::string detail;
};

struct CheckResult {
  uint64_t masters = 0;
  uint64_t names = 0;  // of masters, found in guests
  uint64_t files_compared = 0;
  std::vector<Finding> findings;  // sorted by object
};

// Each master: sealed, class and SHA-256 as when it was made, link count equal to the names found in the
// guests plus the store's own. Reads every master once. Link counts are only judged when all guests were
// looked at.
CheckResult check_masters(const OpenedPool& pool, bool judge_links, RunContext& context);

// `name`'s package files against what the package database of the trusted guest `reference` records: evidence
// that a guest cannot forge, since neither its database nor its programs are asked. Files with config and
// ghost flags are left out.
CheckResult check_against(const OpenedPool& pool, GuestNumber reference, GuestNumber name,
                          RunContext& context);

}  // namespace vs::unify
