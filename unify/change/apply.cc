#include "unify/change/apply.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "core/escape.h"
#include "core/store/seal_keeper.h"
#include "unify/change/linker.h"
#include "unify/change/package_watch.h"

namespace vs::unify {
namespace {

// Names a batch. One journal fsync and one filesystem sync a batch; old inodes and their leases are held
// until it is settled, so it bounds descriptors and how long a guest's open for writing may wait.
constexpr uint32_t kBatchNames = 2048;
// Groups whose masters are made and synced together, for the batches to come: a sync of the whole filesystem
// costs tens of milliseconds however little there is to write (20 guests: 3.9 s of 24 when each batch had its
// own). It bounds descriptors and what an interrupted run made in vain.
constexpr size_t kGroupsAtOnce = 2048;
// An open for writing that had passed its path look-up before the exchange reaches the lease within this
// time, or the guest's process did not run at all.
constexpr auto kSettle = std::chrono::milliseconds(10);
// Names that are exchanged while a guest stands still, some milliseconds.
constexpr uint32_t kNamesStandingStill = 256;
constexpr auto kStandStillLimit = std::chrono::milliseconds(1000);

class Applier {
 public:
  Applier(const ApplyInput& input, RunContext& context)
      : input_(input),
        context_(context),
        linker_(input.store, input.guard, input.files, input.masters, &keeper_, input.ignore_mtime, counts_,
                context.log),
        watch_(input.files.guests, context.log),
        journal_(input.state_dir + "/journal", input.run),
        history_(input.state_dir, input.run) {
    result_.skipped.resize(input.files.guests.size());
    linker_.leave_alone([this](GuestNumber guest) { return watch_.at_work(guest); });
  }

  ApplyResult run() {
    ok_or_throw(keeper_.start());
    queue_all();
    context_.progress.start("link", "files", input_.files.plan.file_count());
    do {
      while (!queue_.empty() && !context_.cancel.stop()) run_batches(take_batches());
      link_in_use();  // may find that a master is full, and queue what needs another one
    } while (!queue_.empty() && !context_.cancel.stop());
    for (const auto& work : queue_) leave_for_next_run(work);
    input_.index.learn(left_);
    context_.progress.finish();
    journal_.finish();
    result_.files_linked = counts_.files_linked;
    result_.put_back = counts_.put_back;
    result_.classes_restored = counts_.classes_restored;
    result_.longest_window_us = counts_.longest_ns / 1000;
    result_.leases_broken = counts_.leases_broken;
    result_.bytes_held = counts_.bytes_held;
    result_.bytes_saved = counts_.bytes_freed - std::min<uint64_t>(counts_.bytes_freed, bytes_of_masters_);
    return std::move(result_);
  }

 private:
  const LinkPlan& plan() const { return input_.files.plan; }
  uint32_t names_in(DuplicateNumber begin, DuplicateNumber end) const {
    DuplicateNumber last = end;
    --last;
    return plan().duplicates[last].end - plan().duplicates[begin].begin;
  }

  // Large groups are cut so that a batch keeps its size.
  void queue_all() {
    for (GroupNumber g; g < plan().groups.next_number(); ++g) {
      const PlanGroup& group = plan().groups[g];
      for (DuplicateNumber begin = group.begin; begin < group.end;) {
        DuplicateNumber end = begin + 1;
        while (end < group.end && names_in(begin, end + 1) <= kBatchNames) ++end;
        queue_.push_back(work_for(g, begin, end));
        begin = end;
      }
    }
  }

  GroupWork work_for(GroupNumber group, DuplicateNumber begin, DuplicateNumber end) {
    GroupWork work;
    work.group = group;
    work.begin = begin;
    work.end = end;
    return work;
  }

  // The master that the plan names, or one made meanwhile (by an earlier batch of the same group), unless it
  // is full.
  void choose_master(GroupWork& work) {
    const PlanGroup& group = plan().groups[work.group];
    for (const auto& key : group.keys)
      for (const MasterNumber made : input_.masters.answering(key))
        if (suits(input_.masters[made], group)) {
          work.master_index = made;
          return;
        }
  }
  static bool suits(const MasterRecord& record, const PlanGroup& group) {
    return record.name == group.master || (record.content == group.content && record.size == group.size &&
                                           record.file_class.xattrs == group.xattrs);
  }

  using Batch = std::vector<GroupWork>;

  Batch take_batch(std::optional<GroupNumber>& last_group) {
    Batch batch;
    uint32_t names = 0;
    while (!queue_.empty()) {
      GroupWork& next = queue_.front();
      const uint32_t more = names_in(next.begin, next.end);
      if (last_group == next.group || (!batch.empty() && names + more > kBatchNames)) break;
      choose_master(next);
      next.first_staged = names;
      names += more;
      last_group = next.group;
      batch.push_back(std::move(next));
      queue_.pop_front();
    }
    return batch;
  }

  // A group that needs several batches is in one of them only: a master has one window at a time, and the
  // next part looks for the master that this one made.
  std::vector<Batch> take_batches() {
    std::vector<Batch> batches;
    std::optional<GroupNumber> last_group;
    for (size_t groups = 0; groups < kGroupsAtOnce; groups += batches.back().size()) {
      Batch batch = take_batch(last_group);
      if (batch.empty()) break;
      batches.push_back(std::move(batch));
    }
    return batches;
  }

