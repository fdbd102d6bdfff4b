// Guests of every kind of file, a set to back them up into, and vbackup to run over them.
#pragma once

#include <map>
#include <string>

#include "tests/backup/everything.h"
#include "tests/support/run.h"
#include "tests/support/temp_dir.h"

namespace vs::test {

class BackupHost {
 public:
  // Trees below `place` (a loop filesystem, say); "" for a directory of its own.
  explicit BackupHost(const std::string& place = "");

  std::string tree(const std::string& guest) const { return place_ + "/" + guest; }
  std::string set() const { return dir_ / "set"; }
  std::string scratch(const std::string& name) const { return dir_ / name; }
  std::map<std::string, std::string> trees() const;

  // One guest with everything, one that shares files with it.
  void make_guests();
  // Changes of every kind: another content, deletions, renames, types that change, links that are replaced.
  void change(int round);

  Command command(const std::string& verb, const Command& more = {}) const;
  RunResult create(const Command& more = {},
                   const RunOptions& options = {}) const;  // with --tree, --state, --to
  RunResult vbackup(const std::string& verb, const Command& more = {}, const RunOptions& options = {}) const;
  // Restores everything as of `time` ("" the last) into a fresh directory; the trees there.
  std::map<std::string, std::string> restored(const std::string& name, const std::string& time = "") const;
  std::string last_stamp() const;
  // So that what was written before is old enough to be believed the next time.
  static void let_clock_pass();

 private:
  TempDir dir_;
  std::string place_;
};

std::string vbackup_path();

}  // namespace vs::test
