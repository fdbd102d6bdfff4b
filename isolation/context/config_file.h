// Files of KEY="value" lines as the original wrote them, which its scripts sourced. Here they are parsed and
// never executed.
#pragma once

#include <string>
#include <vector>

namespace vs::isolation {

struct ConfigLine {
  std::string key, value;
  std::string where;  // "FILE:LINE", for messages
};

// Lines `KEY=value`, `KEY="value"`, `KEY='value'`, an `export ` before them and a comment behind them are
// allowed; '#' and empty lines are skipped. No expansion of any kind: a value with `$` or a backquote outside
// of '' is refused, since the shell would have executed it. Throws Error(Exit::usage) naming file, line, and
// what was expected.
std::vector<ConfigLine> parse_config(const std::string& file, const std::string& text);
std::vector<ConfigLine> read_config(const std::string& file);

[[noreturn]] void bad_config(const ConfigLine& line, const std::string& expected);
// Words of a value, separated by blanks.
std::vector<std::string> words_of(const std::string& value);
bool yes_or_no(const ConfigLine& line);
// Between `least` and `most`, or bad_config.
long number_of(const ConfigLine& line, long least, long most);

}  // namespace vs::isolation
