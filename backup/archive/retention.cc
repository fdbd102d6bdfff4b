#include "backup/archive/retention.h"

#include <charconv>
#include <cstdlib>
#include <ctime>

#include "core/error.h"
#include "core/escape.h"

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

// The stamp that is `span` before this one.
std::string stamp_before(const std::string& stamp, const Span& span) {
  tm date{};
  if (::strptime(stamp.c_str(), "%Y%m%dT%H%M%SZ", &date) == nullptr) return stamp;
  date.tm_year -= span.years;
  date.tm_mon -= span.months;
  date.tm_mday -= span.days;
  date.tm_hour -= span.hours;
  const time_t time = ::timegm(&date);  // takes what is out of range
  ::gmtime_r(&time, &date);
  char text[32];
  ::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &date);
  return text;
}

void keep_within(std::vector<Verdict>& verdicts, const Span& span) {
  if (verdicts.empty()) return;
  const std::string first = stamp_before(verdicts.back().archive.header.stamp, span);
  for (auto& verdict : verdicts)
    if (verdict.archive.header.stamp >= first) keep(verdict, "within");
}

void keep_protected(std::vector<Verdict>& verdicts) {
  for (auto& verdict : verdicts)
    if (verdict.archive.is_protected) keep(verdict, "protected");
}

}  // namespace

Span parse_span(const std::string& text) {
  Span span;
  size_t at = 0;
  while (at < text.size()) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), value);
    const auto used = static_cast<size_t>(end - text.data());
    if (error != std::errc{} || value < 0 || value > 100'000 || used == text.size()) break;
    switch (text[used]) {
      case 'y':
        span.years += value;
        break;
      case 'm':
        span.months += value;
        break;
      case 'w':
        span.days += 7 * value;
        break;
      case 'd':
        span.days += value;
        break;
      case 'h':
        span.hours += value;
        break;
      default:
        at = std::string::npos;
    }
    if (at == std::string::npos) break;
    at = used + 1;
  }
  if (text.empty() || at != text.size())
    throw Error("'" + escaped(text) + "': expected a time such as 90d, 36h or 1y6m (y, m, w, d, h)",
                Exit::usage);
  return span;
}

std::vector<Verdict> apply_retention(const std::vector<Archive>& history, const Retention& rules) {
  std::vector<Verdict> verdicts;
  for (const auto& archive : history) verdicts.push_back({archive, false, ""});
  keep_protected(verdicts);
  if (rules.within) keep_within(verdicts, *rules.within);
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
