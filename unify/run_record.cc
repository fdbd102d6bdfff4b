#include "unify/run_record.h"

#include <fmt/format.h>

#include <ctime>

#include "core/escape.h"

namespace vs::unify {

void record_run(const Session& session, const RunSummary& summary) {
  NightRow row;
  row.run = summary.run;
  row.pool = escaped(session.pool.top);
  row.time = ::time(nullptr) - static_cast<int64_t>(session.context.timer.total());
  row.verb = summary.verb;
  row.guests = summary.guests;
  row.files_seen = summary.files_seen;
  row.files_linked = summary.files_linked;
  row.masters = summary.masters;
  row.bytes_saved = summary.bytes_saved;
  row.seconds = session.context.timer.total();
  row.problems = session.context.log.failed_objects();
  // All sharing: every name of a master beyond the first stands for a copy that is not there.
  const uint64_t block = session.pool.block_size;
  for (const auto& master : session.masters.records()) {
    const auto stat = session.store->stat_master(master.name);
    if (stat && stat->nlink > 2)
      row.bytes_saved_total += (stat->nlink - 2) * ((master.size + block - 1) / block * block);
  }
  append_history(session.options.state + "/history.jsonl", row);
}

void prune_old_runs(const Session& session) {
  try {
    const size_t removed = prune_runs(session.options.state, session.options.keep_runs);
    if (removed != 0) session.context.log.verbose(fmt::format("removed the records of {} old runs", removed));
  } catch (const Error& error) {
    session.context.log.warning(error.what());
  }
}

}  // namespace vs::unify
