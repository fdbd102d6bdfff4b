// The configuration of a vserver, of the runtime and of services: KEY="value" lines as the original wrote
// them (core/key_value.h, grammar `shell`), and what their values can be.
#pragma once

#include <string>
#include <vector>

#include "core/key_value.h"

namespace vs::isolation {

using ConfigLine = KeyValue;

// Throw Error(Exit::usage) naming file, line, and what was expected.
std::vector<ConfigLine> parse_config(const std::string& file, const std::string& text);
std::vector<ConfigLine> read_config(const std::string& file);

// Words of a value, separated by blanks.
std::vector<std::string> words_of(const std::string& value);
bool yes_or_no(const ConfigLine& line);
// Between `least` and `most`, or bad_config.
long number_of(const ConfigLine& line, long least, long most);

}  // namespace vs::isolation
