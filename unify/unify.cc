#include "unify/unify.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/escape.h"
#include "unify/holds.h"
#include "unify/own_project.h"
#include "unify/packages/package_work.h"
#include "unify/plan/candidates.h"
#include "unify/plan/plan_maker.h"
#include "unify/plan/verify.h"

namespace vs::unify {

namespace {

GuestPackages read_packages(const OpenedPool& pool, const KeptKnowledge& kept, RunContext& context) {
  const auto timed = context.timer.time("packages");
  return load_guest_packages(pool.guests(), kept.package_cache, context);
}

GuestFiles scan_files(const OpenedPool& pool, GuestPackages packages, GuestsLeftAlone left_alone,
                      RunContext& context) {
  const auto timed = context.timer.time("scan");
  return scan_guests(pool.guests(), pool.rules(), pool.masters(), std::move(packages), context,
                     std::move(left_alone));
}

// Whose packages are being changed, or are about to.
GuestsLeftAlone leave_alone(const OpenedPool& pool, RunContext& context) {
  GuestsLeftAlone left_alone;
  for (const auto& guest : pool.guests()) {
    left_alone.emplace_back();
    if (is_held(pool.options().state, guest.name)) {
      left_alone.back() = Reason::held;
    } else if (const auto work = package_work(guest.root)) {
      left_alone.back() = Reason::package_work;
      context.log.remember_first(reason_name(Reason::package_work), guest.name + ": " + *work);
      context.log.verbose(fmt::format("{}: {}; nothing of it is shared", escaped(guest.name), *work));
    }
  }
  return left_alone;
}

CandidateSet group_candidates(const OpenedPool& pool, const GuestFiles& files, RunContext& context) {
  const auto timed = context.timer.time("candidates");
  return find_candidates(files, pool.rules(), pool.masters());
}

std::vector<GroupVerdict> compare_candidates(const VerifyInput& input, const Index& index,
                                             RunContext& context) {
  const auto timed = context.timer.time("verify");
  return verify_candidates(input, index, context);
}

// Where no guest can be frozen, what runs is left alone.
std::unique_ptr<GuestFreezer> find_freezer(RunContext& context) {
  try {
    return make_cgroup_freezer();
  } catch (const Error& error) {
    context.log.verbose(error.what());
    return nullptr;
  }
}

// Contents of files that are gone, or that no rule lets in any more, would stay in the index for ever.
// Looking for them is cheap, but not free: it is done only if they are a good part of the index, and only
// after all guests of the pool were looked at.
void forget_unseen(LockedPool& pool, const GuestFiles& files, RunContext& context) {
  constexpr size_t kFew = 1000;
  const size_t rows = files.table.rows().size();
  if (!pool.options().guests.empty() || context.cancel.stop() ||
      pool.index().contents() <= rows + rows / 4 + kFew)
    return;
  std::map<uint64_t, std::vector<uint64_t>> seen;
  for (const uint64_t dev : files.devices) seen[dev];
  for (const auto& row : files.table.rows()) seen[files.devices[files.table.guest(row)]].push_back(row.ino);
  size_t forgotten = 0;
  for (auto& [dev, inos] : seen) forgotten += pool.index().forget_others(dev, std::move(inos));
  context.log.verbose(fmt::format("the index forgot {} files that are not there any more", forgotten));
}

}  // namespace

// Passes 1 and 2 came before (opened_pool.h):
//
//   1 inventory   take_inventory(): which trees, on which filesystem. First, because all that follows is
//                 about one filesystem. lock_pool() then keeps every other run away from it.
//   2 recover     make_whole(): before anything is read, because a half-done exchange of an earlier run would
//                 be taken for a file of the guest. From here on the staging directory is empty and every
//                 master is sealed.
//
// Nothing in a guest is changed before pass 9; from then on the journal can finish or undo it.
RunSummary run_unify(LockedPool& pool, RunContext& context) {
  const PlannedRun planned = plan_run(pool, pool.kept(), context);  // 3 to 8
  RunSummary summary = summarize(pool, "run", planned.files);

  // 9 apply: the only pass that writes to a guest. It compares all once more, under leases, because guests
  // went on running since pass 3. After it every name is linked and sealed, or as it was.
  const JournalRun run = pool.journal_run("run", new_run_id());
  summary.run = run.run;
  const PlannedLinks links{planned.plan, planned.files.table, planned.files.devices,
                           pool.rules().ignore_mtime};
  add_applied(summary, apply_links(pool, links, run, context), pool);
  summary.bytes_in_extents += planned.bytes_shared_before;

  // What one guest alone has by now counts for its quota again (own_project.h). After apply, which may have
  // given others names of it.
  give_back_uncounted(pool, planned.files, context);

  // After apply, so that a run that is killed forgets nothing that it still needs.
  forget_unseen(pool, planned.files, context);
  return summary;  // 10 report: the command prints it and adds it to the history
}

PlannedRun plan_run(const OpenedPool& pool, const KeptKnowledge& kept, RunContext& context) {
  GuestFiles files = find_files(pool, kept, context);  // 3 to 5

  // 6 candidates: files of one size, class and package record, without opening one. Needs all guests, so it
  // stands after the whole scan. After it the groups are fixed, and those of one file are gone.
  const CandidateSet candidates = group_candidates(pool, files, context);

  // 7 verify: reads each candidate once and splits groups by content. After candidates, because reading is
  // what costs most. After it every content is proved equal, as of the moment of reading.
  const VerifyInput input{pool.guests(),  files.table,  candidates,   files.packages, files.devices,
                          pool.masters(), pool.store(), pool.rules(), &context.cancel};
  std::vector<GroupVerdict> verdicts = compare_candidates(input, pool.index(), context);

  // 8 plan: from here on it is fixed what is to be done, the same for any number of threads.
  const auto timed = context.timer.time("plan");
  MadePlan made = make_plan(input, std::move(verdicts), !pool.guard().shares_inodes(), kept.index);
  files.add(candidates.counts);
  files.add(made.counts);
  return {std::move(files), std::move(made.plan), made.bytes_shared_before};
}

uint64_t bytes_to_save(const OpenedPool& pool, const PlannedRun& planned, RunContext& context) {
  if (pool.guard().shares_inodes()) return planned.plan.bytes_to_save(pool.pool().block_size);
  return bytes_not_shared({pool.guests(), planned.plan, planned.files.table, &context.cancel});
}

GuestFiles find_files(const OpenedPool& pool, const KeptKnowledge& kept, RunContext& context) {
  // 4 package knowledge: before the scan, because it spares the scan most of its work. In scope all, too: the
  // package databases say which files are configuration.
  GuestPackages packages = read_packages(pool, kept, context);

  // 3 scan and 5 eligibility, in one walk: an entry that no rule lets in costs no stat. After it the rows are
  // fixed, and every file left out has a reason.
  return scan_files(pool, std::move(packages), leave_alone(pool, context), context);
}

ApplyResult apply_links(LockedPool& pool, const PlannedLinks& links, const JournalRun& run,
                        RunContext& context) {
  const auto timed = context.timer.time("apply");
  if (links.plan.groups.empty()) {
    ApplyResult nothing;
    nothing.skipped.resize(pool.guests().size());
    return nothing;
  }
  const auto freezer = pool.options().no_freeze ? nullptr : find_freezer(context);
  const ApplyInput input{{pool.guests(), links.plan, links.table, &context.cancel},
                         pool.store(),
                         pool.guard(),
                         pool.masters(),
                         pool.index(),
                         run,
                         pool.options().state,
                         links.devices,
                         links.ignore_mtime,
                         freezer.get()};
  if (!pool.guard().shares_inodes()) return apply_reflinks(input, context);
  ApplyResult applied = apply_plan(input, context);
  release_spoiled(pool, context);
  return applied;
}

namespace {

uint64_t bytes_of_masters(const OpenedPool& pool) {  // on disk
  const uint64_t block = pool.pool().block_size;
  uint64_t sum = 0;
  for (const auto& master : pool.masters().records()) sum += (master.size + block - 1) / block * block;
  return sum;
}

}  // namespace

RunSummary summarize(const OpenedPool& pool, const std::string& verb, const GuestFiles& files) {
  RunSummary summary;
  const GuestCounts total = files.total();
  summary.verb = verb;
  summary.guests = pool.guests().size();
  summary.files_seen = total.regular_files;
  summary.files_considered = total.considered;
  summary.files_unified_before = total.unified;
  summary.skipped = total.skipped;
  summary.masters = pool.masters().size();
  summary.rows = files.table.rows().size();
  summary.table_bytes = files.table.memory_bytes();
  summary.bytes_shared = bytes_of_masters(pool);
  return summary;
}

void add_applied(RunSummary& summary, const ApplyResult& applied, const OpenedPool& pool) {
  summary.masters = pool.masters().size();
  summary.bytes_shared = bytes_of_masters(pool);
  summary.files_linked += applied.files_linked;
  summary.bytes_saved += applied.bytes_saved;
  summary.bytes_held += applied.bytes_held;
  summary.bytes_in_extents += applied.bytes_in_extents;
  summary.put_back += applied.put_back;
  summary.classes_restored += applied.classes_restored;
  summary.longest_window_us = std::max(summary.longest_window_us, applied.longest_window_us);
  summary.leases_broken += applied.leases_broken;
  for (const auto& counts : applied.skipped)
    for (size_t i = 0; i < kReasons; ++i) summary.skipped[i] += counts[i];
}

}  // namespace vs::unify
