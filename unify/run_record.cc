#include "unify/run_record.h"

#include <fmt/format.h>

#include <ctime>

#include "core/escape.h"
#include "unify/report/savings.h"

namespace vs::unify {

void record_run(const LockedPool& pool, const RunSummary& summary, RunContext& context) {
  HistoryEntry row;
  row.run = summary.run.value_or("");
  row.pool = escaped(pool.pool().top);
  row.time = ::time(nullptr) - static_cast<int64_t>(context.timer.total());
  row.verb = summary.verb;
  row.guests = summary.guests;
  row.files_seen = summary.files_seen;
  row.files_linked = summary.files_linked;
  row.masters = summary.masters;
  row.bytes_saved = summary.bytes_saved;
  row.seconds = context.timer.total();
  row.problems = context.log.failed_objects();
  // All sharing: every name of a master beyond the first stands for a copy that is not there, and so does
  // every file whose extents are another's.
  row.bytes_saved_total = summary.bytes_in_extents;
  const uint64_t block = pool.pool().block_size;
  for (const auto& master : pool.masters().records()) {
    const auto stat = pool.store().stat_master(master.name);
    if (stat && stat->nlink > 2)
      row.bytes_saved_total += (stat->nlink - 2) * ((master.size + block - 1) / block * block);
  }
  append_history(pool.options().state + "/history.jsonl", row);
}

void prune_old_runs(const LockedPool& pool, RunContext& context) {
  try {
    const size_t removed = prune_runs(pool.options().state, pool.options().keep_runs);
    if (removed != 0) context.log.verbose(fmt::format("removed the records of {} old runs", removed));
  } catch (const Error& error) {
    context.log.warning(error.what());
  }
}

}  // namespace vs::unify
