#include "unify/change/release.h"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>

#include "core/store/seal_keeper.h"
#include "unify/change/master_release.h"

namespace vs::unify {
namespace {

constexpr size_t kBatchNames = 2048;

// `names` sorted by master.
std::vector<MasterRelease> group_by_master(const std::vector<NameOfMaster>& names) {
  std::vector<MasterRelease> batch;
  uint32_t number = 0;
  for (const auto& name : names) {
    if (batch.empty() || batch.back().master != name.master) batch.emplace_back().master = name.master;
    batch.back().names.push_back(name);
    batch.back().staged.push_back(fmt::format("{:08x}", number++));
  }
  return batch;
}

class Releaser {
 public:
  Releaser(const ReleaseInput& input, RunContext& context)
      : input_(input),
        context_(context),
        journal_(input.state_dir + "/journal", input.run),
        releaser_(input.guests, input.store, input.guard, input.masters, keeper_, context.log,
                  context.cancel) {}

  ReleaseResult run(std::vector<NameOfMaster> names) {
    ok_or_throw(keeper_.start());
    context_.progress.start("release", "files", names.size());
    for (size_t at = 0; at < names.size() && !context_.cancel.stop();) {
      size_t end = std::min(names.size(), at + kBatchNames);
      while (end < names.size() && were_linked(names[end - 1], names[end]))
        ++end;  // a link group is in one batch
      run_batch({names.begin() + static_cast<long>(at), names.begin() + static_cast<long>(end)});
      at = end;
    }
    context_.progress.finish();
    journal_.finish();
    return result_;
  }

 private:
  void run_batch(const std::vector<NameOfMaster>& names) {
    std::vector<MasterRelease> batch = group_by_master(names);
    each(batch, [&](MasterRelease& one) { releaser_.make_copies(one); });
    if (auto synced = input_.store.sync(); !synced) throw Error(synced.error().message);
    announce(batch);
    each(batch, [&](MasterRelease& one) { releaser_.swap(one); });
    releaser_.put_directory_times_back();
    account(batch);
    context_.progress.add(names.size());
    stop_if_incomplete(batch);
    ok_or_throw(keeper_.forget());
    ok_or_throw(journal_.done(batch_number_));
  }

  // To the journal and to the seal keeper, before the first window is opened.
  void announce(const std::vector<MasterRelease>& batch) {
    JournalBatch intent;
    intent.number = ++batch_number_;
    intent.kind = StepKind::release;
    std::vector<int> fds;
    for (const auto& one : batch) releaser_.announce(one, intent, fds);
    ok_or_throw(journal_.intend(intent));
    ok_or_throw(keeper_.hand_over(fds));
  }

  // What was done, and which masters get no more names.
  void account(const std::vector<MasterRelease>& batch) {
    std::vector<MasterRecord> retired;
    for (const auto& one : batch) {
      if (one.verdict >= UnsealedWindow::Verdict::tainted) {
        input_.masters.retire(one.master);
        retired.push_back(input_.masters[one.master]);
      }
      result_.released += one.released;
      result_.bytes_copied += one.bytes;
      for (size_t i = 0; i < kReasons; ++i) result_.skipped[i] += one.skipped[i];
    }
    for (const auto& record : releaser_.strays().retire_changed(input_.masters)) retired.push_back(record);
    input_.index.put_masters(input_.store.id(), retired);
  }

  // The batch stays in the journal then.
  void stop_if_incomplete(const std::vector<MasterRelease>& batch) {
    stop_if_left_for_recovery(batch, releaser_.strays(), input_.store);
    // Recovery gives the others their names of the copy, or none of them (recovery.h), when the system lets
    // it.
    if (std::any_of(batch.begin(), batch.end(), [](const MasterRelease& one) { return one.torn; }))
      throw Error(
          "stopped, since of the hard links of one file some could be released and others not (see above); "
          "vunify recover makes them one file again");
  }

  template <class Do>
  void each(std::vector<MasterRelease>& batch, Do what) {
    tbb::parallel_for(size_t{0}, batch.size(), [&](size_t i) { what(batch[i]); });
  }

  const ReleaseInput& input_;
  RunContext& context_;
  Journal journal_;
  SealKeeper keeper_;
  MasterReleaser releaser_;
  uint32_t batch_number_ = 0;
  ReleaseResult result_;
};

}  // namespace

ReleaseResult release_names(const ReleaseInput& input, std::vector<NameOfMaster> names, RunContext& context) {
  return Releaser(input, context).run(std::move(names));
}

}  // namespace vs::unify
