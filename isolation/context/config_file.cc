#include "isolation/context/config_file.h"

#include <fmt/format.h>

#include <sstream>

namespace vs::isolation {

std::vector<ConfigLine> parse_config(const std::string& file, const std::string& text) {
  return parse_key_values(file, text, KeyValueGrammar::shell);
}

std::vector<ConfigLine> read_config(const std::string& file) {
  return read_key_values(file, KeyValueGrammar::shell);
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
