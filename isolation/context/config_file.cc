#include "isolation/context/config_file.h"

#include <fmt/format.h>

#include <sstream>

#include "core/durable/durable_file.h"
#include "core/error.h"
#include "core/escape.h"

namespace vs::isolation {
namespace {

constexpr const char* kBlanks = " \t\r";

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

bool is_name(const std::string& key) {
  return !key.empty() &&
         key.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") ==
             std::string::npos;
}

// The value after '=', unquoted. What stands behind it must be a comment.
std::string unquoted(const std::string& text, const ConfigLine& line) {
  std::string value, rest;
  if (!text.empty() && (text[0] == '"' || text[0] == '\'')) {
    const size_t end = text.find(text[0], 1);
    if (end == std::string::npos) bad_config(line, std::string("a closing ") + text[0]);
    value = text.substr(1, end - 1);
    rest = trimmed(text.substr(end + 1));
  } else {
    const size_t end = std::min(text.find_first_of(" \t#"), text.size());
    value = text.substr(0, end);
    rest = trimmed(text.substr(end));
  }
  if (!rest.empty() && rest[0] != '#')
    bad_config(line, "nothing after the value (a value with blanks stands in quotes)");
  if (!text.starts_with('\'') && value.find_first_of("$`\\") != std::string::npos)
    bad_config(line, "a plain value (this file is not executed: no $, ` or \\)");
  return value;
}

}  // namespace

[[noreturn]] void bad_config(const ConfigLine& line, const std::string& expected) {
  throw Error(fmt::format("{}: {}: expected {}, found '{}'", line.where, line.key.empty() ? "line" : line.key,
                          expected, escaped(line.value)),
              Exit::usage);
}

std::vector<ConfigLine> parse_config(const std::string& file, const std::string& text) {
  std::vector<ConfigLine> lines;
  std::istringstream stream(text);
  size_t number = 0;
  for (std::string raw; std::getline(stream, raw);) {
    ConfigLine line{"", raw, fmt::format("{}:{}", file, ++number)};
    std::string content = trimmed(raw);
    if (content.empty() || content[0] == '#') continue;
    if (content.starts_with("export ")) content = trimmed(content.substr(7));
    const size_t equal = content.find('=');
    if (equal == std::string::npos || !is_name(content.substr(0, equal))) bad_config(line, "KEY=\"value\"");
    line.key = content.substr(0, equal);
    line.value = unquoted(content.substr(equal + 1), line);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<ConfigLine> read_config(const std::string& file) {
  return parse_config(file, value_or_throw(read_whole(file, 1 << 20), Exit::usage));
}

std::vector<std::string> words_of(const std::string& value) {
  std::istringstream stream(value);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

bool yes_or_no(const ConfigLine& line) {
  if (line.value == "yes" || line.value == "1" || line.value == "true" || line.value == "on") return true;
  if (line.value == "no" || line.value == "0" || line.value == "false" || line.value == "off" ||
      line.value.empty())
    return false;
  bad_config(line, "yes or no");
}

long number_of(const ConfigLine& line, long least, long most) {
  const std::string expected = fmt::format("a number from {} to {}", least, most);
  try {
    size_t used = 0;
    const long number = std::stol(line.value, &used);
    if (used == line.value.size() && number >= least && number <= most) return number;
  } catch (const std::exception&) {
  }
  bad_config(line, expected);
}

}  // namespace vs::isolation
