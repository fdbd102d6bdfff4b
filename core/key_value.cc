#include "core/key_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "core/durable/durable_file.h"
#include "core/error.h"
#include "core/escape.h"

namespace vs {
namespace {

constexpr const char* kBlanks = " \t\r";

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

bool is_shell_name(const std::string& key) {
  return !key.empty() &&
         key.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") ==
             std::string::npos;
}

bool is_quoted(const std::string& text) {
  return !text.empty() && (text[0] == '"' || text[0] == '\'');
}

// The text up to `end`. What stands from `rest` on must be a comment.
std::string value_before(const std::string& text, size_t begin, size_t end, size_t rest,
                         const KeyValue& line) {
  const std::string behind = trimmed(text.substr(rest));
  if (!behind.empty() && behind[0] != '#')
    bad_config(line, "nothing after the value (a value with blanks stands in quotes)");
  return text.substr(begin, end - begin);
}

std::string within_quotes(const std::string& text, const KeyValue& line) {
  const size_t end = text.find(text[0], 1);
  if (end == std::string::npos) bad_config(line, std::string("a closing ") + text[0]);
  return value_before(text, 1, end, end + 1, line);
}

std::string shell_value(const std::string& text, const KeyValue& line) {
  const size_t end = std::min(text.find_first_of(" \t#"), text.size());
  const std::string value =
      is_quoted(text) ? within_quotes(text, line) : value_before(text, 0, end, end, line);
  if (!text.starts_with('\'') && value.find_first_of("$`\\") != std::string::npos)
    bad_config(line, "a plain value (this file is not executed: no $, ` or \\)");
  return value;
}

void read_shell_line(std::string content, KeyValue& line) {
  if (content.starts_with("export ")) content = trimmed(content.substr(7));
  const size_t equal = content.find('=');
  if (equal == std::string::npos || !is_shell_name(content.substr(0, equal)))
    bad_config(line, "KEY=\"value\"");
  line.key = content.substr(0, equal);
  line.value = shell_value(content.substr(equal + 1), line);
}

void read_plain_line(const std::string& content, KeyValue& line) {
  const size_t equal = content.find('=');
  if (equal == std::string::npos) bad_config(line, "option = value");
  line.key = trimmed(content.substr(0, equal));
  const std::string value = trimmed(content.substr(equal + 1));
  line.value = is_quoted(value) ? within_quotes(value, line) : value;
}

}  // namespace

std::vector<KeyValue> parse_key_values(const std::string& file, const std::string& text,
                                       KeyValueGrammar grammar) {
  std::vector<KeyValue> lines;
  std::istringstream stream(text);
  size_t number = 0;
  for (std::string raw; std::getline(stream, raw);) {
    KeyValue line{"", raw, fmt::format("{}:{}", file, ++number)};
    const std::string content = trimmed(raw);
    if (content.empty() || content[0] == '#') continue;
    if (grammar == KeyValueGrammar::shell)
      read_shell_line(content, line);
    else
      read_plain_line(content, line);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<KeyValue> read_key_values(const std::string& file, KeyValueGrammar grammar) {
  return parse_key_values(file, value_or_throw(read_whole(file, 1 << 20), Exit::usage), grammar);
}

[[noreturn]] void bad_config(const KeyValue& line, const std::string& expected) {
  throw Error(fmt::format("{}: {}: expected {}, found '{}'", line.where, line.key.empty() ? "line" : line.key,
                          expected, escaped(line.value)),
              Exit::usage);
}

}  // namespace vs
