#include "unify/cli/command.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/peak_memory.h"
#include "core/size_text.h"

namespace vs::unify {

Command::Command(const Options& options) : CommandFrame("vunify", options), options_(options) {
  if (options.max_runtime != 0) cancel().limit_runtime(std::chrono::seconds(options.max_runtime));
}

Exit Command::finish(const RunSummary& summary) {
  log().finish();
  uint64_t troubles = 0;
  for (size_t i = 0; i < kReasons; ++i) {
    const auto reason = static_cast<Reason>(i);
    if (!is_trouble(reason) || summary.skipped[i] == 0) continue;
    troubles += summary.skipped[i];
    log().tell_number(reason_name(reason), summary.skipped[i], reason_explanation(reason));
  }
  if (options_.json)
    fmt::print("{}\n", summary_json(summary, timer()));
  else if (!options_.quiet)
    fmt::print("{}", summary_text(summary, timer()));
  print_timings();
  if (options_.stats)
    fmt::print(stderr,
               "rows {}, table {} bytes ({} a file), peak memory {} bytes\nput back {}, classes restored {}, "
               "leases on masters broken {}, longest unsealed {} us\n",
               summary.rows, summary.table_bytes, summary.rows == 0 ? 0 : summary.table_bytes / summary.rows,
               peak_rss_bytes(), summary.put_back, summary.classes_restored, summary.leases_broken,
               summary.longest_window_us);
  const Exit code = exit_code();
  return code == Exit::done && troubles != 0 ? Exit::skipped : code;
}

std::string summary_json(const RunSummary& summary, const PhaseTimer& timer) {
  nlohmann::ordered_json json = {{"type", "summary"},
                                 {"verb", summary.verb},
                                 {"guests", summary.guests},
                                 {"files_seen", summary.files_seen},
                                 {"files_considered", summary.files_considered},
                                 {"files_unified_before", summary.files_unified_before},
                                 {"files_linked", summary.files_linked},
                                 {"masters", summary.masters},
                                 {"bytes_saved", summary.bytes_saved},
                                 {"bytes_held", summary.bytes_held},
                                 {"bytes_shared", summary.bytes_shared}};
  nlohmann::ordered_json skipped = nlohmann::ordered_json::object();
  for (size_t i = 0; i < kReasons; ++i)
    if (summary.skipped[i] != 0)
      skipped[std::string(reason_name(static_cast<Reason>(i)))] = summary.skipped[i];
  json["skipped"] = skipped;
  add_costs(json, timer);
  json["run"] = summary.run.value_or("");
  return json.dump();
}

std::string summary_text(const RunSummary& summary, const PhaseTimer& timer) {
  std::string text;
  if (summary.verb != "release" && summary.verb != "undo")
    text = fmt::format("{} vservers, {} files seen, {} considered, {} unified before\n", summary.guests,
                       summary.files_seen, summary.files_considered, summary.files_unified_before);
  // A dry run has no number, and has linked nothing.
  if (!summary.run && (summary.verb == "run" || summary.verb == "apply")) {
    if (summary.masters != 0)
      text += fmt::format("{} masters hold {} for all\n", summary.masters, size_text(summary.bytes_shared));
  } else if (summary.verb == "run" || summary.verb == "apply") {
    text += fmt::format("{} files linked now, {} saved by this run, {} masters hold {} for all\n",
                        summary.files_linked, size_text(summary.bytes_saved), summary.masters,
                        size_text(summary.bytes_shared));
    if (summary.bytes_held != 0)
      text += fmt::format("{} more when the programs end that still run or read the old files\n",
                          size_text(summary.bytes_held));
  }
  std::string rules, troubles;
  for (size_t i = 0; i < kReasons; ++i) {
    const auto reason = static_cast<Reason>(i);
    if (summary.skipped[i] == 0) continue;
    auto& list = is_trouble(reason) ? troubles : rules;
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", reason_name(reason), summary.skipped[i]);
  }
  if (!rules.empty()) text += "left alone by rule: " + rules + "\n";
  const bool giving_back = summary.verb == "release" || summary.verb == "undo";
  if (!troubles.empty())
    text += (giving_back ? "not given back this time: " : "not shared this time: ") + troubles + "\n";
  return text + fmt::format("{:.2f} s{}\n", timer.total(), summary.run ? ", run " + *summary.run : "");
}

}  // namespace vs::unify