  void run_batches(std::vector<Batch> batches) {
    std::vector<GroupWork*> works;
    for (auto& batch : batches)
      for (auto& work : batch) works.push_back(&work);
    tbb::parallel_for(size_t{0}, works.size(), [&](size_t i) { linker_.prepare(*works[i]); });
    if (!keep_new_masters(works)) return;
    for (auto& batch : batches) {
      if (context_.cancel.stop()) {
        for (const auto& work : batch) leave_for_next_run(work);
      } else {
        link_batch(batch);
      }
      batch.clear();  // closes the masters
    }
  }

  // What somebody had open, guest by guest: while it stands still, if it runs.
  void link_in_use() {
    for (const auto& [guest, duplicates] : std::exchange(in_use_, {})) {
      const auto processes = processes_of(input_.files.guests[guest]);
      std::deque<GroupWork> works;
      for (const auto& [group, duplicate] : duplicates) {
        works.push_back(work_for(group, duplicate, duplicate + 1));
        works.back().processes = processes.value_or(Processes::running);
      }
      bool stands_still = processes.has_value();
      while (!works.empty() && stands_still && !context_.cancel.stop())
        stands_still = link_in_use(guest, take_in_use(works));
      for (const auto& work : works)
        stands_still ? leave_for_next_run(work) : refuse_all(work, Reason::running);
    }
  }

  // None: it runs and cannot be made to stand still.
  std::optional<Processes> processes_of(const Guest& guest) {
    if (input_.freezer == nullptr) return std::nullopt;
    const Result found = input_.freezer->can_freeze(guest);
    if (found) return Processes::standing_still;
    if (found.error().code == ESRCH) return Processes::none;
    context_.log.remember_first(reason_name(Reason::running), found.error().message);
    return std::nullopt;
  }

  // As many as may be in one batch, each master once.
  Batch take_in_use(std::deque<GroupWork>& works) {
    Batch batch;
    std::set<GroupNumber> groups;
    uint32_t names = 0;
    for (auto next = works.begin(); next != works.end();) {
      const uint32_t more = names_in(next->begin, next->end);
      if (!batch.empty() && names + more > kNamesStandingStill) break;
      if (!groups.insert(next->group).second) {
        ++next;
        continue;
      }
      choose_master(*next);
      next->first_staged = names;
      names += more;
      batch.push_back(std::move(*next));
      next = works.erase(next);
    }
    return batch;
  }

  // False: the guest did not stand still in time, and is not asked again in this run.
  bool link_in_use(GuestNumber guest, Batch batch) {
    std::vector<GroupWork*> works;
    for (auto& work : batch) works.push_back(&work);
    each(batch, [&](GroupWork& work) { linker_.prepare(work); });
    return !keep_new_masters(works) || link_batch(batch, &input_.files.guests[guest]);
  }

  // All that reads is done before the guest stands still.
  bool link_standing_still(Batch& batch, const Guest& guest) {
    each(batch, [&](GroupWork& work) { linker_.compare(work); });
    const auto frozen = input_.freezer->freeze(guest, kStandStillLimit);
    if (frozen) {
      each(batch, [&](GroupWork& work) { linker_.exchange(work); });
      return true;
    }
    context_.log.remember_first(reason_name(Reason::running), frozen.error().message);
    for (auto& work : batch)
      for (auto& one : work.checked) work.refused.emplace_back(one.duplicate, Reason::running);
    return false;
  }

  // `guest`: of whom all these names are, where it shall stand still. False: it did not.
  bool link_batch(Batch& batch, const Guest* guest = nullptr) {
    JournalBatch intent;
    intent.number = ++batch_number_;
    for (const auto& work : batch)
      if (work.ready) linker_.announce(work, intent);
    if (intent.steps.empty()) {
      account(batch);
      return true;
    }
    ok_or_throw(journal_.intend(intent));
    std::vector<int> fds;
    for (const auto& work : batch)
      if (work.ready) fds.push_back(work.master.fd.get());
    ok_or_throw(keeper_.hand_over(fds));
    bool done = true;
    if (guest != nullptr && batch.front().processes == Processes::standing_still)
      done = link_standing_still(batch, *guest);
    else
      each(batch, [&](GroupWork& work) { linker_.link(work); });
    std::this_thread::sleep_for(kSettle);
    each(batch, [&](GroupWork& work) { linker_.settle(work); });
    linker_.finish_directories();
    account(batch);
    stop_if_left_for_recovery(batch, linker_.strays(), input_.store);
    ok_or_throw(keeper_.forget());
    ok_or_throw(journal_.done(batch_number_));
    return done;
  }

  template <class Do>
  void each(std::vector<GroupWork>& batch, Do what) {
    tbb::parallel_for(size_t{0}, batch.size(), [&](size_t i) { what(batch[i]); });
  }

