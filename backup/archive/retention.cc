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

namespace {

// Only freeze_delta writes "frozen", and right after a live pass of its own.
bool is_completed_by_the_next(const std::vector<Verdict>& verdicts, size_t i) {
  if (i + 1 == verdicts.size()) return false;
  const auto &header = verdicts[i].archive.header, &next = verdicts[i + 1].archive.header;
  return next.consistency == "frozen" && header.consistency == "live" && next.chain == header.chain &&
         next.number == header.number + 1;
}

void keep(Verdict& verdict, const std::string& why) {
  verdict.keep = true;
  verdict.why += (verdict.why.empty() ? "" : ", ") + why;
}

void keep_last(std::vector<Verdict>& verdicts, uint64_t count) {
  for (size_t i = verdicts.size(); i-- > 0 && count > 0;) {
    if (is_completed_by_the_next(verdicts, i)) continue;
    keep(verdicts[i], "last");
    --count;
  }
}

// The newest of each of the last `count` periods that have one.
void keep_periods(std::vector<Verdict>& verdicts, uint64_t count, char unit, const char* name) {
  std::string last;
  for (size_t i = verdicts.size(); i-- > 0 && count > 0;) {
    const std::string period = period_of(verdicts[i].archive.header.stamp, unit);
    if (is_completed_by_the_next(verdicts, i) || period == last) continue;
    last = period;
    keep(verdicts[i], name);
    --count;
  }
}

// An incremental is worth nothing without those before it in its chain.
void keep_what_is_needed(std::vector<Verdict>& verdicts) {
  for (auto it = verdicts.rbegin(); it != verdicts.rend(); ++it) {
    if (!it->keep) continue;
    const CatalogHeader& kept = it->archive.header;
    for (auto& other : verdicts)
      if (!other.keep && other.archive.header.chain == kept.chain &&
          other.archive.header.number < kept.number)
        keep(other, "needed by " + kept.stamp);
  }
}

}  // namespace

std::vector<Verdict> apply_retention(const std::vector<Archive>& history, const Retention& rules) {
  std::vector<Verdict> verdicts;
  for (const auto& archive : history) verdicts.push_back({archive, false, ""});
  keep_last(verdicts, rules.last);
  keep_periods(verdicts, rules.hourly, 'h', "hourly");
  keep_periods(verdicts, rules.daily, 'd', "daily");
  keep_periods(verdicts, rules.weekly, 'w', "weekly");
  keep_periods(verdicts, rules.monthly, 'm', "monthly");
  keep_periods(verdicts, rules.yearly, 'y', "yearly");
  if (!verdicts.empty() && !verdicts.back().keep) keep(verdicts.back(), "the newest");
  keep_what_is_needed(verdicts);
  return verdicts;
}

}  // namespace vs::backup
