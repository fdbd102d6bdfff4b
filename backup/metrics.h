// What a run of create tells the monitoring, in the form of node_exporter's textfile collector.
//
// The ages of backups are those of what is stored, looked up in the sets after the run, and not what the run
// believes to have written: so they are right after a run that failed, too. For a set that cannot be read
// there are none, and that is told.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vs::backup {

struct GuestMetrics {
  std::string guest;
  int64_t last_backup = 0;  // of the newest state that can be restored, seconds since 1970; 0: none can
  uint64_t backups = 0;     // archives
  uint64_t bytes = 0;       // of these archives
};

struct SetMetrics {
  std::string target;  // as it was given
  bool readable = false;
  uint64_t bytes = 0;  // of all archives
  std::vector<GuestMetrics> guests;
};

struct RunMetrics {
  int exit_status = 0;
  int64_t ended = 0;  // seconds since 1970
  double seconds = 0;
  uint64_t guests = 0, bytes_read = 0, bytes_stored = 0, failed_objects = 0, alarms = 0, failed_targets = 0;
  std::vector<SetMetrics> sets;
};

// Throws nothing: what is wrong with the set is in `readable` and in the ages.
SetMetrics set_metrics(const std::string& target, const std::string& dir);

std::string run_prometheus(const RunMetrics& run);

}  // namespace vs::backup
