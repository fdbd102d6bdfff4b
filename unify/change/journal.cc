#include "unify/change/journal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <filesystem>
#include <set>
#include <system_error>

#include "core/durable/durable_file.h"
#include "core/escape.h"

namespace vs::unify {
namespace {

enum RecordType : uint32_t { kRun = 1, kIntent = 2, kDone = 3, kSteps = 4 };

std::string run_bytes(const JournalRun& run) {
  std::string out;
  put_u32(out, 1);
  for (const auto* text : {&run.run, &run.verb, &run.store, &run.store_id}) put_string(out, *text);
  put_u32(out, static_cast<uint32_t>(run.trees.size()));
  for (const auto& tree : run.trees) {
    put_string(out, tree.name);
    put_string(out, tree.path);
  }
  return out;
}

bool take_run(std::string_view bytes, JournalRun& run) {
  FieldReader in(bytes);
  if (in.u32() != 1) return false;
  for (auto* text : {&run.run, &run.verb, &run.store, &run.store_id}) *text = in.string();
  for (uint32_t n = in.u32(); n > 0 && in.ok(); --n) {
    JournalRun::Tree tree;
    tree.name = in.string();
    tree.path = in.string();
    run.trees.push_back(std::move(tree));
  }
  return in.ok() && in.at_end();
}

std::string batch_bytes(const JournalBatch& batch) {
  std::string out;
  put_u32(out, batch.number);
  put_u32(out, static_cast<uint32_t>(batch.kind));
  put_u32(out, static_cast<uint32_t>(batch.masters.size()));
  for (const auto& name : batch.masters) put_string(out, name);
  put_u32(out, static_cast<uint32_t>(batch.steps.size()));
  for (const auto& step : batch.steps) {
    put_string(out, step.staged);
    put_string(out, step.guest);
    put_string(out, step.path);
    put_u64(out, step.new_ino);
    put_u64(out, step.old_ino);
  }
  return out;
}

bool take_batch(std::string_view bytes, JournalBatch& batch) {
  FieldReader in(bytes);
  batch.number = in.u32();
  batch.kind = static_cast<StepKind>(in.u32());
  if (batch.kind != StepKind::link && batch.kind != StepKind::release) return false;
  for (uint32_t n = in.u32(); n > 0 && in.ok(); --n) batch.masters.emplace_back(in.string());
  for (uint32_t n = in.u32(); n > 0 && in.ok(); --n) {
    JournalStep step;
    step.staged = in.string();
    step.guest = in.string();
    step.path = in.string();
    step.new_ino = in.u64();
    step.old_ino = in.u64();
    batch.steps.push_back(std::move(step));
  }
  return in.ok() && in.at_end();
}

[[noreturn]] void damaged(const std::string& file, size_t record, const char* expected) {
  throw Error(
      fmt::format("{}: record {}: expected {}; the file is intact but not understood, so nothing was changed",
                  escaped(file), record + 1, expected));
}

std::string run_file(const std::string& state_dir, const std::string& run_id) {
  return state_dir + "/runs/" + run_id;
}

}  // namespace

Journal::Journal(const std::string& file, const JournalRun& run) : file_(file) {
  if (read_journal(file))
    throw Error(file + " tells of an interrupted run; vunify recover must finish it first");
  log_ = value_or_throw(RecordLogWriter::open(file));
  log_->append(kRun, run_bytes(run));
  ok_or_throw(log_->sync());
}

Result Journal::intend(const JournalBatch& batch) {
  log_->append(kIntent, batch_bytes(batch));
  return log_->sync();
}

Result Journal::done(uint32_t batch) {
  std::string body;
  put_u32(body, batch);
  log_->append(kDone, body);
  return log_->flush();
}

void Journal::finish() {
  log_.reset();
  if (::truncate(file_.c_str(), 0) != 0) throw Error(problem_from_errno("empty", file_).message);
}

UnfinishedRun parse_journal(const RecordLog& log, const std::string& file) {
  UnfinishedRun unfinished;
  for (size_t i = 0; i < log.records.size(); ++i) {
    const LogRecord& record = log.records[i];
    JournalBatch batch;
    if (i == 0) {
      if (record.type != kRun || !take_run(record.body, unfinished.run))
        damaged(file, i, "a run record, version 1");
    } else if (record.type == kIntent) {
      if (!take_batch(record.body, batch)) damaged(file, i, "an intent");
      unfinished.batches.push_back(std::move(batch));
    } else if (record.type == kDone) {
      FieldReader in(record.body);
      const uint32_t number = in.u32();
      std::erase_if(unfinished.batches, [&](const JournalBatch& one) { return one.number == number; });
    } else {
      damaged(file, i, "an intent or done record");
    }
  }
  return unfinished;
}

std::optional<UnfinishedRun> read_journal(const std::string& file) {
  const auto log = value_or_throw(read_record_log(file));
  if (log.records.empty()) return std::nullopt;
  return parse_journal(log, file);
}

RunHistory::RunHistory(const std::string& state_dir, const JournalRun& run) {
  value_or_throw(open_private_dir(state_dir + "/runs", true));
  const bool fresh = value_or_throw(read_record_log(run_file(state_dir, run.run))).records.empty();
  log_ = value_or_throw(RecordLogWriter::open(run_file(state_dir, run.run)));
  if (!fresh) return;  // recovery goes on with what the interrupted run began
  log_->append(kRun, run_bytes(run));
  ok_or_throw(log_->flush());
}

void RunHistory::add(const std::vector<HistoryStep>& steps) {
  if (steps.empty()) return;
  std::string body;
  put_u32(body, static_cast<uint32_t>(steps.size()));
  for (const auto& step : steps) {
    for (const auto* text : {&step.guest, &step.path, &step.master}) put_string(body, *text);
    put_u32(body, step.duplicate);
  }
  log_->append(kSteps, body);
  ok_or_throw(log_->sync());
}

std::optional<RecordedRun> find_run(const std::string& state_dir, const std::string& run_id) {
  const std::string file = run_file(state_dir, run_id);
  if (run_id.find('/') != std::string::npos)
    throw Error("'" + escaped(run_id) + "' is no run id", Exit::usage);
  const auto log = value_or_throw(read_record_log(file));
  if (log.records.empty()) return std::nullopt;
  RecordedRun recorded;
  for (size_t i = 0; i < log.records.size(); ++i) {
    if (i == 0) {
      if (log.records[0].type != kRun || !take_run(log.records[0].body, recorded.run))
        damaged(file, 0, "a run record, version 1");
      continue;
    }
    FieldReader in(log.records[i].body);
    if (log.records[i].type != kSteps) damaged(file, i, "steps");
    for (uint32_t n = in.u32(); n > 0 && in.ok(); --n) {
      HistoryStep step;
      for (auto* text : {&step.guest, &step.path, &step.master}) *text = in.string();
      step.duplicate = in.u32();
      recorded.steps.push_back(std::move(step));
    }
    if (!in.ok()) damaged(file, i, "whole steps");
  }
  return recorded;
}

RecordedRun read_run(const std::string& state_dir, const std::string& run_id) {
  auto recorded = find_run(state_dir, run_id);
  if (!recorded)
    throw Error(
        "no run " + escaped(run_id) + " is recorded in " + state_dir + "/runs; vunify status lists them",
        Exit::usage);
  return std::move(*recorded);
}

std::vector<std::string> list_runs(const std::string& state_dir) {
  std::vector<std::string> runs;
  const std::string dir = state_dir + "/runs";
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir, error), end; !error && it != end; it.increment(error))
    runs.push_back(it->path().filename().string());
  // None was made yet is no error; one that cannot be read must not look like a history without runs.
  if (error && error != std::errc::no_such_file_or_directory)
    throw Error(problem_from(error.value(), "list the recorded runs in", dir).message);
  std::sort(runs.begin(), runs.end());
  return runs;
}

