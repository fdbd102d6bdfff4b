#include "backup/cli/create_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/size_text.h"

namespace vs::backup {

using Json = nlohmann::ordered_json;

namespace {

Json json_of(const CreateReport::Stored& target) {
  return {{"to", target.to},
          {"archives", target.counts.archives},
          {"objects_stored", target.counts.objects_stored},
          {"bytes_stored", target.counts.bytes_stored},
          {"bytes_packed", target.counts.bytes_packed}};
}

Json json_of(const FrozenResult& one) {
  return {{"guest", one.guest},
          {"running", one.running},
          {"frozen", one.frozen},
          {"why_not", one.why_not},
          {"seconds", one.seconds},
          {"stamp", one.result.stamp},
          {"files_read", one.result.counts.files_read},
          {"bytes_read", one.result.counts.bytes_read},
          {"failed", one.result.counts.failed}};
}

template <class Rows>
Json array_of(const Rows& rows) {
  Json array = Json::array();
  for (const auto& row : rows) array.push_back(json_of(row));
  return array;
}

Target::Counts sum_of(const std::vector<CreateReport::Stored>& targets) {
  Target::Counts sum;
  for (const auto& target : targets) {
    sum.bytes_packed += target.counts.bytes_packed;
    sum.bytes_stored += target.counts.bytes_stored;
  }
  return sum;
}

bool in_all_targets(const FrozenResult& one) {
  return !one.target_left_out && one.result.all_targets();
}

}  // namespace

std::vector<CreateReport::Stored> stored_in(const std::vector<std::unique_ptr<Target>>& targets) {
  std::vector<CreateReport::Stored> stored;
  for (const auto& target : targets) stored.push_back({target->describe(), target->counts()});
  return stored;
}

uint64_t CreateReport::failed_targets() const {
  return targets_left_out +
         static_cast<uint64_t>(std::count(result.failed_targets.begin(), result.failed_targets.end(), true));
}

bool CreateReport::all_targets() const {
  return targets_left_out == 0 && result.all_targets() &&
         std::all_of(frozen.begin(), frozen.end(), in_all_targets);
}

bool CreateReport::all_stood_still() const {
  return std::all_of(frozen.begin(), frozen.end(), [](const FrozenResult& one) {
    return (one.frozen || !one.running) && in_all_targets(one);
  });
}

Json CreateReport::json() const {
  const auto& c = result.counts;
  const Target::Counts stored = sum_of(targets);
  return {{"guests", result.guests},
          {"names", result.names},
          {"inodes", result.inodes},
          {"directories", result.directories},
          {"subvolumes_left_out", result.subvolumes_left_out},
          {"shared", result.shared},
          {"known", result.known},
          {"files_read", c.files_read},
          {"bytes_read", c.bytes_read},
          {"bytes_stored", stored.bytes_stored},
          {"bytes_packed", stored.bytes_packed},
          {"gone", c.gone},
          {"failed", c.failed},
          {"inconsistent", c.inconsistent},
          {"verified", c.verified},
          {"alarms", c.alarms},
          {"failed_targets", failed_targets()},
          {"consistency", consistency},
          {"frozen", array_of(frozen)},
          {"forgotten", forgotten},
          {"stamp", result.stamp},
          {"targets", array_of(targets)}};
}

std::string CreateReport::text() const {
  const auto& c = result.counts;
  const Target::Counts stored = sum_of(targets);
  std::string text = fmt::format(
      "{} vservers, {} names, {} inodes ({} shared), {} known from before\n{} files read ({}), {} stored, {} "
      "packed",
      result.guests, result.names, result.inodes, result.shared, result.known, c.files_read,
      size_text(c.bytes_read), size_text(stored.bytes_stored), size_text(stored.bytes_packed));
  if (c.gone + c.inconsistent != 0)
    text += fmt::format(
        "\n{} vanished before they were read, {} changed while they were (marked inconsistent); consistency: "
        "{}",
        c.gone, c.inconsistent, consistency);
  if (result.subvolumes_left_out != 0)
    text += fmt::format("\n{} subvolumes inside of trees left out", result.subvolumes_left_out);
  if (forgotten != 0) text += fmt::format("\n{} old archives removed", forgotten);
  for (const auto& one : frozen)
    if (one.frozen)
      text += fmt::format("\n{} stood still for {:.2f} s: {} files read again ({})", one.guest, one.seconds,
                          one.result.counts.files_read, size_text(one.result.counts.bytes_read));
  return text + "\n" + result.stamp;
}

}  // namespace vs::backup
