// Fuzzes the reader of plan files. What it takes must come out of plan_text() and go in again unchanged.
// Seeds: tests/testdata/fuzz/plan_json/.
#include <cstdlib>

#include "core/error.h"
#include "unify/plan/guest_files.h"
#include "unify/plan/link_plan.h"

namespace {

using namespace vs;
using namespace vs::unify;

// What apply relies on: ranges that lie in their tables, paths that stay beneath a root.
void check(const ParsedPlan& parsed) {
  const LinkPlan& plan = parsed.plan;
  DuplicateNumber duplicate;
  NameNumber name;
  for (const auto& group : plan.groups) {
    if (group.begin != duplicate || group.end <= group.begin || group.end > plan.duplicates.next_number() ||
        group.keys.empty())
      std::abort();
    if (group.package >= plan.packages.next_number() || group.digest.size() != digest_size(group.algorithm))
      std::abort();
    for (; duplicate < group.end; ++duplicate) {
      if (plan.duplicates[duplicate].begin != name || plan.duplicates[duplicate].end <= name) std::abort();
      name = plan.duplicates[duplicate].end;
    }
  }
  if (name != plan.names.next_number() || duplicate != plan.duplicates.next_number()) std::abort();
  for (const RowNumber row : plan.names) {
    if (row >= parsed.table.rows().next_number()) std::abort();
    const FileRow& file = parsed.table.rows()[row];
    const std::string path = "/" + parsed.table.path(file) + "/";
    if (parsed.table.guest(file).value >= parsed.header.trees.size()) std::abort();
    for (const char* part : {"//", "/./", "/../"})
      if (path.find(part) != std::string::npos) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const ParsedPlan parsed = parse_plan({reinterpret_cast<const char*>(data), size}, "plan");
    check(parsed);
    const std::string text = plan_text(parsed.header, parsed.plan, parsed.table);
    const ParsedPlan again = parse_plan(text, "plan");
    if (plan_text(again.header, again.plan, again.table) != text) std::abort();
  } catch (const Error&) {  // the only thing it may throw
  }
  return 0;
}
