#include "backup/cli/metrics_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <chrono>
#include <ctime>

#include "backup/cli/options.h"
#include "core/durable/durable_file.h"

namespace vs::backup {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<SetMetrics> sets_of(const std::vector<std::string>& to) {
  std::vector<SetMetrics> sets;
  for (const auto& target : to) try {
      sets.push_back(set_metrics(target, set_path(target)));
    } catch (const Error&) {  // it names no set: the run has said so
    }
  return sets;
}

bool write_metrics(const std::string& file, const std::vector<std::string>& to, RunMetrics& run,
                   Clock::time_point began, Exit code) {
  run.exit_status = static_cast<int>(code);
  run.ended = std::time(nullptr);
  run.seconds = std::chrono::duration<double>(Clock::now() - began).count();
  run.sets = sets_of(to);
  // The unit has 0077; node_exporter runs as somebody else. No thread of ours is left here.
  const mode_t before = ::umask(022);
  const Result written = write_durably(file, run_prometheus(run), 0644);
  ::umask(before);
  if (!written) fmt::print(stderr, "vbackup: error: --prometheus: {}\n", written.error().message);
  return written.has_value();
}

}  // namespace

Exit with_metrics(const std::string& file, const std::vector<std::string>& to,
                  const std::function<Exit(RunMetrics&)>& create) {
  RunMetrics run;
  if (file.empty()) return create(run);
  const auto began = Clock::now();
  try {
    const Exit code = create(run);
    const bool written = write_metrics(file, to, run, began, code);
    return code == Exit::done && !written ? Exit::skipped : code;
  } catch (const Error& error) {
    write_metrics(file, to, run, began, error.code());
    throw;
  } catch (const std::exception&) {
    write_metrics(file, to, run, began, Exit::failed);
    throw;
  }
}

}  // namespace vs::backup
