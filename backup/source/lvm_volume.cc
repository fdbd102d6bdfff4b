#include "backup/source/lvm_volume.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "core/escape.h"
#include "core/subprocess.h"

namespace vs::backup {
namespace {

constexpr size_t kUuidLetters = 32;
constexpr const char* kColumns =
    "vg_name,lv_name,lv_uuid,lv_size,vg_extent_size,vg_free,segtype,lv_kernel_minor,origin_uuid";

std::string with_dashes(std::string_view letters) {
  std::string out;
  size_t at = 0;
  for (const size_t group : {6u, 4u, 4u, 4u, 4u, 4u, 6u}) {
    out += (out.empty() ? "" : "-") + std::string(letters.substr(at, group));
    at += group;
  }
  return out;
}

std::string last_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  text.erase(0, text.rfind('\n') + 1);
  text.erase(0, std::min(text.find_first_not_of(' '), text.size()));
  return escaped(text);
}

// The volumes of the largest hosts are some megabytes of text.
constexpr size_t kMostOutput = 64 << 20;

// Its messages in English, for who reads them here.
std::vector<std::string> environment_of_lvm() {
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (!std::string_view(*variable).starts_with("LC_") && !std::string_view(*variable).starts_with("LANG"))
      environment.emplace_back(*variable);
  environment.emplace_back("LC_ALL=C");
  return environment;
}

}  // namespace

std::optional<LvmIds> lvm_ids(std::string_view mapper_uuid) {
  constexpr std::string_view kPrefix = "LVM-";
  if (!mapper_uuid.starts_with(kPrefix) || mapper_uuid.size() != kPrefix.size() + 2 * kUuidLetters)
    return std::nullopt;
  mapper_uuid.remove_prefix(kPrefix.size());
  const auto letter = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (!std::all_of(mapper_uuid.begin(), mapper_uuid.end(), letter)) return std::nullopt;
  return LvmIds{with_dashes(mapper_uuid.substr(0, kUuidLetters)),
                with_dashes(mapper_uuid.substr(kUuidLetters))};
}

std::optional<uint64_t> LvmVolume::reserve_extents(uint64_t percent) const {
  if (extent_bytes == 0) return std::nullopt;
  const auto extents = [&](uint64_t hundredths) {
    return std::max<uint64_t>(1, (bytes / extent_bytes * hundredths + 99) / 100);
  };
  const uint64_t free = group_free_bytes / extent_bytes;
  if (free < extents(1)) return std::nullopt;
  return std::min(extents(percent), free);
}

Expected<std::vector<LvmVolume>> parse_lvs(const std::string& text) {
  try {
    std::vector<LvmVolume> volumes;
    const auto json = nlohmann::json::parse(text);
    for (const auto& row : json.at("report").at(0).at("lv")) {
      const auto word = [&](const char* key) { return row.at(key).get<std::string>(); };
      const auto number = [&](const char* key) {
        return word(key).empty() ? int64_t{-1} : std::stoll(word(key));
      };
      LvmVolume volume{word("vg_name"),           word("lv_name"),           word("lv_uuid"),    0, 0, 0,
                       word("segtype") == "thin", number("lv_kernel_minor"), word("origin_uuid")};
      volume.bytes = static_cast<uint64_t>(std::max<int64_t>(0, number("lv_size")));
      volume.extent_bytes = static_cast<uint64_t>(std::max<int64_t>(0, number("vg_extent_size")));
      volume.group_free_bytes = static_cast<uint64_t>(std::max<int64_t>(0, number("vg_free")));
      // A volume of several segments has a row for each.
      if (volumes.empty() || volumes.back().uuid != volume.uuid) volumes.push_back(std::move(volume));
    }
    return volumes;
  } catch (const std::exception& error) {
    return Problem{EPROTO, std::string("what lvs printed makes no sense: ") + error.what()};
  }
}

Expected<std::vector<LvmVolume>> lvm_volumes(const std::string& selection) {
  const auto text = run_lvm(
      {"lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", kColumns, "-S", selection});
  if (!text) return text.error();
  return parse_lvs(*text);
}

Expected<std::string> run_lvm(const std::vector<std::string>& words) {
  // A group of its own: an interrupt from the terminal ends vbackup, which then puts LVM in order itself.
  Program program{.arguments = {"lvm"},
                  .environment = environment_of_lvm(),
                  .in = Stream::null(),
                  .out = Stream::capture(kMostOutput),
                  .err = Stream::capture(kMostOutput),
                  .own_group = true};
  program.arguments.insert(program.arguments.end(), words.begin(), words.end());
  auto result = run_to_end(program);
  if (!result && result.error().code == ENOENT) {
    program.arguments[0] = "/sbin/lvm";  // cron's PATH lacks it
    result = run_to_end(program);
  }
  if (!result) return problem_from(result.error().code, "run", "lvm (package lvm2)");
  if (!result->status.success())
    return Problem{
        EIO, fmt::format("lvm {} {}: {}", words.front(), result->status.words(), last_line(result->err))};
  if (result->cut) return problem_from(EFBIG, "read what was printed by", "lvm " + words.front());
  return std::move(result->out);
}

}  // namespace vs::backup
