// What a run is about to do, on disk before it does it; read back by recovery. Format: journal.md.
//
// One journal a state directory, <state>/journal. It holds the batches of one run of one store, is emptied
// when the run ended well, and whatever is in it otherwise is for recover_store() (recovery.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/durable/record_log.h"

namespace vs::unify {

enum class StepKind : uint32_t {
  link = 1,     // the guest's name gets the master; its own inode comes into staging
  release = 2,  // the guest's name gets a private copy; the master's name comes into staging
};

// One name about to be exchanged with a staging entry.
struct JournalStep {
  std::string staged;    // name in staging/
  std::string guest;     // name of the guest
  std::string path;      // in it
  uint64_t new_ino = 0;  // what the guest's name gets
  uint64_t old_ino = 0;  // what it had
};

struct JournalBatch {
  uint32_t number = 0;
  StepKind kind = StepKind::link;
  std::vector<std::string> masters;  // store names that are unsealed at some time in this batch
  std::vector<JournalStep> steps;
};

struct JournalRun {
  std::string run;  // run id
  std::string verb;
  std::string store;  // path, for messages
  std::string store_id;
  struct Tree {
    std::string name, path;
  };
  std::vector<Tree> trees;
};

class Journal {
 public:
  // Throws Error if there is an unfinished journal: recovery comes first.
  Journal(const std::string& file, const JournalRun& run);
  Result intend(const JournalBatch& batch);  // on disk when it returns
  Result done(uint32_t batch);               // not awaited: a batch done twice is recovered to the same state
  void finish();                             // empties the journal

 private:
  std::string file_;
  std::optional<RecordLogWriter> log_;
};

struct UnfinishedRun {
  JournalRun run;
  std::vector<JournalBatch> batches;  // intended and not done
};
// Nothing for a missing or empty journal. Throws Error for an unreadable one.
std::optional<UnfinishedRun> read_journal(const std::string& file);
UnfinishedRun parse_journal(const RecordLog& log, const std::string& file);

// What a run did, kept for `undo` and reports: <state>/runs/<run id>, a record log.
struct HistoryStep {
  std::string guest, path, master;
  uint32_t duplicate = 0;  // names with one number in one run were hard links of one inode of the guest
};
class RunHistory {
 public:
  RunHistory(const std::string& state_dir, const JournalRun& run);
  void add(const std::vector<HistoryStep>& steps);  // durable with the next batch's intent at the latest

 private:
  std::optional<RecordLogWriter> log_;
};
struct RecordedRun {
  JournalRun run;
  std::vector<HistoryStep> steps;
};
// Names that were hard links of one another before they were unified, by (guest, path), as the newest run
// that tells of them says: releasing gives them one copy again, and only them.
std::map<std::pair<std::string, std::string>, uint64_t> known_link_groups(const std::string& state_dir);
// Nothing for one that is not there or has no whole record: a power cut leaves that of a run that had linked
// nothing yet. Both throw Error naming the file when it cannot be read or understood; read_run() also when
// there is no such run.
std::optional<RecordedRun> find_run(const std::string& state_dir, const std::string& run_id);
RecordedRun read_run(const std::string& state_dir, const std::string& run_id);
std::vector<std::string> list_runs(
    const std::string& state_dir);  // oldest first; throws Error when the directory cannot be read
// Removes the records of the oldest runs beyond the newest `keep`, but of none that known_link_groups()
// needs. Returns how many. What is removed can not be undone any more (its files can be released).
size_t prune_runs(const std::string& state_dir, size_t keep);
std::string new_run_id();  // "20261124T054033Z-1234", the second of a process "...-1234.1": sorts by time,
                           // unique on this host

}  // namespace vs::unify
