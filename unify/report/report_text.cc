#include "unify/report/report_text.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <ctime>
#include <limits>
#include <system_error>

#include "core/escape.h"

namespace vs::unify {
namespace {

std::string time_text(int64_t time, const char* format) {
  const std::time_t seconds = time;
  std::tm parts{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return "?";  // a year that does not fit
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), format, &parts)};
}

// Length of the piece at the start of `name` that is escaped on its own: a first byte and up to three
// continuation bytes. A character never spans two pieces, so escaped(a + b) == escaped(a) + escaped(b).
size_t piece_length(std::string_view name) {
  const auto continuation = [](char c) { return (static_cast<uint8_t>(c) & 0xc0) == 0x80; };
  size_t length = 1;
  if (continuation(name[0])) return length;
  while (length < 4 && length < name.size() && continuation(name[length])) ++length;
  return length;
}

// Screen columns of escaped() text: valid UTF-8, so counting first bytes counts characters. From U+1100 on
// characters are taken for wide: too much for a few scripts, which only cuts a name a little early.
size_t columns_of(std::string_view text) {
  size_t columns = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if ((byte & 0xc0) != 0x80) columns += byte >= 0xe1 ? 2 : 1;
  }
  return columns;
}

// The factor a suffix stands for, 0 for none that we know.
uint64_t factor_of(std::string_view suffix) {
  if (suffix.empty() || suffix == "B") return 1;
  constexpr std::string_view kLetters = "KMGT";
  const size_t power = kLetters.find(suffix[0] == 'k' ? 'K' : suffix[0]);
  if (power == std::string_view::npos) return 0;
  const std::string_view rest = suffix.substr(1);
  if (!rest.empty() && rest != "B" && rest != "iB") return 0;
  uint64_t factor = 1;
  for (size_t i = 0; i <= power; ++i) factor *= rest == "B" ? 1000 : 1024;
  return factor;
}

}  // namespace

std::string count_text(uint64_t count) {
  const std::string digits = std::to_string(count);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string percent_text(uint64_t part, uint64_t whole) {
  const double share = whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  return fmt::format("{:.1f} %", 100 * share);
}

std::string utc_text(int64_t time) {
  return time_text(time, "%Y-%m-%d %H:%M UTC");
}
std::string utc_date(int64_t time) {
  return time_text(time, "%Y-%m-%d");
}
std::string utc_clock(int64_t time) {
  return time_text(time, "%H:%M");
}

uint64_t in_units(uint64_t bytes, uint64_t unit) {
  return bytes / unit + (bytes % unit != 0 ? 1 : 0);
}

bool parse_block_size(std::string_view text, uint64_t& unit) {
  uint64_t number = 1;
  if (!text.empty() && text[0] >= '0' && text[0] <= '9') {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
  } else if (text.empty()) {
    return false;
  }
  const uint64_t factor = factor_of(text);
  if (factor == 0 || number == 0 || number > std::numeric_limits<uint64_t>::max() / factor) return false;
  unit = number * factor;
  return true;
}

size_t shown_columns(std::string_view name) {
  return columns_of(escaped(name));
}

std::string_view cut_name(std::string_view name, size_t columns) {
  size_t end = 0;
  while (end < name.size()) {
    const size_t length = piece_length(name.substr(end));
    const size_t wide = shown_columns(name.substr(end, length));
    if (wide > columns) break;
    columns -= wide;
    end += length;
  }
  return name.substr(0, end);
}

}  // namespace vs::unify
