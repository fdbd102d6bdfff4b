// The report for node_exporter's textfile collector. One pool a file: the format allows one HELP per metric.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/prometheus.h"
#include "unify/report/savings.h"

namespace vs::unify {
namespace {

// Every package is a time series that the monitoring keeps for months, and a guest can invent package names.
constexpr size_t kMostPackages = 50;

void pool_metrics(Exposition& out, const Savings& savings) {
  out.metric("info", "Which guard and scope are in force; always 1.");
  out.sample(prometheus_label("guard", savings.guard) + prometheus_label("scope", savings.scope), 1);
  out.single("report_timestamp_seconds", "When these numbers were collected.", savings.time);
  out.single("guests", "Guests looked at.", guest_count(savings));
  out.single("masters", "Shared inodes in the store.", savings.masters);
  out.single("master_bytes", "Disk taken by the shared inodes, once.", savings.master_bytes);
  out.single("master_names", "Names in guests of the shared inodes.", savings.names_of_masters);
  out.single("disk_used_bytes", "Disk taken by all guests together.", savings.disk_used);
  out.single("saved_bytes", "Disk the guests would take in addition if nothing were shared.", savings.saved);
  out.single("memory_saved_bytes", "Page cache saved if all shared files are in use: an upper bound.",
             savings.memory_saved);
}

struct GuestMetric {
  const char* name;
  const char* help;
  uint64_t GuestSavings::*value;
};

void guest_metrics(Exposition& out, const Savings& savings) {
  static constexpr std::array<GuestMetric, 7> kMetrics = {{
      {"guest_files", "Regular files (names) of the guest.", &GuestSavings::files},
      {"guest_files_unified", "Names of the guest that are names of shared inodes.",
       &GuestSavings::files_unified},
      {"guest_apparent_bytes", "Sizes of all files of the guest.", &GuestSavings::apparent},
      {"guest_on_disk_bytes", "Disk taken by the inodes of the guest, shared or not.",
       &GuestSavings::on_disk},
      {"guest_exclusive_bytes", "Disk that deleting the guest frees; what it cost to add it last.",
       &GuestSavings::exclusive},
      {"guest_shared_bytes", "Disk of inodes that other guests hold as well.", &GuestSavings::shared},
      {"guest_fair_share_bytes", "Disk of the guest, shared inodes divided by their number of guests.",
       &GuestSavings::fair_share},
  }};
  for (const GuestMetric& metric : kMetrics) {
    if (savings.guests.empty()) return;
    out.metric(metric.name, metric.help);
    for (const GuestSavings& guest : savings.guests)
      out.sample(prometheus_label("guest", guest.name), guest.*metric.value);
  }
}

void package_metrics(Exposition& out, const Savings& savings) {
  const size_t shown = std::min(savings.packages.size(), kMostPackages);
  if (shown == 0) return;
  out.metric("package_saved_bytes", fmt::format("Disk saved by package, the {} largest.", kMostPackages));
  for (size_t i = 0; i < shown; ++i)
    out.sample(prometheus_label("package", savings.packages[i].name), savings.packages[i].bytes_saved);
}

// For alerts: "no run since ...", "the last run had problems".
void run_metrics(Exposition& out, const Savings& savings) {
  if (savings.nights.empty()) return;
  const HistoryEntry& last = savings.nights.back();
  out.single("last_run_timestamp_seconds", "When the last run that changed something began.", last.time);
  out.single("last_run_duration_seconds", "How long the last run took.", last.seconds);
  out.single("last_run_files_linked", "Files linked by the last run.", last.files_linked);
  out.single("last_run_saved_bytes", "Disk saved by the last run.", last.bytes_saved);
  out.single("last_run_problems", "Objects the last run could not handle.", last.problems);
}

}  // namespace

std::string savings_prometheus(const Savings& savings) {
  Exposition out("vunify_", prometheus_label("pool", savings.pool));
  pool_metrics(out, savings);
  guest_metrics(out, savings);
  package_metrics(out, savings);
  run_metrics(out, savings);
  return out.take();
}

}  // namespace vs::unify
