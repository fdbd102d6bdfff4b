// The textfile for node_exporter that a run of create leaves (--prometheus).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "backup/metrics.h"
#include "core/error.h"

namespace vs::backup {

// Calls `create`, which notes its numbers, and writes the file whatever becomes of it: a night that failed is
// what the monitoring is there for. `to`: the targets as they were given. Exit::skipped instead of
// Exit::done, and a line on stderr, when the file could not be written.
Exit with_metrics(const std::string& file, const std::vector<std::string>& to,
                  const std::function<Exit(RunMetrics&)>& create);

}  // namespace vs::backup