std::map<std::pair<std::string, std::string>, uint64_t> known_link_groups(const std::string& state_dir) {
  std::map<std::pair<std::string, std::string>, uint64_t> groups;
  uint64_t run_number = 0;
  for (const auto& run : list_runs(state_dir)) {
    ++run_number;
    const auto recorded = find_run(state_dir, run);
    if (!recorded) continue;
    std::map<uint32_t, size_t> names;
    for (const auto& step : recorded->steps) ++names[step.duplicate];
    for (const auto& step : recorded->steps) {
      if (names[step.duplicate] > 1)
        groups[{step.guest, step.path}] = run_number << 32 | step.duplicate;
      else
        groups.erase({step.guest, step.path});
    }
  }
  return groups;
}

namespace {

// Which runs the link groups of today come from, as known_link_groups() reads them: the newest run that tells
// of a name counts.
class LinkGroupSources {
 public:
  explicit LinkGroupSources(size_t runs) : names_(runs), overrides_(runs) {}

  void read(size_t run, const RecordedRun& recorded) {
    std::map<uint32_t, size_t> names;
    for (const auto& step : recorded.steps) ++names[step.duplicate];
    for (const auto& step : recorded.steps) {
      const std::pair name(step.guest, step.path);
      if (const auto it = source_.find(name); it != source_.end()) {
        if (it->second == run) continue;
        --names_[it->second];
        overrides_[run].insert(it->second);
        source_.erase(it);
      }
      if (names[step.duplicate] < 2) continue;
      source_[name] = run;
      ++names_[run];
    }
  }

  // A run without groups of its own is needed, too, where it says that names left a group that is kept.
  std::vector<bool> needed(size_t prunable) const {
    std::vector<bool> needed(names_.size(), true);
    for (size_t run = 0; run < prunable; ++run)
      needed[run] = names_[run] != 0 || std::any_of(overrides_[run].begin(), overrides_[run].end(),
                                                    [&](size_t older) { return needed[older]; });
    return needed;
  }

 private:
  std::map<std::pair<std::string, std::string>, size_t> source_;
  std::vector<size_t> names_;  // whose source the run is
  std::vector<std::set<size_t>> overrides_;
};

}  // namespace

size_t prune_runs(const std::string& state_dir, size_t keep) {
  const auto runs = list_runs(state_dir);
  if (runs.size() <= keep) return 0;
  LinkGroupSources sources(runs.size());
  for (size_t i = 0; i < runs.size(); ++i)
    if (const auto recorded = find_run(state_dir, runs[i])) sources.read(i, *recorded);
  const size_t prunable = runs.size() - keep;
  const auto needed = sources.needed(prunable);
  size_t removed = 0;
  for (size_t i = 0; i < prunable; ++i) {
    if (needed[i]) continue;
    const std::string file = run_file(state_dir, runs[i]);
    if (::unlink(file.c_str()) != 0)
      throw Error(problem_from_errno("remove the record of an old run", file).message);
    ++removed;
  }
  return removed;
}

std::string new_run_id() {
  const time_t now = ::time(nullptr);
  tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts);
  // run --each-pool may begin several runs in one second.
  static std::atomic<unsigned> calls{0};
  const unsigned call = calls++;
  return call == 0 ? fmt::format("{}-{}", text, ::getpid()) : fmt::format("{}-{}.{}", text, ::getpid(), call);
}

}  // namespace vs::unify
