#include "backup/archive/retention.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

namespace vs::backup {

std::string period_of(const std::string& stamp, char unit) {
  if (stamp.size() < 16) return stamp;
  switch (unit) {
    case 'h':
      return stamp.substr(0, 11);
    case 'd':
      return stamp.substr(0, 8);
    case 'm':
      return stamp.substr(0, 6);
    case 'y':
      return stamp.substr(0, 4);
    default:
      break;
  }
  tm date{};
  date.tm_year = std::atoi(stamp.substr(0, 4).c_str()) - 1900;
  date.tm_mon = std::atoi(stamp.substr(4, 2).c_str()) - 1;
  date.tm_mday = std::atoi(stamp.substr(6, 2).c_str());
  date.tm_hour = 12;
  ::timegm(&date);  // fills the day of the week
  char text[16];
  ::strftime(text, sizeof text, "%G-W%V", &date);
  return text;
}

std::vector<Verdict> apply_retention(const std::vector<Archive>& history, const Retention& rules) {
  std::vector<Verdict> verdicts;
  for (const auto& archive : history) verdicts.push_back({archive, false, ""});
  // Only freeze_delta writes "frozen", and right after a live pass of its own.
  const auto counts = [&](size_t i) {
    if (i + 1 == history.size()) return true;
    const auto &header = history[i].header, &next = history[i + 1].header;
    return !(next.consistency == "frozen" && header.consistency == "live" && next.chain == header.chain &&
             next.number == header.number + 1);
  };
  const auto keep = [](Verdict& verdict, const std::string& why) {
    verdict.keep = true;
    verdict.why += (verdict.why.empty() ? "" : ", ") + why;
  };
  const auto periods = [&](uint64_t count, char unit, const char* name) {
    std::string last;
    for (size_t i = verdicts.size(); i-- > 0 && count > 0;) {
      const std::string period = period_of(verdicts[i].archive.header.stamp, unit);
      if (!counts(i) || period == last) continue;
      last = period;
      keep(verdicts[i], name);
      --count;
    }
  };
  uint64_t left = rules.last;
  for (size_t i = verdicts.size(); i-- > 0 && left > 0;) {
    if (!counts(i)) continue;
    keep(verdicts[i], "last");
    --left;
  }
  periods(rules.hourly, 'h', "hourly");
  periods(rules.daily, 'd', "daily");
  periods(rules.weekly, 'w', "weekly");
  periods(rules.monthly, 'm', "monthly");
  periods(rules.yearly, 'y', "yearly");
  if (!verdicts.empty() && !verdicts.back().keep) keep(verdicts.back(), "the newest");
  for (auto it = verdicts.rbegin(); it != verdicts.rend(); ++it) {
    if (!it->keep) continue;
    for (auto& other : verdicts)
      if (!other.keep && other.archive.header.chain == it->archive.header.chain &&
          other.archive.header.number < it->archive.header.number)
        keep(other, "needed by " + it->archive.header.stamp);
  }
  return verdicts;
}

}  // namespace vs::backup