  // Before any guest gets a name of them, new masters are on disk and in the index. False: the disk refused;
  // these masters stay unused, for gc.
  bool keep_new_masters(const std::vector<GroupWork*>& works) {
    std::vector<MasterRecord> fresh;
    for (const GroupWork* work : works)
      if (work->ready && work->master.fresh) fresh.push_back(work->master.record);
    if (fresh.empty()) return true;
    if (auto synced = input_.store.sync(); !synced) {
      context_.log.object_failed(synced.error().message);
      for (const GroupWork* work : works) refuse_all(*work, reason_of_errno(synced.error().code));
      return false;
    }
    input_.index.put_masters(input_.store.id(), fresh);
    for (GroupWork* work : works) {
      if (!work->ready || !work->master.fresh) continue;
      work->master_index = input_.masters.add(work->master.record);
      ++result_.masters_made;
      if (const auto stat = stat_fd(work->master.fd.get(), work->master.record.name))
        bytes_of_masters_ += stat->blocks * 512;
    }
    return true;
  }

  void refuse(DuplicateNumber duplicate, Reason reason) {
    const Duplicate& v = plan().duplicates[duplicate];
    for (NameNumber n = v.begin; n < v.end; ++n)
      ++result_.skipped[input_.files.table.guest(input_.files.table.rows()[plan().names[n]])]
                       [static_cast<size_t>(reason)];
  }
  void refuse_all(const GroupWork& work, Reason reason) {
    for (DuplicateNumber v = work.begin; v < work.end; ++v) refuse(v, reason);
  }

  // What this run verified is remembered, so that the next one goes on with linking. (Not what a plan file
  // says: nobody here has read it.)
  void leave_for_next_run(const GroupWork& work) {
    refuse_all(work, Reason::out_of_time);
    context_.log.remember_first(
        reason_name(Reason::out_of_time),
        escaped(input_.files.table.path(
            input_.files.table.rows()[plan().names[plan().duplicates[work.begin].begin]])));
    const PlanGroup& group = plan().groups[work.group];
    if (input_.run.verb != "run" || group.keys.size() != 1)
      return;  // several keys: which member has which key is known to the verifier only
    for (DuplicateNumber v = work.begin; v < work.end; ++v) {
      const FileRow& row = input_.files.table.rows()[plan().names[plan().duplicates[v].begin]];
      if (row.ctime_ns < group.read_at_ns - kRacyNs)
        left_.push_back({input_.devices[input_.files.table.guest(row)],
                         row,
                         {group.content, group.xattrs, true, group.keys[0], 0}});
    }
  }

  void account(std::vector<GroupWork>& batch) {
    std::vector<HistoryStep> steps;
    std::vector<MasterRecord> retired;
    for (auto& work : batch) {
      for (const auto& [duplicate, reason] : work.refused) refuse(duplicate, reason);
      for (const auto& [r, duplicate] : work.linked) {
        const FileRow& row = input_.files.table.rows()[r];
        steps.push_back({input_.files.guests[input_.files.table.guest(row)].name,
                         input_.files.table.path(row), work.master.record.name, duplicate.value});
      }
      if (work.unusable_master) {
        input_.masters.retire(*work.unusable_master);
        retired.push_back(input_.masters[*work.unusable_master]);
      }
      if (work.ready && (work.full || work.verdict != UnsealedWindow::Verdict::intact)) {
        input_.masters.retire(*work.master_index);
        retired.push_back(input_.masters[*work.master_index]);
      }
      requeue(work);
      keep_in_use(work);
      context_.progress.add(names_in(work.begin, work.end));
    }
    for (const auto& record : linker_.strays().retire_changed(input_.masters)) retired.push_back(record);
    history_.add(steps);
    input_.index.put_masters(input_.store.id(), retired);
  }

  void keep_in_use(const GroupWork& work) {
    for (const DuplicateNumber v : work.in_use) {
      const FileRow& row = input_.files.table.rows()[plan().names[plan().duplicates[v].begin]];
      in_use_[input_.files.table.guest(row)].emplace_back(work.group, v);
    }
  }

  // Duplicates for which the master had no room go on with a new one, copied from the first of them.
  void requeue(const GroupWork& work) {
    for (size_t i = work.deferred.size(); i > 0;) {
      DuplicateNumber begin = work.deferred[i - 1];
      const DuplicateNumber end = begin + 1;
      for (--i; i > 0 && work.deferred[i - 1] + 1 == begin; --i) --begin;
      queue_.push_front(work_for(work.group, begin, end));
    }
  }

  const ApplyInput& input_;
  RunContext& context_;
  LinkerCounts counts_;
  SealKeeper keeper_;
  Linker linker_;
  PackageWatch watch_;
  Journal journal_;
  RunHistory history_;
  std::deque<GroupWork> queue_;
  std::map<GuestNumber, std::vector<std::pair<GroupNumber, DuplicateNumber>>> in_use_;
  uint32_t batch_number_ = 0;
  uint64_t bytes_of_masters_ = 0;
  std::vector<Index::Learned> left_;
  ApplyResult result_;
};

}  // namespace

ApplyResult apply_plan(const ApplyInput& input, RunContext& context) {
  return Applier(input, context).run();
}

}  // namespace vs::unify
