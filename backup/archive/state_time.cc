#include "backup/archive/state_time.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool ends(std::string_view text) {
  return text.empty() || text.front() == ':';
}

bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

// Of `fewest` to `most` digits, and in this range.
std::optional<int> take_number(std::string_view& text, size_t fewest, size_t most, int low, int high) {
  size_t digits = 0;
  int value = 0;
  while (digits < text.size() && is_digit(text[digits]) && digits <= most)
    value = value * 10 + (text[digits++] - '0');
  if (digits < fewest || digits > most || value < low || value > high) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

int days_in(int year, int month) {
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (month == 2) return leap ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

struct Date {
  int year = 0, month = 0, day = 0;
};

std::optional<Date> take_date(std::string_view& text) {
  const auto year = take_number(text, 4, 4, 1, 9999);
  if (!year || !take(text, "-")) return std::nullopt;
  const auto month = take_number(text, 1, 2, 1, 12);
  if (!month || !take(text, "-")) return std::nullopt;
  const auto day = take_number(text, 1, 2, 1, days_in(*year, *month));
  if (!day) return std::nullopt;
  return Date{*year, *month, *day};
}

// ":05" of a time of day; the colon before a path is none. False: it makes no sense.
bool take_sixtieth(std::string_view& text, std::optional<int>& value) {
  if (text.size() < 2 || text[0] != ':' || !is_digit(text[1])) return true;
  text.remove_prefix(1);
  return (value = take_number(text, 1, 2, 0, 59)).has_value();
}

std::string stamp(const Date& date, int hour, int minute, int second) {
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", date.year, date.month, date.day, hour, minute,
                     second);
}

// What is left out is all of it.
std::optional<StateTime> take_written_out(std::string_view& text) {
  const auto date = take_date(text);
  if (!date) return std::nullopt;
  std::optional<int> hour, minute, second;
  if (take(text, "T") || take(text, " ")) {
    if (!(hour = take_number(text, 1, 2, 0, 23))) return std::nullopt;
    if (!take_sixtieth(text, minute) || (minute && !take_sixtieth(text, second))) return std::nullopt;
    take(text, "Z");
  }
  return StateTime{
      StateTime::Stamps{stamp(*date, hour.value_or(0), minute.value_or(0), second.value_or(0)),
                        stamp(*date, hour.value_or(23), minute.value_or(59), second.value_or(59))},
      ""};
}

std::optional<StateTime> take_stamp(std::string_view& text) {
  const std::string given(text.substr(0, std::string_view("20261124T030000Z").size()));
  const auto part = [&](size_t at, size_t size) { return given.substr(std::min(at, given.size()), size); };
  const std::string apart = fmt::format("{}-{}-{}T{}:{}:{}Z", part(0, 4), part(4, 2), part(6, 2), part(9, 2),
                                        part(11, 2), part(13, 2));
  std::string_view rest = apart;
  auto time = take_written_out(rest);
  if (!time || time->within->first != given || time->within->last != given) return std::nullopt;
  text.remove_prefix(given.size());
  return time;
}

}  // namespace

StateTime take_state_time(std::string_view& text) {
  for (const auto& read : {take_stamp, take_written_out}) {
    std::string_view rest = text;
    auto time = read(rest);
    if (!time || !ends(rest)) continue;
    time->text = text.substr(0, text.size() - rest.size());
    text = rest;
    return *time;
  }
  if (std::string_view rest = text; take(rest, "latest") && ends(rest)) {
    text = rest;
    return {std::nullopt, "latest"};
  }
  throw Error(
      "'" + escaped(std::string(text)) +
          "': expected a time (UTC) such as 2026-11-24, 2026-11-24T03:00, 20261124T030000Z, or latest",
      Exit::usage);
}

}  // namespace vs::backup
