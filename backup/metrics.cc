#include "backup/metrics.h"

#include <array>
#include <cstdio>
#include <ctime>

#include "backup/archive/archive_set.h"
#include "core/prometheus.h"

namespace vs::backup {
namespace {

int64_t seconds_of(const std::string& stamp) {
  std::tm date{};
  if (std::sscanf(stamp.c_str(), "%4d%2d%2dT%2d%2d%2dZ", &date.tm_year, &date.tm_mon, &date.tm_mday,
                  &date.tm_hour, &date.tm_min, &date.tm_sec) != 6)
    return 0;
  date.tm_year -= 1900;
  date.tm_mon -= 1;
  return ::timegm(&date);
}

GuestMetrics guest_metrics(const ArchiveSet& set, const std::string& guest) {
  GuestMetrics metrics;
  metrics.guest = guest;
  for (const auto& archive : set.history(guest)) {
    ++metrics.backups;
    metrics.bytes += archive.size;
    if (set.chain_to(archive)) metrics.last_backup = seconds_of(archive.header.stamp);
  }
  return metrics;
}

void add_run(Exposition& out, const RunMetrics& run) {
  out.single("last_run_timestamp_seconds", "When the last run of create ended, whatever became of it.",
             run.ended);
  out.single("last_run_exit_status",
             "Its exit status: 0 all was done, 3 something is missing, else it failed.", run.exit_status);
  out.single("last_run_duration_seconds", "How long it took.", run.seconds);
  out.single("last_run_guests", "Guests that it archived.", run.guests);
  out.single("last_run_read_bytes", "What it read of files.", run.bytes_read);
  out.single("last_run_stored_bytes", "What it wrote to all targets, before compression.", run.bytes_stored);
  out.single("last_run_failed_objects", "Files and guests that it could not read.", run.failed_objects);
  out.single("last_run_failed_targets", "Targets that it could not write to.", run.failed_targets);
  out.single("last_run_alarms", "Files whose bytes changed while nothing else did.", run.alarms);
}

void add_sets(Exposition& out, const std::vector<SetMetrics>& sets) {
  if (sets.empty()) return;
  const auto target = [](const SetMetrics& set) { return prometheus_label("target", set.target); };
  out.metric("target_readable", "Whether the archive set was there when these numbers were collected.");
  for (const auto& set : sets) out.sample(target(set), set.readable ? 1 : 0);
  out.metric("target_stored_bytes", "Disk taken by all archives of the set.");
  for (const auto& set : sets)
    if (set.readable) out.sample(target(set), set.bytes);
}

struct GuestMetric {
  const char* name;
  const char* help;
  uint64_t (*value)(const GuestMetrics& guest);
};

void add_guests(Exposition& out, const std::vector<SetMetrics>& sets) {
  static constexpr std::array<GuestMetric, 3> kMetrics = {{
      {"guest_last_backup_timestamp_seconds",
       "When the newest backup of the guest began that can be restored; 0: there is none.",
       [](const GuestMetrics& guest) { return static_cast<uint64_t>(guest.last_backup); }},
      {"guest_archives", "Archives of the guest, full and incremental.",
       [](const GuestMetrics& guest) { return guest.backups; }},
      {"guest_stored_bytes", "Disk taken by these archives, without what is shared.",
       [](const GuestMetrics& guest) { return guest.bytes; }},
  }};
  bool any = false;
  for (const auto& set : sets) any = any || !set.guests.empty();
  if (!any) return;
  for (const auto& metric : kMetrics) {
    out.metric(metric.name, metric.help);
    for (const auto& set : sets)
      for (const auto& guest : set.guests)
        out.sample(prometheus_label("target", set.target) + prometheus_label("guest", guest.guest),
                   metric.value(guest));
  }
}

}  // namespace

SetMetrics set_metrics(const std::string& target, const std::string& dir) {
  SetMetrics metrics;
  metrics.target = target;
  try {
    const ArchiveSet set(dir);
    for (const auto& archive : set.archives()) metrics.bytes += archive.size;
    for (const auto& guest : set.guests()) metrics.guests.push_back(guest_metrics(set, guest));
    metrics.readable = true;
  } catch (const Error&) {
    metrics.guests.clear();
  }
  return metrics;
}

std::string run_prometheus(const RunMetrics& run) {
  Exposition out("vbackup_");
  add_run(out, run);
  add_sets(out, run.sets);
  add_guests(out, run.sets);
  return out.take();
}

}  // namespace vs::backup
