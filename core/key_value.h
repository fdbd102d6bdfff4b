// Configuration files of one setting a line. There are two grammars, and this is the only reader of both:
//
//   plain   `key = value`. The value is all that follows the '=', without the blanks around it. Only one that
//           begins with a quote ends at the next such quote, and may have a comment behind it. vunify.conf
//           and vbackup.conf are such files.
//   shell   `KEY=value`, `KEY="value"` or `KEY='value'`, as scripts of the original runtime sourced them; an
//           `export ` before and a comment behind are allowed. Nothing is executed: a value with `$`, a
//           backquote or a backslash outside of '' is refused, since the shell would have done something
//           with it. The configuration of a vserver, of the runtime and of a service are such files.
//
// In both, lines that are empty or begin with '#' are skipped.
#pragma once

#include <string>
#include <vector>

namespace vs {

struct KeyValue {
  std::string key, value;
  std::string where;  // "FILE:LINE", for messages
};

enum class KeyValueGrammar { plain, shell };

// `file` is for messages. Throws Error(Exit::usage) naming file, line, what was expected and what was found.
std::vector<KeyValue> parse_key_values(const std::string& file, const std::string& text,
                                       KeyValueGrammar grammar);
// The same of a file, of 1 MiB at most.
std::vector<KeyValue> read_key_values(const std::string& file, KeyValueGrammar grammar);

// Throws Error(Exit::usage): "FILE:LINE: KEY: expected EXPECTED, found 'VALUE'".
[[noreturn]] void bad_config(const KeyValue& line, const std::string& expected);

}  // namespace vs
